"""Frames as nobody honest would send them."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, ROUTER_ADVERTISEMENT, REDIRECT = 135, 136, 134, 137
SOURCE_OPTION, TARGET_OPTION = 1, 2
UDP, ICMPV6 = 17, 58


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data.ljust((len(data) + 1) // 2 * 2, b"\0")))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(source: str, target: str, payload: bytes) -> bytes:
    kind = 0x0800 if payload[0] >> 4 == 4 else 0x86DD
    return octets(target) + octets(source) + struct.pack("!H", kind) + payload


def udp(source: str, target: str, port: int, data: bytes = b"?", source_port: int = 4000) -> bytes:
    """An IP packet of either family."""
    a, b = ip_address(source), ip_address(target)
    header = struct.pack("!HHHH", source_port, port, 8 + len(data), 0)
    if isinstance(a, IPv4Address):
        outer = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(data), 1, 0, 64, UDP, 0) + a.packed + b.packed
        return outer[:10] + struct.pack("!H", checksum(outer)) + outer[12:] + header + data
    pseudo = a.packed + b.packed + struct.pack("!II", 8 + len(data), UDP)
    total = checksum(pseudo + header + data) or 0xFFFF
    return _ipv6(a, IPv6Address(target), UDP, 64, header[:6] + struct.pack("!H", total) + data)


def icmpv6(source: str, target: str, kind: int, body: bytes) -> bytes:
    """`body` is what follows the checksum."""
    a, b = IPv6Address(source), IPv6Address(target)
    message = struct.pack("!BBH", kind, 0, 0) + body
    total = checksum(a.packed + b.packed + struct.pack("!II", len(message), ICMPV6) + message)
    return _ipv6(a, b, ICMPV6, 255, message[:2] + struct.pack("!H", total) + message[4:])


def neighbour(source: str, target: str, kind: int, about: str, *options: tuple[int, str]) -> bytes:
    """A neighbour solicitation or advertisement (solicited, overriding) about an address."""
    flags = 0x60000000 if kind == NEIGHBOUR_ADVERTISEMENT else 0
    tail = b"".join(struct.pack("!BB", option, 1) + octets(mac) for option, mac in options)
    return icmpv6(source, target, kind, struct.pack("!I", flags) + IPv6Address(about).packed + tail)


def _ipv6(source: IPv6Address, target: IPv6Address, kind: int, hops: int, payload: bytes) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(payload), kind, hops) + source.packed + target.packed + payload


def vxlan(identifier: int, frame: bytes) -> bytes:
    """RFC 7348, 5."""
    return struct.pack("!II", 0x08000000, identifier << 8) + frame
