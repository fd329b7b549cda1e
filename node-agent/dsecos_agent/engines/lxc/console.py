"""A terminal in a guest.

Two pairs of pseudo-terminals: ours on the host, with lxc-attach at its other end, and the one that lxc-attach
makes in the guest when it finds itself on a terminal. So the guest never holds a descriptor of the host's
devpts, and hanging up ours makes the tool hang up the guest's.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable, Mapping, Sequence

from dsecos_agent.engines.errors import GuestNotRunningError
from dsecos_agent.processes import ToolMissingError

CHUNK = 16 * 1024
LARGEST = 1000
"""Columns or rows."""


class PtyConsole:
    """The master's side of a terminal on which `argv` runs, in a session of its own."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], *, columns: int, rows: int) -> None:
        """Start it. Raises ToolMissingError."""
        self._master, slave = os.openpty()
        try:
            self._resize(self._master, columns, rows)
            os.set_blocking(self._master, False)
            self._pid = _spawn(argv, env, os.ttyname(slave))
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        self._ended = False
        self._closed = asyncio.Event()

    async def read(self) -> bytes:
        """The next piece of output; empty at the end."""
        loop = asyncio.get_running_loop()
        while not self._closed.is_set():
            try:
                return os.read(self._master, CHUNK)
            except BlockingIOError:
                await self._until(loop.add_reader, loop.remove_reader)
            except OSError:
                # EIO: nobody holds the other end any more.
                break
        return b""

    async def write(self, data: bytes) -> None:
        """Type. Raises GuestNotRunningError when the session has ended."""
        loop = asyncio.get_running_loop()
        while data:
            if self._closed.is_set() or self._has_ended():
                raise GuestNotRunningError("the session has ended")
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                await self._until(loop.add_writer, loop.remove_writer)
            except OSError as error:
                raise GuestNotRunningError("the session has ended") from error

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest the size; what is on the terminal gets SIGWINCH."""
        if not self._closed.is_set():
            self._resize(self._master, columns, rows)

    async def close(self) -> None:
        """Hang up and reap. Twice is fine."""
        if self._closed.is_set():
            return
        self._closed.set()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        os.close(self._master)
        if not self._has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            await asyncio.to_thread(os.waitpid, self._pid, 0)
            self._ended = True

    async def _until(
        self, add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], object]
    ) -> None:
        ready = asyncio.Event()
        add(self._master, ready.set)
        waits = [asyncio.ensure_future(ready.wait()), asyncio.ensure_future(self._closed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            # Once closed, the number may be another descriptor's.
            if not self._closed.is_set():
                remove(self._master)

    def _has_ended(self) -> bool:
        if not self._ended:
            self._ended = os.waitpid(self._pid, os.WNOHANG)[0] != 0
        return self._ended

    @staticmethod
    def _resize(terminal: int, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", min(max(rows, 1), LARGEST), min(max(columns, 1), LARGEST), 0, 0)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


def _spawn(argv: Sequence[str], env: Mapping[str, str], terminal: str) -> int:
    # The leader of a new session that opens a terminal gets it as its controlling one (tty_ioctl(4)), so that
    # a hang-up and a change of size reach it.
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    try:
        return os.posix_spawnp(argv[0], list(argv), env, file_actions=actions, setsid=True)
    except FileNotFoundError as error:
        raise ToolMissingError(f"{argv[0]} cannot be run: {error.strerror}") from error
