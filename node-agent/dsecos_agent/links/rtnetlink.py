"""Addresses, routes, neighbours and forwarding entries over one socket, many in one call (rtnetlink(7)).

pyroute2 takes 2 ms for a change and 80 µs for each entry of a listing, and a zone may have ten thousand of
them. Calls block: not for the event loop. They raise OSError.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence, Set
from ipaddress import IPv4Interface, IPv6Interface
from types import TracebackType
from typing import Self

from dsecos_agent.links import linkmessages, messages
from dsecos_agent.links.entries import Drop, Entry, Step, Stranger

_GET_LINK, _GET_ADDRESS, _GET_ROUTE, _GET_NEIGHBOUR = 18, 22, 26, 30
"""linux/rtnetlink.h"""

_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _DUMP_CHANGED = 0x1, 0x4, 0x300, 0x10
_CAP_ACK, _STRICT_CHECK = 10, 12
_SOL_NETLINK = 270
"""linux/netlink.h"""

_HEADER = struct.Struct("=IHHII")
_CODE = struct.Struct("=i")

LARGEST = 1 << 17
TOGETHER = 128
"""Changes in one call: their acknowledgements fit the socket's receive buffer."""

TIMEOUT = 10.0

FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Channel:
    """A socket to the kernel, in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(TIMEOUT)
        for option in (_CAP_ACK, _STRICT_CHECK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        """Open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._socket.close()

    def links(self) -> Sequence[linkmessages.Link]:
        """All of this host."""
        return [linkmessages.link(body) for body in self._dump(_GET_LINK, linkmessages.all_links())]

    def addresses(self) -> Mapping[int, Sequence[IPv4Interface | IPv6Interface]]:
        """All of this host, by the link's index."""
        found: dict[int, list[IPv4Interface | IPv6Interface]] = {}
        for body in self._dump(_GET_ADDRESS, messages.all_addresses()):
            one = messages.address(body)
            if one is not None:
                found.setdefault(one[0], []).append(one[1])
        return found

    def networks(self) -> Mapping[int, Set[messages.Network]]:
        """What is reached straight over a link because of the link's own address, by its index."""
        found: dict[int, set[messages.Network]] = {}
        for family in FAMILIES:
            for body in self._dump(_GET_ROUTE, messages.routes_of_addresses(family)):
                link, _ = messages.outgoing(body)
                network = messages.network(body)
                if network is not None:
                    found.setdefault(link, set()).add(network)
        return found

    def entries(self, links: Set[int], vxlans: Set[int]) -> Mapping[int, Sequence[Entry | Stranger]]:
        """All of these links, but for what the kernel itself puts there; a link that is gone has none. Of
        those that are no VXLANs no forwarding entries: what these tell are the MACs that they listen to.

        The kernel goes through all of the host's to find one link's, so of several links all are asked for.
        """
        found: dict[int, list[Entry | Stranger]] = {link: [] for link in links}
        try:
            self._read_entries(found, links & vxlans)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        return found

    def _read_entries(self, found: Mapping[int, list[Entry | Stranger]], vxlans: Set[int]) -> None:
        only = min(found) if len(found) == 1 else messages.ANY
        neighbours = [messages.neighbours_of(only, family) for family in FAMILIES]
        for family in FAMILIES:
            for body in self._dump(_GET_ROUTE, messages.routes_of(only, family)):
                link, _ = messages.outgoing(body)
                if link in found and (route := messages.route(body)) is not None:
                    found[link].append(route)
        asked: list[tuple[bytes, Set[int]]] = [(each, found.keys()) for each in neighbours]
        if vxlans:
            asked.append((messages.forwarding_of(only), vxlans))
        for message, concerned in asked:
            for body in self._dump(_GET_NEIGHBOUR, message):
                link = messages.beyond(body)
                if link in concerned and (entry := messages.neighbour(body)) is not None:
                    found[link].append(entry)

    def carry_out(self, index: int, steps: Sequence[Step]) -> None:
        """Do all of them, in their order. Raises the first error that there was, after the rest was tried."""
        first: OSError | None = None
        for start in range(0, len(steps), TOGETHER):
            part = steps[start : start + TOGETHER]
            codes = self._change([messages.message(index, step) for step in part])
            for step, code in zip(part, codes, strict=True):
                gone = isinstance(step, Drop) and code in {errno.ENOENT, errno.ESRCH}
                if code and not gone and first is None:
                    first = OSError(code, f"{os.strerror(code)}: {step}")
        if first is not None:
            raise first

    def _change(self, changes: Sequence[tuple[int, int, bytes]]) -> list[int]:
        """Error codes, 0 where there was none."""
        packed = []
        before = self._sequence
        for kind, flags, body in changes:
            self._sequence += 1
            packed.append(_packed(kind, _REQUEST | _ACK | flags, self._sequence, body))
        self._socket.send(b"".join(packed))
        codes: dict[int, int] = {}
        while len(codes) < len(changes):
            for kind, _, sequence, body in self._received():
                if kind == _ERROR and sequence > before:
                    codes[sequence] = _code(body)
        return [codes[before + number] for number in range(1, len(changes) + 1)]

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        """Once more, when it changed while it was read."""
        found, changed = self._dump_once(kind, body)
        return self._dump_once(kind, body)[0] if changed else found

    def _dump_once(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        self._sequence += 1
        self._socket.send(_packed(kind, _REQUEST | _DUMP, self._sequence, body))
        found: list[bytes] = []
        changed = False
        while True:
            for got, flags, sequence, answer in self._received():
                if sequence != self._sequence:
                    continue
                changed |= bool(flags & _DUMP_CHANGED)
                if got in {_ERROR, _DONE}:
                    code = _code(answer)
                    if code:
                        raise OSError(code, os.strerror(code))
                    return found, changed
                found.append(answer)

    def _received(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(LARGEST)
        offset = 0
        while offset < len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
            offset += messages.aligned(length)


def _packed(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def _code(body: bytes) -> int:
    return -int(_CODE.unpack_from(body)[0])
