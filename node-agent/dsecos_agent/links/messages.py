"""From messages of rtnetlink(7) to entries, and back. Pure."""

import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from dsecos_agent.links.entries import DUMMY, Address, Forwarding, Neighbour, Put, Route, Step, Stranger

ROUTE_PROTOCOL = 0xD5
"""Who made a route (`ip route` prints `proto 213`); not in iproute2's list of known programs."""

NEW_ROUTE, DELETE_ROUTE = 24, 25
NEW_NEIGHBOUR, DELETE_NEIGHBOUR = 28, 29
REPLACE, CREATE = 0x100, 0x400

_ATTRIBUTE = struct.Struct("=HH")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BBHiHBB")
_INDEX = struct.Struct("=I")

_BRIDGE = 7
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_CACHEINFO, _RTA_TABLE, _RTA_PREF = (
    1,
    4,
    5,
    6,
    12,
    15,
    20,
)
_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO, _NDA_PROBES, _NDA_IFINDEX, _NDA_MASTER = 1, 2, 3, 4, 8, 9
_MAIN, _BY_KERNEL, _UNICAST, _LOCAL, _ONLINK = 254, 2, 1, 2, 4
_LEARNT, _PERMANENT = 0x02 | 0x04 | 0x08 | 0x10, 0x80
"""NUD_REACHABLE, _STALE, _DELAY and _PROBE; NUD_PERMANENT (linux/neighbour.h)."""
_SELF = 2

_PLAIN_ROUTE = {_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_CACHEINFO, _RTA_TABLE, _RTA_PREF}
_PLAIN_FORWARDING = {_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO, _NDA_MASTER}
_PRIORITY = {4: 0, 6: 1024}
"""Metric of a route that was given none (IP6_RT_PRIO_USER)."""

NOBODY = "00:00:00:00:00:00"
"""The entry that takes what has no other: it floods."""

ANY = 0
"""Instead of a link's index: that of any."""

Attributes = Mapping[int, bytes]
Network = IPv4Network | IPv6Network


def all_addresses() -> bytes:
    """Asks for the addresses of all links."""
    return _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


def routes_of(link: int, family: int) -> bytes:
    """Asks for a link's routes in all tables."""
    oif = _attribute(_RTA_OIF, _INDEX.pack(link)) if link else b""
    return _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + oif


def routes_of_addresses(family: int) -> bytes:
    """Asks for the routes of the main table that the kernel made for links' addresses."""
    return _ROUTE.pack(family, 0, 0, 0, _MAIN, _BY_KERNEL, 0, 0, 0)


def neighbours_of(link: int, family: int) -> bytes:
    """Asks for a link's neighbours."""
    ifindex = _attribute(_NDA_IFINDEX, _INDEX.pack(link)) if link else b""
    return _NEIGHBOUR.pack(family, 0, 0, 0, 0, 0, 0) + ifindex


def forwarding_of(link: int) -> bytes:
    """Asks for a link's forwarding entries."""
    return _NEIGHBOUR.pack(_BRIDGE, 0, 0, link, 0, 0, 0)


def address(body: bytes) -> tuple[int, IPv4Interface | IPv6Interface] | None:
    """The link's index and its address."""
    _, length, _, _, index = _ADDRESS.unpack_from(body)
    attributes = parsed(body, _ADDRESS.size)
    octets = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if octets is None:
        return None
    found = _address(octets)
    if isinstance(found, IPv4Address):
        return index, IPv4Interface((found, length))
    return index, IPv6Interface((found, length))


def route(body: bytes) -> Route | Stranger | None:
    """None: one that the kernel makes."""
    family, length, _, tos, _, protocol, _, kind, flags = _ROUTE.unpack_from(body)
    attributes = parsed(body, _ROUTE.size)
    octets = attributes.get(_RTA_DST, bytes(4 if family == socket.AF_INET else 16))
    target = _address(octets)
    if (target, length, kind) == (DUMMY.ip, DUMMY.network.prefixlen, _LOCAL):
        return None
    if target.is_multicast or (target.version == 6 and target.is_link_local):
        return None
    gateway = attributes.get(_RTA_GATEWAY)
    table = _number(attributes.get(_RTA_TABLE))
    plain = (
        (length, tos, table, protocol, kind) == (target.max_prefixlen, 0, _MAIN, ROUTE_PROTOCOL, _UNICAST)
        and flags & _ONLINK
        and attributes.keys() <= _PLAIN_ROUTE
        and _number(attributes.get(_RTA_PRIORITY)) == _PRIORITY[target.version]
    )
    if plain and gateway is not None:
        return Route(target, _address(gateway))
    via = "" if gateway is None else f" via {_address(gateway)}"
    head = bytearray(body[: _ROUTE.size])
    head[8:12] = bytes(4)  # flags that only the kernel sets
    return Stranger(
        f"route {target}/{length}{via}", Route, bytes(head) + _without(attributes, _RTA_CACHEINFO)
    )


def network(body: bytes) -> Network | None:
    """The network that a route in the main table leads to straight over its link; None: it is no such."""
    family, length, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(body)
    attributes = parsed(body, _ROUTE.size)
    octets = attributes.get(_RTA_DST)
    table = _number(attributes.get(_RTA_TABLE))
    if octets is None or _RTA_GATEWAY in attributes or (table, kind) != (_MAIN, _UNICAST):
        return None
    return IPv4Network((octets, length)) if family == socket.AF_INET else IPv6Network((octets, length))


def outgoing(body: bytes) -> tuple[int, bool]:
    """A route's link (0: several, or none), and whether it is to one host."""
    family, length, *_ = _ROUTE.unpack_from(body)
    link = _number(parsed(body, _ROUTE.size).get(_RTA_OIF))
    return link, length == (32 if family == socket.AF_INET else 128)


def beyond(body: bytes) -> int:
    """The link that a neighbour or forwarding entry is of."""
    return int(_NEIGHBOUR.unpack_from(body)[3])


def neighbour(body: bytes) -> Neighbour | Forwarding | Stranger | None:
    """None: one that names no link-layer address, or a group's."""
    family, _, _, _, state, _, _ = _NEIGHBOUR.unpack_from(body)
    if family == _BRIDGE:
        return _forwarding(body)
    attributes = parsed(body, _NEIGHBOUR.size)
    octets, mac = attributes.get(_NDA_DST), attributes.get(_NDA_LLADDR)
    if octets is None or mac is None or not state & (_LEARNT | _PERMANENT):
        return None
    hop = _address(octets)
    if hop.is_multicast:
        return None
    if state == _PERMANENT:
        return Neighbour(hop, mac.hex(":"))
    return Stranger(f"neighbour {hop} lladdr {mac.hex(':')}", Neighbour, _cleaned(body, attributes))


def _forwarding(body: bytes) -> Forwarding | Stranger:
    """Ours is permanent, of one MAC, and says nothing but the node."""
    _, _, _, _, state, _, _ = _NEIGHBOUR.unpack_from(body)
    attributes = parsed(body, _NEIGHBOUR.size)
    mac = attributes.get(_NDA_LLADDR, b"").hex(":")
    octets = attributes.get(_NDA_DST, b"")
    plain = state & _PERMANENT and len(octets) == 4 and attributes.keys() <= _PLAIN_FORWARDING
    if plain and mac != NOBODY:
        return Forwarding(mac, IPv4Address(octets))
    dst = f" dst {_address(octets)}" if octets else ""
    return Stranger(f"forwarding entry {mac}{dst}", Forwarding, _cleaned(body, attributes))


def message(index: int, step: Step) -> tuple[int, int, bytes]:
    """What does a step: the message's type, flags and body."""
    entry = step.entry
    if isinstance(entry, Stranger):
        return DELETE_ROUTE if entry.of is Route else DELETE_NEIGHBOUR, 0, entry.body
    flags = CREATE | REPLACE if isinstance(step, Put) else 0
    if isinstance(entry, Route):
        return NEW_ROUTE if flags else DELETE_ROUTE, flags, _route_body(index, entry)
    return NEW_NEIGHBOUR if flags else DELETE_NEIGHBOUR, flags, _neighbour_body(index, entry)


def _route_body(index: int, route: Route) -> bytes:
    return (
        _ROUTE.pack(
            _family(route.guest),
            route.guest.max_prefixlen,
            0,
            0,
            _MAIN,
            ROUTE_PROTOCOL,
            0,
            _UNICAST,
            _ONLINK,
        )
        + _attribute(_RTA_DST, route.guest.packed)
        + _attribute(_RTA_OIF, _INDEX.pack(index))
        + _attribute(_RTA_GATEWAY, route.via.packed)
    )


def _neighbour_body(index: int, entry: Neighbour | Forwarding) -> bytes:
    far, family, flags = (
        (entry.hop, _family(entry.hop), 0) if isinstance(entry, Neighbour) else (entry.node, _BRIDGE, _SELF)
    )
    return (
        _NEIGHBOUR.pack(family, 0, 0, index, _PERMANENT, flags, 0)
        + _attribute(_NDA_DST, far.packed)
        + _attribute(_NDA_LLADDR, bytes.fromhex(entry.mac.replace(":", "")))
    )


def _cleaned(body: bytes, attributes: Attributes) -> bytes:
    return body[: _NEIGHBOUR.size] + _without(attributes, _NDA_CACHEINFO, _NDA_PROBES, _NDA_MASTER)


def _without(attributes: Attributes, *kinds: int) -> bytes:
    return b"".join(_attribute(kind, value) for kind, value in attributes.items() if kind not in kinds)


def _family(address: IPv4Address | IPv6Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(aligned(length) - length)


def parsed(body: bytes, offset: int) -> dict[int, bytes]:
    """A message's attributes, which begin at an offset."""
    found = {}
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += aligned(length)
    return found


def _number(value: bytes | None) -> int:
    return 0 if value is None else int(_INDEX.unpack(value)[0])


def aligned(length: int) -> int:
    """Messages and attributes begin at multiples of four."""
    return (length + 3) & ~3


def _address(octets: bytes) -> Address:
    return IPv4Address(octets) if len(octets) == 4 else IPv6Address(octets)
