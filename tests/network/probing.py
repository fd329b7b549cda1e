"""Real packets between namespaces: TCP connections, datagrams and echo requests, all at the same time."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from dsecos_cli.explaining.model import Address, Port, Transport

from tests.network.namespaces import Space
from tests.patience import SLACK, now

GRACE = 0.15
"""Seconds for which an answer that is not expected is waited for, after all that are expected have come."""
LIMIT = 1.0
"""Seconds, on an idle machine, after which an answer that is expected does not come."""
AGAIN = 0.25
"""Seconds until a datagram is sent once more."""

_KIND = {
    Transport.TCP: (socket.SOCK_STREAM, {4: 0, 6: 0}),
    Transport.UDP: (socket.SOCK_DGRAM, {4: 0, 6: 0}),
    Transport.ICMP: (socket.SOCK_DGRAM, {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}),
}
_ECHO = {4: bytes([8, 0, 0, 0, 0, 0, 0, 1]), 6: bytes([128, 0, 0, 0, 0, 0, 0, 1])}


@dataclass(frozen=True, slots=True)
class Probe:
    """One connection that is tried."""

    name: str
    space: Space
    target: Address
    port: Port
    source: Address | None = None
    """None: what the kernel chooses."""


def _socket(version: int, transport: Transport) -> socket.socket:
    kind, protocols = _KIND[transport]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    made = socket.socket(family, kind, protocols[version])
    made.setblocking(False)
    return made


class Servers:
    """Whoever sends a datagram to one of them gets it back; whoever connects is connected."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.sockets: list[socket.socket] = []

    def listen(self, space: Space, addresses: Iterable[Address], ports: Iterable[Port]) -> None:
        """At each address and port of a namespace."""
        wanted = [(address, port) for address in addresses for port in ports if port.number]
        with space.entered():
            for address, port in wanted:
                made = self._stack.enter_context(_socket(address.version, port.transport))
                made.bind((str(address), port.number))
                if port.transport is Transport.TCP:
                    made.listen(256)
                else:
                    self.sockets.append(made)

    def close(self) -> None:
        """Stop answering."""
        self._stack.close()


def answered(probes: Sequence[Probe], expected: Mapping[Probe, bool], servers: Servers) -> set[Probe]:
    """Those to which an answer came. What was expected and did not come is tried once more, patiently."""
    found = _round(probes, expected, servers, LIMIT)
    late = [probe for probe in probes if expected[probe] and probe not in found]
    return found | (_round(late, expected, servers, LIMIT * SLACK * 2) if late else set())


def _round(
    probes: Sequence[Probe], expected: Mapping[Probe, bool], servers: Servers, limit: float
) -> set[Probe]:
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for server in servers.sockets:
            selector.register(server, selectors.EVENT_READ)
        waiting: dict[Probe, socket.socket] = {}
        by_space: dict[Space, list[Probe]] = {}
        for probe in probes:
            by_space.setdefault(probe.space, []).append(probe)
        for space, group in by_space.items():
            with space.entered():
                for probe in group:
                    made = stack.enter_context(_socket(probe.target.version, probe.port.transport))
                    if _begin(made, probe):
                        waiting[probe] = made
                        tcp = probe.port.transport is Transport.TCP
                        event = selectors.EVENT_WRITE if tcp else selectors.EVENT_READ
                        selector.register(made, event, probe)
        return _collect(selector, waiting, expected, limit)


def _begin(made: socket.socket, probe: Probe) -> bool:
    """Send the first packet; False: there is no way at all."""
    try:
        if probe.source is not None:
            made.bind((str(probe.source), 0))
        if made.connect_ex((str(probe.target), probe.port.number)) not in (0, errno.EINPROGRESS):
            return False
        _send(made, probe)
    except OSError:
        return False
    return True


def _send(made: socket.socket, probe: Probe) -> None:
    if probe.port.transport is not Transport.TCP:
        with suppress(BlockingIOError):
            made.send(_ECHO[probe.target.version] if probe.port.transport is Transport.ICMP else b"?")


def _collect(
    selector: selectors.BaseSelector,
    waiting: dict[Probe, socket.socket],
    expected: Mapping[Probe, bool],
    limit: float,
) -> set[Probe]:
    found: set[Probe] = set()
    end, again, grace = now() + limit, time.monotonic() + AGAIN, 0.0
    missing = sum(expected[probe] for probe in waiting)
    while True:
        for key, _ in selector.select(0.02):
            made = key.fileobj
            assert isinstance(made, socket.socket)
            if key.data is None:
                _echo(made)
            elif (passed := _passed(made, key.data)) is not None:
                selector.unregister(made)
                del waiting[key.data]
                missing -= expected[key.data]
                if passed:
                    found.add(key.data)
        moment = time.monotonic()
        if missing <= 0 or now() >= end:
            grace = grace or moment + GRACE
            if moment >= grace:
                return found
        elif moment >= again:
            again = moment + AGAIN
            for probe, made in waiting.items():
                with suppress(OSError):
                    _send(made, probe)


def _echo(server: socket.socket) -> None:
    with suppress(OSError):
        data, peer = server.recvfrom(64)
        server.sendto(data, peer)


def _passed(made: socket.socket, probe: Probe) -> bool | None:
    """None: nothing has come yet. A refusal is no answer: somebody listens wherever a probe should arrive."""
    if probe.port.transport is Transport.TCP:
        return made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    try:
        made.recv(64)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True
