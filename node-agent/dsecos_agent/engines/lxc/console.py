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
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dsecos_agent.engines.errors import GuestFailedError, GuestNotRunningError
from dsecos_agent.processes import ToolMissingError
from dsecos_agent.processes.run import ended

CHUNK = 16 * 1024
LARGEST = 1000
"""Columns or rows."""

ENTER_LIMIT = 20.0
"""Seconds until the tool has entered the guest."""

HANG_UP_GRACE = 2.0
"""Seconds that what runs in the foreground has for its end."""

OUTPUT, LOCAL = 1, 3
"""Places of the output and the local modes in what tcgetattr tells."""


async def open_console(
    argv: Sequence[str], env: Mapping[str, str], *, columns: int, rows: int
) -> "PtyConsole":
    """Run lxc-attach as `argv` on a terminal. Raises ToolMissingError, GuestFailedError.

    Returns once the tool passes on what is typed: it throws away what came before.
    """
    master, slave = os.openpty()
    try:
        os.set_blocking(master, False)
        _resize(master, columns, rows)
        console = PtyConsole(master, _spawn(argv, env, slave))
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    try:
        async with asyncio.timeout(ENTER_LIMIT):
            await console.entered()
    except TimeoutError as error:
        await console.close()
        raise GuestFailedError("the guest could not be entered in time") from error
    except BaseException:
        await console.close()
        raise
    return console


def _spawn(argv: Sequence[str], env: Mapping[str, str], terminal: int) -> subprocess.Popen[bytes]:
    # In a session of its own with this terminal, so that a hang-up and a change of size reach it.
    try:
        return subprocess.Popen(
            ["setsid", "--ctty", "--", *argv], stdin=terminal, stdout=terminal, stderr=terminal, env=dict(env)
        )
    except FileNotFoundError as error:
        raise ToolMissingError(f"setsid cannot be run: {error.strerror}") from error


class PtyConsole:
    """The master's side of a terminal, with a program on it in a session of its own."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        """Made by `open_console`."""
        self._master = master
        self._process = process
        self._closed = asyncio.Event()

    async def entered(self) -> None:
        """Wait until the tool has taken the terminal over, which it makes raw (or has failed)."""
        while (attributes := termios.tcgetattr(self._master))[LOCAL] & termios.ECHO:
            if self._has_ended():
                return
            await asyncio.sleep(0.005)
        # The guest's own terminal has made CR LF of line ends already.
        attributes[OUTPUT] &= ~termios.ONLCR
        termios.tcsetattr(self._master, termios.TCSANOW, attributes)

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
            _resize(self._master, columns, rows)

    async def close(self) -> None:
        """Hang up and reap. Twice is fine."""
        if self._closed.is_set():
            return
        self._closed.set()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        inside = _in_the_guest(self._process.pid)
        os.close(self._master)
        # Its own group, and itself should it not have got so far.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        for group, leader in inside.items():
            await _end(group, leader)

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
        return self._process.poll() is not None


def _resize(terminal: int, columns: int, rows: int) -> None:
    size = struct.pack("HHHH", min(max(rows, 1), LARGEST), min(max(columns, 1), LARGEST), 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


def _in_the_guest(tool: int) -> dict[int, int]:
    """The shell that the tool has started and what is in the foreground of its terminal: process groups, by
    this host's numbers, with a descriptor of each one's leader.
    """
    found: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{tool}/task/{tool}/children").read_text().split():
            # proc_pid_stat(5): state, ppid, pgrp, session, tty_nr, tpgid
            stat = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            for group in {int(stat[5]), int(stat[2])} - {0, -1, tool}:
                with contextlib.suppress(ProcessLookupError):
                    found[group] = os.pidfd_open(group)
    return found


async def _end(group: int, leader: int) -> None:
    """Give what was hung up a moment to end, then kill it."""
    try:
        await asyncio.wait_for(ended(leader), HANG_UP_GRACE)
    except TimeoutError:
        # As long as its leader lives the number is this group's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    finally:
        os.close(leader)
