"""Whether a guest runs, seen without starting a program.

Two things tell. The note that a hook leaves in the guest's directory names its init's pid, that process'
start time (so a pid that was given to another process is not mistaken for it, proc_pid_stat(5) field 22),
the digest that it was started with and its owner. And liblxc's monitor listens on an abstract socket
`<lxcpath>/<name>/command` from before init starts until after all is undone.
"""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

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


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])


def is_alive(boot: Boot) -> bool:
    """Its init still runs."""
    return _start_time(boot.init_pid) == boot.start_time


def read_boot(directory: Path) -> Boot | None:
    """The note of the guest's present life; None when there is none or that life is over."""
    try:
        words = (directory / "booted").read_text().split()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(words) not in {3, 4} or not (words[0].isdigit() and words[1].isdigit()):
        return None
    boot = Boot(int(words[0]), int(words[1]), words[2], words[3] if len(words) == 4 else None)
    return boot if is_alive(boot) else None


def monitor_of(lxcpath: Path, name: str) -> int | None:
    """Pid of liblxc's monitor, which goes by this title (do_lxcapi_start of lxccontainer.c)."""
    title = f"[lxc monitor] {lxcpath} {name}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().rstrip(b"\0") == title:
                return int(process.name)
    return None


def is_monitored(lxcpath: Path, name: str) -> bool:
    """liblxc's monitor of this guest is there: it starts, runs or stops."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(f"\0{lxcpath}/{name}/command")
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
