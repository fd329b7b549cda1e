"""Which of the kernel's messages are about our links.

A node with thousands of guests sees many messages of its neighbours and routes, so a message is told by its
link's index, without being read further than that.
"""

import socket
import struct
from collections.abc import Callable

from dsecos_agent.links.events import NetlinkWatch
from dsecos_agent.links.messages import (
    DELETE_NEIGHBOUR,
    DELETE_ROUTE,
    NEW_NEIGHBOUR,
    NEW_ROUTE,
    aligned,
    outgoing,
)
from dsecos_agent.links.protocol import ENGINE_PORT

GROUPS = (1, 3, 5, 7, 9, 11)
"""RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE (linux/rtnetlink.h)."""

NEW_LINK, DELETE_LINK, NEW_ADDRESS, DELETE_ADDRESS = 16, 17, 20, 21
REPLACED = 0x100
"""NLM_F_REPLACE: the kernel does not tell that the former route went, only which one came in its place."""

_HEADER = struct.Struct("=IHHII")
_INDEX = struct.Struct("=4xi")
"""Where ifinfomsg, ifaddrmsg and ndmsg have it."""
_LINK_SIZE, _IFLA_IFNAME = 16, 3
_ATTRIBUTE = struct.Struct("=HH")


class Concern:
    """Remembers the indices of our bridges and transit links."""

    def __init__(self, bridges: str, ports: str, transits: str) -> None:
        """All are what names begin with."""
        self._prefixes = (bridges, ports, transits)
        self._bridge, self._transit = bridges, transits
        self._bridges: set[int] = set()
        self._transits: set[int] = set()
        self.transit = False
        """A transit link was concerned; for the reader to reset."""

    def look(self) -> None:
        """Learn the indices of the links that are there."""
        self.transit = True
        self._bridges.clear()
        self._transits.clear()
        for index, name in socket.if_nameindex():
            self._learn(index, name)

    def concerns(self, datagram: bytes) -> bool:
        """Whether one of these messages is about our links."""
        found, offset = False, 0
        while offset + _HEADER.size <= len(datagram):
            length, kind, flags, _, _ = _HEADER.unpack_from(datagram, offset)
            if length < _HEADER.size:
                break
            found |= self._message(kind, flags, datagram[offset + _HEADER.size : offset + length])
            offset += aligned(length)
        return found

    def _message(self, kind: int, flags: int, body: bytes) -> bool:
        if kind in {NEW_ROUTE, DELETE_ROUTE}:
            link, host = outgoing(body)
            ours = self._is_transit(link in self._transits or (host and bool(flags & REPLACED)))
            return ours or link in self._bridges
        (index,) = _INDEX.unpack_from(body)
        if kind in {NEW_NEIGHBOUR, DELETE_NEIGHBOUR}:
            return self._is_transit(index in self._transits)
        if kind in {NEW_ADDRESS, DELETE_ADDRESS}:
            if index in self._bridges:
                return True
            # The tunnel address, which an 802.1Q link follows, may come to any link.
            return self._is_transit(index in self._transits or body[0] == socket.AF_INET)
        if kind in {NEW_LINK, DELETE_LINK}:
            return self._link(kind, index, body)
        return False

    def _is_transit(self, concerned: bool) -> bool:
        self.transit |= concerned
        return concerned

    def _link(self, kind: int, index: int, body: bytes) -> bool:
        name = _name(body)
        self._is_transit(index in self._transits or name.startswith(self._transit))
        known = index in self._bridges or index in self._transits
        if body[0] == socket.AF_UNSPEC:  # of a bridge's port it is also told when it leaves the bridge
            self._bridges.discard(index)
            self._transits.discard(index)
            if kind == NEW_LINK:
                self._learn(index, name)
        return known or name.startswith(self._prefixes) or ENGINE_PORT.fullmatch(name) is not None

    def _learn(self, index: int, name: str) -> None:
        if name.startswith(self._bridge):
            self._bridges.add(index)
        elif name.startswith(self._transit):
            self._transits.add(index)


def link_watch(
    concern: Concern, callback: Callable[[], None], transits: Callable[[], None] | None
) -> NetlinkWatch:
    """Call back on what concerns our links, `transits` first if it is about one. Must be made on the event
    loop.
    """

    def tell() -> None:
        if concern.transit and transits is not None:
            transits()
        concern.transit = False
        callback()

    watch = NetlinkWatch(socket.NETLINK_ROUTE, GROUPS, concern.concerns, tell, missed=concern.look)
    concern.look()
    return watch


def _name(body: bytes) -> str:
    offset = _LINK_SIZE
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if kind == _IFLA_IFNAME:
            return body[offset + _ATTRIBUTE.size : offset + length].rstrip(b"\0").decode(errors="replace")
        if length < _ATTRIBUTE.size:
            break
        offset += aligned(length)
    return ""
