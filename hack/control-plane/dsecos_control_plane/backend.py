"""What keeps processes running: systemd where it is PID 1, supervisord elsewhere. Both restart what ends, for
ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dsecos_control_plane.processes import Process

LOG_LINES = 8
"""How many of a process's last lines are shown where it did not become ready."""


@dataclass(frozen=True)
class State:
    """A process as its backend sees it; `pid` is 0 where it does not run."""

    name: str
    running: bool
    pid: int = 0
    detail: str = ""


class Backend(Protocol):
    """Installs, starts, stops and removes processes; each call may be repeated."""

    def apply(self, processes: Sequence[Process]) -> list[str]:
        """Make these processes run as described and return the names of those started or restarted.

        What already runs as described is left alone, and so are processes that are not named.
        """
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Stop these processes, in this order, and forget them; those that are not there are passed over."""
        ...

    def states(self) -> list[State]:
        """Return every process of this instance that the backend knows."""
        ...

    def log(self, name: str) -> str:
        """Return the last lines that a process wrote."""
        ...

    def close(self) -> None:
        """Stop what is left of this instance, and the backend itself where it serves this instance alone."""
        ...


def privileged_argv(process: Process) -> tuple[str, ...]:
    """Return the command line that gives up every privilege before it becomes the process.

    setpriv(1) rather than systemd's `User=` or supervisor's `user`: both want an entry in /etc/passwd.
    """
    if process.identity is None:
        return process.argv
    drop = ("--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    ids = (f"--reuid={process.identity.uid}", f"--regid={process.identity.gid}")
    return ("/usr/bin/setpriv", *ids, *drop, "--", *process.argv)
