"""The servers of one folder: their files, and their processes as /proc tells them. All of it is blocking.

`<bridge>.hosts` is what a server knows, `<bridge>.pid` says which of its processes is the server: it forks
for each TCP connection, and those outlive one that was killed. A process is ours if its arguments name the
folder and it is in our network namespace: guests' processes are in /proc too and may call themselves
anything.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.processes.files import write_atomically

PATIENCE = 5.0
"""Seconds that a server gets to end before it is killed."""

_PROC = Path("/proc")
_MARK = "--addn-hosts="


@dataclass(frozen=True, slots=True)
class Process:
    """A server, or a child of one that answers a TCP connection."""

    pid: int
    argv: tuple[str, ...]


class Folder:
    """The servers' folder; dnsmasq's unprivileged user has to pass through it."""

    def __init__(self, path: Path) -> None:
        """Nothing is made before the first `write`."""
        self.path = path.absolute()

    def hosts(self, bridge: str) -> Path:
        """What the bridge's server knows."""
        return self.path / f"{bridge}.hosts"

    def pid(self, bridge: str) -> Path:
        """Which process it is."""
        return self.path / f"{bridge}.pid"

    def write(self, bridge: str, text: str) -> bool:
        """The bridge's hosts file. Whether it was another. Raises OSError."""
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self.path.stat().st_mode & 0o111 != 0o111:
            self.path.chmod(0o711)
        file = self.hosts(bridge)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if file.read_text() == text:
                return False
        write_atomically(file, text, mode=0o644)
        return True

    def server(self, bridge: str) -> Process | None:
        """The bridge's server, if it runs."""
        try:
            pid = int(self.pid(bridge).read_text())
        except (OSError, ValueError):
            return None
        found = _look(pid)
        return found if found is not None and self._bridge(found) == bridge else None

    def running(self) -> dict[str, Process]:
        """All servers that run, by bridge."""
        found = {file.stem: self.server(file.stem) for file in self.path.glob("*.pid")}
        return {bridge: server for bridge, server in found.items() if server is not None}

    def end(self, bridges: Iterable[str] | None = None) -> list[str]:
        """End all processes of these bridges (None: of all) and wait for it. Bridges that had any.

        A server is asked and ends its children; children that a killed server left obey nothing but SIGALRM
        and SIGKILL.
        """
        bridges = None if bridges is None else set(bridges)
        mine: dict[int, str] = {}
        for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()):
            found = _look(pid)
            bridge = None if found is None else self._bridge(found)
            if bridge is not None and (bridges is None or bridge in bridges):
                mine[pid] = bridge
        asked = {server.pid for bridge in set(mine.values()) if (server := self.server(bridge))}
        _end(mine.keys() - asked, [signal.SIGKILL])
        _end(asked, [signal.SIGTERM, signal.SIGKILL])
        return sorted(set(mine.values()))

    def remove(self, bridge: str) -> None:
        """The bridge's files."""
        for file in (self.hosts(bridge), self.pid(bridge)):
            file.unlink(missing_ok=True)
            file.with_name(f"{file.name}.tmp").unlink(missing_ok=True)

    def _bridge(self, process: Process) -> str | None:
        """Whose process it is; None: not ours."""
        if len(process.argv) < 3 or not process.argv[2].startswith(_MARK):
            return None
        file = Path(process.argv[2].removeprefix(_MARK))
        return file.stem if file == self.hosts(file.stem) and _same_network(process.pid) else None


def end_all(state: Path) -> list[str]:
    """End every server below `state` and take its files away. Bridges whose servers ran."""
    folder = Folder(state)
    ended = folder.end()
    for pattern in ("*.hosts", "*.pid", "*.tmp"):
        for file in folder.path.glob(pattern):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.path.rmdir()
    return ended


def outdated(pid: int) -> bool:
    """Whether the program that it runs is no longer the installed one: an update took its place."""
    try:
        return str((_PROC / str(pid) / "exe").readlink()).endswith(" (deleted)")
    except OSError:
        return False


def _look(pid: int) -> Process | None:
    try:
        text = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    return Process(pid, tuple(os.fsdecode(text).split("\0")[:-1]))


def _same_network(pid: int) -> bool:
    try:
        return (_PROC / str(pid) / "ns/net").readlink() == (_PROC / "thread-self/ns/net").readlink()
    except OSError:
        return False


def _end(pids: Iterable[int], signals: Iterable[signal.Signals]) -> None:
    alive: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            alive[os.pidfd_open(pid)] = pid
    try:
        for number in signals:
            for descriptor in alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
            _wait(alive)
    finally:
        for descriptor in alive:
            os.close(descriptor)


def _wait(descriptors: Iterable[int]) -> None:
    """Until all have ended, at most `PATIENCE`."""
    poll, left = select.poll(), set(descriptors)
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    end = time.monotonic() + PATIENCE
    while left and (seconds := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(seconds * 1000):
            poll.unregister(descriptor)
            left.discard(descriptor)
