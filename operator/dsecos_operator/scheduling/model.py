"""What the scheduler looks at: who is where already, and who wants to be somewhere."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api.types import GuestType

from dsecos_operator.scheduling.companions import Member, Placed
from dsecos_operator.scheduling.network import NOTHING, Asks

PortKey = tuple[str, int]
"""A port of a node: protocol and number."""


@dataclass(frozen=True, kw_only=True)
class Occupant(Placed):
    """A Stack that has a place: its guest, or its claim where the guest is not there yet.

    One that is on its way is there twice: on the node that it leaves, and on the one that it goes to.
    """

    address: str | None
    """In its zone."""
    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""
    host_ports: frozenset[PortKey]
    id_base: int | None
    """First host id of its id map; None while it has none."""
    orphan: bool = False
    """Left behind by a Stack that is gone: nobody's companion."""


@dataclass(frozen=True, kw_only=True)
class Wanted(Member):
    """A Stack that wants a place, and what it needs."""

    type: GuestType
    selector: tuple[tuple[str, str], ...]
    cpu: int
    memory: int
    host_ports: frozenset[PortKey]
    pools: frozenset[str]
    data_on: str | None = None
    """Node that holds retained data of an earlier life of this Stack."""
    node: str | None = None
    """The only Node that it wants."""
    volumes: bool = False
    """Whether it has data that outlives its guest."""
    id_base: int | None = None
    """First host id of its guest, which it keeps when it moves."""
    adopted: bool = False
    """Its guest was there before: what that uses was used already."""
    asks: Asks = NOTHING
    """What its zone asks of the node."""


@dataclass(frozen=True)
class Rules:
    """What an administrator sets for all nodes."""

    cpu_overcommit: float = 4.0
    """Sum of the guests' CPU limits, as a multiple of the node's allocatable cores."""
    reserved_ports: frozenset[PortKey] = frozenset()
    """Ports that belong to the nodes themselves."""
