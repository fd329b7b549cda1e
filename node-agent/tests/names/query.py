"""As much of DNS (RFC 1035) as a test needs: one question, its answers; over UDP and TCP."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

TYPES = {"A": 1, "PTR": 12, "TXT": 16, "AAAA": 28}
CODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
TIME_LIMIT = 20.0
"""Seconds; only a failure takes so long."""


@dataclass(frozen=True)
class Answer:
    code: str
    records: frozenset[str] = frozenset()
    ttl: int | None = None


def question(name: str, kind: str, chaos: bool = False, number: int = 7) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    head = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0)
    return head + labels + b"\0" + struct.pack("!HH", TYPES[kind], 3 if chaos else 1)


def asked(packet: bytes) -> str:
    return _name(packet, 12)[0]


def reply(packet: bytes, address: str) -> bytes:
    """A server's answer to an A question."""
    head = packet[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
    end = _name(packet, 12)[1] + 4
    return head + packet[12:end] + struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)


def parse(packet: bytes) -> Answer:
    _, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", packet)
    at = _name(packet, 12)[1] + 4
    records, ttl = set(), None
    for _ in range(count):
        at = _name(packet, at)[1]
        kind, _, ttl, length = struct.unpack_from("!HHIH", packet, at)
        at += 10
        data = packet[at : at + length]
        if kind == TYPES["A"]:
            records.add(str(IPv4Address(data)))
        elif kind == TYPES["AAAA"]:
            records.add(str(IPv6Address(data)))
        elif kind == TYPES["PTR"]:
            records.add(_name(packet, at)[0])
        else:
            records.add(repr(data))
        at += length
    return Answer(CODES.get(flags & 15, str(flags & 15)), frozenset(records), ttl)


def pointer(address: str) -> str:
    return ip_address(address).reverse_pointer


def _name(packet: bytes, at: int) -> tuple[str, int]:
    """The name there, and where it ends."""
    labels: list[str] = []
    end = 0
    while length := packet[at]:
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | packet[at + 1]
            continue
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += length + 1
    return ".".join(labels), end or at + 1


def exchange(end: socket.socket, packet: bytes, server: str, time_limit: float = TIME_LIMIT) -> bytes:
    """Over a socket that was made where the question is asked. Raises OSError, TimeoutError."""
    end.settimeout(time_limit)
    end.connect((server, 53))
    if end.type == socket.SOCK_DGRAM:
        end.send(packet)
        return end.recv(4096)
    end.sendall(struct.pack("!H", len(packet)) + packet)
    return _exactly(end, struct.unpack("!H", _exactly(end, 2))[0])


def _exactly(end: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = end.recv(length - len(found))
        if not more:
            raise ConnectionError("hung up")
        found += more
    return found
