"""What is asked, and what is answered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from dsecos_api import Guest, NetworkZone, Node, Stack
from dsecos_api.networkzone import PortRule
from dsecos_api.types import Protocol

from dsecos_cli.errors import UsageError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PORT = re.compile(r"^(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?$", re.IGNORECASE)


class NotJudgedError(UsageError):
    """Neither end is a guest's: no zone and no Stack says anything about it."""


class Transport(StrEnum):
    """What the packet is of."""

    TCP = "TCP"
    UDP = "UDP"
    ICMP = "ICMP"


@dataclass(frozen=True, slots=True)
class Port:
    """Where the packet goes to. ICMP is an echo request, ICMPv6 included, and has no number."""

    transport: Transport
    number: int = 0

    def __str__(self) -> str:
        """As people write it: TCP 80, or ICMP."""
        return f"{self.transport.value} {self.number}" if self.number else self.transport.value

    @classmethod
    def parse(cls, text: str) -> Port:
        """`80`, `80/tcp`, `53/udp` or `icmp`. Raises UsageError."""
        if text.lower() == "icmp":
            return cls(Transport.ICMP)
        match = _PORT.match(text)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise UsageError(f"{text!r} is not a port", "For example: 80, 80/tcp, 53/udp or icmp")
        return cls(Transport((match["protocol"] or "tcp").upper()), int(match["port"]))

    def within(self, rules: Sequence[PortRule]) -> bool:
        """Whether rules name it. None of them names ICMP."""
        return any(rule.port == self.number and rule.protocol.value == self.transport.value for rule in rules)

    @property
    def rule(self) -> PortRule | None:
        """What a list of ports needs; ICMP cannot be listed."""
        if self.transport is Transport.ICMP:
            return None
        return PortRule(port=self.number, protocol=Protocol(self.transport.value))


@dataclass(frozen=True, slots=True)
class Place:
    """A guest, or a Stack that is to have one."""

    namespace: str
    name: str
    zone: NetworkZone | None
    """None: it does not exist."""
    zone_name: str
    node: str | None
    addresses: tuple[Address, ...]
    stack: Stack | None
    """None: it is gone, and left its guest running."""
    guest: Guest | None

    def __str__(self) -> str:
        """Kind and name."""
        kind = "Stack" if self.stack is not None else "Guest of the former Stack"
        return f"{kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Host:
    """A node itself."""

    name: str
    addresses: tuple[Address, ...]
    """Those that are known: management and tunnel."""

    def __str__(self) -> str:
        """Kind and name."""
        return f"Node {self.name}"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A zone's gateway, which every node of the zone has."""

    zone: NetworkZone
    address: Address

    def __str__(self) -> str:
        """What it is of."""
        return f"gateway {self.address} of NetworkZone {name_of(self.zone)}"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An address that is neither a guest's nor a node's."""

    address: Address
    zone: NetworkZone | None = None
    """The zone whose network it is of: then nobody has it."""

    def __str__(self) -> str:
        """The address."""
        return f"{self.address}"


End = Place | Host | Gateway | Elsewhere


@dataclass(frozen=True, slots=True)
class Packet:
    """What begins a connection."""

    source: Address | None
    destination: Address | None
    """None: the guest has no address yet."""
    port: Port
    """Of the destination."""
    through: Host | None = None
    """The node that the packet was sent to, and that passes it on to a guest."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that the packet meets."""

    subject: str
    """Kind and name of the object."""
    field: str
    """Path in it."""
    says: str
    passes: bool = True
    decisive: bool = False
    """Whether it is what lets the packet pass, if nothing forbids it."""

    def __str__(self) -> str:
        """A statement."""
        return " ".join(part for part in (self.subject, self.field, self.says) if part)


@dataclass(frozen=True, slots=True)
class Change:
    """What would let the packet pass."""

    text: str
    """YAML; without a subject: what to do, because it takes more than an edit."""
    subject: str = ""
    """Kind and name of the object to edit."""
    field: str = ""
    """Path of the list to add to, or of the field to set."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one family of addresses."""

    version: int
    """4 or 6; 0: no address is known, so it holds for both."""
    source: str
    destination: str
    """Addresses; empty where none is known."""
    steps: tuple[Step, ...]
    """In the packet's order."""
    changes: tuple[Change, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the packet passes."""
        return all(step.passes for step in self.steps)

    @property
    def decides(self) -> Step:
        """The rule that allows or denies it."""
        forbidding = [step for step in self.steps if not step.passes]
        decisive = [step for step in self.steps if step.decisive]
        return [*forbidding, *decisive, self.steps[-1]][0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer."""

    judgements: tuple[Judgement, ...]
    """One for each family that both ends have, IPv4 first."""
    notes: tuple[str, ...] = ()
    """What keeps the answer from being all there is to say just now: a guest that is stopped, a zone that
    waits.
    """

    @property
    def allowed(self) -> bool:
        """Whether the packet passes in any family."""
        return any(each.allowed for each in self.judgements)

    @property
    def united(self) -> bool:
        """Whether all families fare the same, for the same reason."""
        return len({(each.allowed, each.decides) for each in self.judgements}) == 1


def networks(zone: NetworkZone) -> list[Network]:
    """A zone's networks."""
    return [ip_network(cidr, strict=False) for cidr in zone.spec.cidrs]


def addresses_of(node: Node) -> tuple[Address, ...]:
    """A node's own, as its spec says, or as its agent found."""
    found: dict[Address, None] = {}
    for part in (node.spec.addresses, node.status.addresses):
        for text in (part.management, part.tunnel) if part is not None else ():
            if text is not None:
                found[ip_address(text)] = None
    return tuple(found)


def nodes_of(zone: NetworkZone) -> list[str]:
    """Nodes that a zone is on, also those where it has no guest but a peer has."""
    return [node.name for node in zone.status.nodes]


def name_of(each: NetworkZone | Stack) -> str:
    """Namespace and name."""
    return f"{each.namespace}/{each.name}"


def ports_text(rules: Sequence[PortRule]) -> str:
    """Ports as a statement has them; none: everything."""
    return ", ".join(f"{rule.protocol.value} {rule.port}" for rule in rules) or "every port and protocol"
