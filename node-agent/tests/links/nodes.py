"""Nodes of a cluster and guests, each a network namespace in which our code runs; packets between them are
real.
"""

import asyncio
import os
import select
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dsecos_agent.links.netlink import NetlinkLinks

from .netns import Namespace, enter

T = TypeVar("T")

TRIES, PATIENCE = 4, 0.5
"""A packet may be lost while a neighbour is being asked for."""


class Inside:
    """A thread that lives in a namespace; threads that its event loop starts live there too."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        descriptor = os.open(f"/proc/{self.namespace.pid}/ns/net", os.O_RDONLY)
        enter(descriptor)
        os.close(descriptor)
        self._loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, work: Callable[[], T]) -> T:
        async def there() -> T:
            return work()

        return self.run(there())

    def ip(self, command: str) -> str:
        return self.namespace.ip(command)

    def close(self) -> None:
        async def end() -> None:
            await self._loop.shutdown_default_executor()

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.namespace.close()


@dataclass
class Node:
    """One node: our links, on an underlay that joins it with the others."""

    inside: Inside
    links: NetlinkLinks
    address: str
    guests: dict[str, Inside] = field(default_factory=dict)


@contextmanager
def cluster(count: int, home: Path, *, prefix: str = "dt") -> Iterator[list[Node]]:
    """Nodes 192.0.2.1, .2, ... on one network, which is a bridge in a namespace of its own."""
    with ExitStack() as stack:
        switch = _inside(stack)
        switch.ip("link add sw type bridge")
        switch.ip("link set sw up")
        nodes = []
        for number in range(1, count + 1):
            node = _inside(stack)
            switch.ip(f"link add port{number} type veth peer eth0 netns {node.namespace.pid}")
            switch.ip(f"link set port{number} master sw up")
            node.ip(f"addr add 192.0.2.{number}/24 dev eth0")
            node.ip("link set eth0 up")
            nodes.append(Node(node, NetlinkLinks(prefix, home / f"{number}"), f"192.0.2.{number}"))
        yield nodes
        for each in nodes:
            for guest in each.guests.values():
                guest.close()


def start(node: Node, bridge: str, port: str, *addresses: str, gateways: tuple[str, ...], mtu: int) -> Inside:
    """A guest as an engine makes it: its own address alone, and a default route."""
    guest = Inside()
    node.guests[port] = guest
    node.inside.ip(f"link add {port} type veth peer eth0 netns {guest.namespace.pid}")
    guest.ip(f"link set eth0 mtu {mtu} up")
    for address in addresses:
        guest.ip(f"addr add {address} dev eth0{' nodad' if ':' in address else ''}")
    for gateway in gateways:
        guest.ip(f"route add default via {gateway} dev eth0 onlink")
    node.inside.run(node.links.attach(port, bridge))
    return guest


def reaches(sender: Inside, receiver: Inside, address: str, size: int = 8) -> bool:
    """Whether a datagram gets there, and its answer back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        receiver.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as there,
        sender.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as here,
    ):
        there.bind((address, 0))
        here.connect((address, there.getsockname()[1]))
        for _ in range(TRIES):
            try:
                here.send(bytes(size))
            except OSError:
                continue  # told that nobody is there: the next try asks anew
            for reading in (there, here):
                if not select.select([reading], [], [], PATIENCE)[0]:
                    break
                if reading is there:
                    data, back = there.recvfrom(65535)
                    there.sendto(data, back)
                elif len(here.recv(65535)) == size:
                    return True
    return False


def _inside(stack: ExitStack) -> Inside:
    inside = Inside()
    stack.callback(inside.close)
    return inside
