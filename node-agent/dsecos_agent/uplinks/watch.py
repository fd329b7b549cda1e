"""Being told by the kernel that somebody changed an uplink."""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterable, Iterator

from dsecos_agent.engines.protocol import Watch
from dsecos_agent.links.concern import DELETE_ADDRESS, DELETE_LINK, NEW_ADDRESS, NEW_LINK
from dsecos_agent.links.events import NetlinkWatch
from dsecos_agent.links.messages import DELETE_ROUTE, NEW_ROUTE, aligned, outgoing

GROUPS = (1, 5, 7, 9, 11)
"""RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE (linux/rtnetlink.h)."""
OTHERS = frozenset({NEW_LINK, DELETE_LINK, NEW_ADDRESS, DELETE_ADDRESS})

_HEADER = struct.Struct("=IHHII")
_INDEX = struct.Struct("=4xi")
"""Where ifinfomsg and ifaddrmsg have it."""


def subscribe(interfaces: Callable[[], Iterable[str]], callback: Callable[[], None]) -> Watch:
    """Call back when one of these links, an address or a route of it, or any default route was changed, by us
    too. Must be made on the event loop.
    """

    def concerns_us(datagram: bytes) -> bool:
        return _concerns(datagram, frozenset(_indices(interfaces())))

    return NetlinkWatch(socket.NETLINK_ROUTE, GROUPS, concerns_us, callback)


def _indices(names: Iterable[str]) -> Iterator[int]:
    for name in names:
        with contextlib.suppress(OSError):
            yield socket.if_nametoindex(name)


def _concerns(datagram: bytes, indices: frozenset[int]) -> bool:
    offset = 0
    while indices and offset + _HEADER.size <= len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            break
        body = datagram[offset + _HEADER.size : offset + length]
        if kind in {NEW_ROUTE, DELETE_ROUTE}:
            everything = body[1] == 0  # rtm_dst_len
            if everything or outgoing(body)[0] in indices:
                return True
        elif kind in OTHERS and _INDEX.unpack_from(body)[0] in indices:
            return True
        offset += aligned(length)
    return False
