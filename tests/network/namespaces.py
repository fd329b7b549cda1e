"""Network namespaces that nobody has to clean up: each is held by a descriptor, and gone with it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_OWN = "/proc/thread-self/ns/net"

SETTINGS = {
    "net/ipv4/ping_group_range": "0 2147483647",
    # Nodes route, and the world outside: see the fabric.
    "net/ipv4/ip_forward": "0",
    "net/ipv6/conf/all/forwarding": "0",
    # No address waits until the kernel has asked around for it.
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
}


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Space:
    """One network namespace with `lo` up."""

    def __init__(self) -> None:
        before = os.open(_OWN, os.O_RDONLY)
        try:
            if _libc.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            self._descriptor = os.open(_OWN, os.O_RDONLY)
            for name, value in SETTINGS.items():
                (Path("/proc/sys") / name).write_text(value)
        finally:
            _enter(before)
            os.close(before)
        self.ip("link set lo up")

    @property
    def path(self) -> str:
        """What `ip link add ... netns` takes."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, the threads and the processes that it starts are in the namespace."""
        before = os.open(_OWN, os.O_RDONLY)
        try:
            _enter(self._descriptor)
            yield
        finally:
            _enter(before)
            os.close(before)

    def ip(self, *commands: str) -> None:
        """Carry out commands of ip(8), one after the other."""
        self.feed(["ip", "-batch", "-"], commands)

    def feed(self, command: list[str], lines: Iterable[str]) -> None:
        """Run a command that reads lines."""
        text = "".join(f"{line}\n" for line in lines)
        with self.entered():
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}\n{text}"

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
