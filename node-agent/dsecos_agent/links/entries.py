"""What a transit link carries: routes, neighbours and forwarding entries; what is wanted, and the way there.

Pure. Entries are found and changed by `rtnetlink`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

from dsecos_agent.links.protocol import Encapsulation, Transit

Address = IPv4Address | IPv6Address

DUMMY = IPv4Interface("192.0.0.8/32")
"""The IPv4 dummy address (RFC 7600), of each transit link and no packet: on a link that has none, the kernel
takes a loose `rp_filter` for a strict one (fib_validate_source).
"""


@dataclass(frozen=True, slots=True)
class Route:
    """To one guest of another node."""

    guest: Address
    via: Address


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A next hop's link-layer address, for good."""

    hop: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The node behind a link-layer address, for good: of a VXLAN."""

    mac: str
    node: IPv4Address


Entry = Route | Neighbour | Forwarding


@dataclass(frozen=True, slots=True)
class Carried:
    """Entries in the form that `ObservedTransit` has them in."""

    forwarding: frozenset[tuple[str, IPv4Address]]
    neighbours: frozenset[tuple[Address, str]]
    routes: frozenset[tuple[Address, Address]]


@dataclass(frozen=True, slots=True)
class Stranger:
    """An entry that we would never have made."""

    words: str
    """As `ip` and `bridge` would print it."""
    of: type[Route | Neighbour | Forwarding]
    body: bytes
    """The message that deletes it, without its header."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete it; what is gone already is fine."""

    entry: Entry | Stranger


@dataclass(frozen=True, slots=True)
class Put:
    """Make it, in the place of what is there under the same name."""

    entry: Entry


Step = Drop | Put

_DEPENDS_ON = (Forwarding, Neighbour, Route)
"""Each needs those before it."""


def link_local(mac: str) -> IPv6Address:
    """The address that an interface makes from its MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def wanted(transit: Transit) -> frozenset[Entry]:
    """All that a transit link is to carry. A guest that two nodes claim is at the first of them."""
    found: dict[tuple[type, object], Entry] = {}
    for remote in transit.remotes:
        hops: dict[int, Address] = {4: remote.address, 6: link_local(remote.mac)}
        entries: list[Entry] = [Neighbour(remote.address, remote.mac)]
        if transit.encapsulation is Encapsulation.VXLAN:
            entries.append(Forwarding(remote.mac, remote.address))
        if any(guest.version == 6 for guest in remote.guests):
            entries.append(Neighbour(hops[6], remote.mac))
        entries += [Route(guest, hops[guest.version]) for guest in remote.guests]
        for entry in entries:
            found.setdefault(_name(entry), entry)
    return frozenset(found.values())


def carried(entries: Iterable[Entry | Stranger]) -> Carried:
    """Those that are no strangers."""
    entries = tuple(entries)
    return Carried(
        frozenset((each.mac, each.node) for each in entries if isinstance(each, Forwarding)),
        frozenset((each.hop, each.mac) for each in entries if isinstance(each, Neighbour)),
        frozenset((each.guest, each.via) for each in entries if isinstance(each, Route)),
    )


def steps(found: Iterable[Entry | Stranger], wanted: Iterable[Entry]) -> list[Step]:
    """From what is there to what is wanted: routes go first and come last."""
    present, asked = set(found), set(wanted)
    names = {_name(entry) for entry in asked}
    gone = [each for each in present - asked if isinstance(each, Stranger) or _name(each) not in names]
    drops = sorted(gone, key=lambda each: _DEPENDS_ON.index(_kind(each)), reverse=True)
    puts = sorted(asked - present, key=lambda each: _DEPENDS_ON.index(type(each)))
    return [*map(Drop, drops), *map(Put, puts)]


def _kind(entry: Entry | Stranger) -> type[Route | Neighbour | Forwarding]:
    return entry.of if isinstance(entry, Stranger) else type(entry)


def _name(entry: Entry) -> tuple[type, object]:
    """What there can be one of."""
    match entry:
        case Route(guest=guest):
            return Route, guest
        case Neighbour(hop=hop):
            return Neighbour, hop
        case Forwarding(mac=mac):
            return Forwarding, mac
