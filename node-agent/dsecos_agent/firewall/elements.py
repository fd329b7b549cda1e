"""Changes of sets, maps and counters as the kernel takes them (linux/netfilter/nf_tables.h). Pure.

A key is its fields one after the other: addresses and numbers in network byte order, the name of a link
filled up to IFNAMSIZ. In a concatenation each is filled up to whole registers (NFT_REG32_SIZE). Where a field
may be a network there are two keys, of all fields' first values and of their last.
"""

import re
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from dsecos_agent.firewall.delta import Change, Kind
from dsecos_agent.firewall.netlink import (
    NFT_OBJECT_COUNTER,
    NFTA_OBJ_DATA,
    NFTA_OBJ_NAME,
    NFTA_OBJ_TABLE,
    NFTA_OBJ_TYPE,
    Message,
    attribute,
)

NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWOBJ, NFT_MSG_DELOBJ = 12, 14, 18, 20
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_LIST_ELEM = 1
NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_OBJREF, NFTA_SET_ELEM_KEY_END = 1, 2, 9, 10
NFTA_DATA_VALUE = 1
NLA_F_NESTED = 1 << 15
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
IFNAMSIZ = 16
REGISTER = 4
"""Octets."""

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
LINK = re.compile(r'"[A-Za-z0-9_.-]{1,15}"')
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
PAYLOAD = re.compile(r"@(?:ll|nh|th),\d+,(\d+)")
"""A raw payload expression: base, and offset and length in bits."""

Field = tuple[bytes, bytes]
"""Its first and its last value."""


class UnknownKindError(Exception):
    """Of this set, or this element, it is not certain how the kernel takes it: nft has to do it."""


def messages(changes: Iterable[Change], instance: str) -> list[Message]:
    """All of them, in this order. Raises UnknownKindError."""
    return [message for change in changes for message in _messages(change, _text(instance))]


def _messages(change: Change, table: bytes) -> Iterator[Message]:
    adding = change.verb == "add"
    # What is there already is not as we know it.
    flags = NLM_F_CREATE | NLM_F_EXCL if adding else 0
    if change.kind is None:
        body = attribute(NFTA_OBJ_TABLE, table) + attribute(NFTA_OBJ_NAME, _text(change.name))
        body += attribute(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER.to_bytes(4, "big"))
        # Without a value it begins with zero.
        body += _nested(NFTA_OBJ_DATA, b"") if adding else b""
        yield Message(NFT_MSG_NEWOBJ if adding else NFT_MSG_DELOBJ, flags, change.family, body)
        return
    where = attribute(NFTA_SET_ELEM_LIST_TABLE, table)
    where += attribute(NFTA_SET_ELEM_LIST_SET, _text(change.name))
    for element in change.elements:
        listed = _nested(NFTA_SET_ELEM_LIST_ELEMENTS, _nested(NFTA_LIST_ELEM, _element(element, change.kind)))
        kind = NFT_MSG_NEWSETELEM if adding else NFT_MSG_DELSETELEM
        yield Message(kind, flags, change.family, where + listed)


def _element(element: str, kind: Kind) -> bytes:
    types, _, data_types = kind.of.partition(" ")[2].partition(" : ")
    key, _, data = element.partition(" : ")
    fields = _fields(key, types)
    if kind.interval and len(fields) == 1:
        raise UnknownKindError(f"{key} is two elements, where an interval begins and where it ends")
    found = _value(NFTA_SET_ELEM_KEY, _joined(first for first, _ in fields))
    if kind.interval:
        found += _value(NFTA_SET_ELEM_KEY_END, _joined(last for _, last in fields))
    elif any(first != last for first, last in fields):
        raise UnknownKindError(f"{key} is an interval")
    if data and data_types == "counter":
        found += attribute(NFTA_SET_ELEM_OBJREF, _text(data.strip('"')))
    elif data:
        found += _value(NFTA_SET_ELEM_DATA, _joined(first for first, _ in _fields(data, data_types)))
    return found


def _fields(text: str, types: str) -> list[Field]:
    values, names = text.split(" . "), types.split(" . ")
    if len(values) != len(names):
        raise UnknownKindError(f"{text} is not of type {types}")
    return [_field(value, name) for value, name in zip(values, names, strict=True)]


def _field(value: str, of: str) -> Field:
    try:
        match of:
            case "ipv4_addr":
                four = IPv4Network(value)
                return four[0].packed, four[-1].packed
            case "ipv6_addr":
                six = IPv6Network(value)
                return six[0].packed, six[-1].packed
            case _:
                exact = _exact(value, of)
                return exact, exact
    except (ValueError, OverflowError, KeyError) as error:
        raise UnknownKindError(f"{value} is not of type {of}") from error


def _exact(value: str, of: str) -> bytes:
    """Raises ValueError, OverflowError, KeyError."""
    match of:
        case "ifname" | "iifname":
            if LINK.fullmatch(value) is None:
                raise ValueError(value)
            return value.strip('"').encode().ljust(IFNAMSIZ, b"\0")
        case "ether_addr":
            if MAC.fullmatch(value) is None:
                raise ValueError(value)
            return bytes.fromhex(value.replace(":", ""))
        case "inet_proto":
            return PROTOCOLS[value].to_bytes(1, "big")
        case "inet_service":
            return int(value).to_bytes(2, "big")
    bits = PAYLOAD.fullmatch(of)
    if bits is None or int(bits[1]) % 8:
        raise ValueError(of)
    return int(value, 0).to_bytes(int(bits[1]) // 8, "big")


def _joined(values: Iterable[bytes]) -> bytes:
    """A single field as it is; several in whole registers each."""
    first, *rest = values
    return b"".join(each + bytes(-len(each) % REGISTER) for each in (first, *rest)) if rest else first


def _value(kind: int, octets: bytes) -> bytes:
    return _nested(kind, attribute(NFTA_DATA_VALUE, octets))


def _nested(kind: int, attributes: bytes) -> bytes:
    return attribute(NLA_F_NESTED | kind, attributes)


def _text(text: str) -> bytes:
    return text.encode() + b"\0"
