"""Being told by the kernel that something changed: a netlink multicast group as a wake-up (netlink(7)).

Messages are looked at only as far as is needed to tell whether they concern us. When the kernel drops some
because we were slow (ENOBUFS), that is a wake-up too.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

RECEIVE_BUFFER = 1 << 20
LARGEST = 1 << 16

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1


class NetlinkWatch:
    """Calls back on the event loop, once for what came together; lasts until closed."""

    def __init__(
        self,
        protocol: int,
        groups: tuple[int, ...],
        concerns_us: Callable[[bytes], bool],
        callback: Callable[[], None],
        missed: Callable[[], None] | None = None,
    ) -> None:
        """`groups` are numbers, not bits; `missed` is called before `callback` when messages were lost. Must
        be made on the event loop.
        """
        self._concerns_us = concerns_us
        self._missed = missed
        self._callback = callback
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """End it."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        wake = False
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    message = self._socket.recv(LARGEST)
                except BlockingIOError:
                    raise
                except OSError:
                    wake = True
                    if self._missed is not None:
                        self._missed()
                else:
                    # Each is looked at, also after one that wakes: who looks may learn from it.
                    wake |= self._concerns_us(message)
        if wake:
            self._callback()
