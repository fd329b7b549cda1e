"""What the scheduler looks at: who is where already, and who wants to be somewhere."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api.types import GuestType

PortKey = tuple[str, int]
"""A port of a node: protocol and number."""


@dataclass(frozen=True)
class Occupant:
    """A Stack that has a place: its guest, or its claim where the guest is not there yet."""

    namespace: str
    stack: str
    uid: str
    node: str
    zone: str
    address: str
    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""
    host_ports: frozenset[PortKey]
    id_base: int | None
    """First host id of its id map; None while it has none."""


@dataclass(frozen=True)
class Wanted:
    """A Stack that wants a place. The first part is who it is, the rest what it needs."""

    namespace: str
    stack: str
    uid: str
    zone: str
    type: GuestType
    selector: tuple[tuple[str, str], ...]
    cpu: int
    memory: int
    host_ports: frozenset[PortKey]
    pools: frozenset[str]
    data_on: str | None = None
    """Node that holds retained data of an earlier life of this Stack."""


@dataclass(frozen=True)
class Rules:
    """What an administrator sets for all nodes."""

    cpu_overcommit: float = 4.0
    """Sum of the guests' CPU limits, as a multiple of the node's allocatable cores."""
    reserved_ports: frozenset[PortKey] = frozenset()
    """Ports that belong to the nodes themselves."""
