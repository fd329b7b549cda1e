"""Whether a guest runs, seen without starting a program.

Two things tell. The note that a hook leaves in the guest's directory names its init's pid, that process'
start time (so a pid that was given to another process is not mistaken for it, proc_pid_stat(5) field 22),
the digest that it was started with and its owner. And liblxc's monitor listens on an abstract socket
`<lxcpath>/<name>/command` from before init starts until after all is undone.
"""

import contextlib
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.processes.files import write_atomically

NOTE = "booted"
"""Of the guest's present life, by the hook in its configuration."""
PF_EXITING = 0x4
"""Of field 9 of proc_pid_stat(5) (linux/sched.h)."""
ABSTRACT_SOCKET_LIMIT = 107
"""Bytes of a name after the leading NUL (unix(7)); beyond, liblxc hashes the name."""


@dataclass(frozen=True, slots=True)
class Boot:
    """One life of a guest."""

    init_pid: int
    start_time: int
    """In clock ticks since the host's boot."""
    digest: str
    owner_uid: str | None
    """None: started from a configuration of an older agent."""


def _stat(pid: int) -> list[str] | None:
    """What follows the state in proc_pid_stat(5), from field 4 on; None of a process that is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else fields


def _start_time(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[18])


def is_alive(boot: Boot) -> bool:
    """Its init is there."""
    return _start_time(boot.init_pid) == boot.start_time


def is_ending(boot: Boot) -> bool:
    """Its init is exiting, or dead. It waits for what it was the init of to die, and with control groups of
    version 1 it is in none of its own meanwhile (proc_cgroup_show of kernel/cgroup/cgroup.c).
    """
    fields = _stat(boot.init_pid)
    return fields is None or bool(int(fields[5]) & PF_EXITING)


def read_boot(directory: Path) -> Boot | None:
    """The note of the guest's present life; None when there is none or that life is over."""
    try:
        words = (directory / NOTE).read_text().split()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(words) not in {3, 4} or not (words[0].isdigit() and words[1].isdigit()):
        return None
    boot = Boot(int(words[0]), int(words[1]), words[2], words[3] if len(words) == 4 else None)
    return boot if is_alive(boot) else None


def write_boot(directory: Path, boot: Boot) -> None:
    """Leave the note of a life that began before there was a hook. Raises OSError."""
    words = f"{boot.init_pid} {boot.start_time} {boot.digest} {boot.owner_uid}\n"
    write_atomically(directory / NOTE, words)


def unnoted(lxcpath: Path, name: str) -> Boot | None:
    """The present life of a container whose start has left no note, from the children of its monitor.

    Until its init is a program of the container's own it is still being started, and its hooks are to come.
    """
    monitor = monitor_of(lxcpath, name) or _foreground(lxcpath, name)
    for child in _children(monitor) if monitor is not None else ():
        with contextlib.suppress(OSError):
            started = not Path(f"/proc/{child}/exe").samefile(f"/proc/{monitor}/exe")
            begun = _start_time(child)
            if started and begun is not None and _is_init(child):
                return Boot(child, begun, "", None)
    return None


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _is_init(pid: int) -> bool:
    """Of a pid namespace below ours: hooks are children of the monitor, too."""
    pids = re.search(r"^NSpid:\s+\d+\s+(?:\d+\s+)*1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return pids is not None


def monitor_of(lxcpath: Path, name: str) -> int | None:
    """Pid of liblxc's monitor, which goes by this title (do_lxcapi_start of lxccontainer.c)."""
    title = f"[lxc monitor] {lxcpath} {name}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().rstrip(b"\0") == title:
                return int(process.name)
    return None


def _foreground(lxcpath: Path, name: str) -> int | None:
    """Pid of `lxc-start -F`, as the host's init runs it: its monitor is itself and bears no title.

    A daemon's socket was opened by a process that is gone, and its pid may be another's.
    """
    with _connected(lxcpath, name) as peer:
        if peer is None:
            return None
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid = int(struct.unpack("3i", credentials)[0])
    with contextlib.suppress(OSError):
        if f"/lxc.monitor.{name}" in Path(f"/proc/{pid}/cgroup").read_text():
            return pid
    return None


@contextlib.contextmanager
def _connected(lxcpath: Path, name: str) -> Iterator[socket.socket | None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(f"\0{lxcpath}/{name}/command")
        except BlockingIOError:
            yield probe
        except OSError:
            yield None
        else:
            yield probe


def is_monitored(lxcpath: Path, name: str) -> bool:
    """liblxc's monitor of this guest is there: it starts, runs or stops."""
    with _connected(lxcpath, name) as peer:
        return peer is not None
