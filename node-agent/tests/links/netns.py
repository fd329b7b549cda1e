"""Network namespaces for tests: the test itself moves into one, so that the host's own network is never
touched.
"""

import asyncio
import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and those that it starts, are in a new and empty network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    try:
        ip("link set lo up")
        yield
    finally:
        enter(before)
        os.close(before)


def ip(command: str) -> str:
    return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True).stdout


class Namespace:
    """A namespace beside ours, kept by a process that sleeps in it; joined to ours by veth pairs."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--net",
                "sh",
                "-c",
                "ip link set lo up; echo; exec setpriv --pdeathsig KILL sleep 100000",
            ],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.pid = self._holder.pid

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def argv(self, *command: str) -> list[str]:
        return ["nsenter", "--net", "--target", str(self.pid), "--", *command]

    def ip(self, command: str) -> str:
        return subprocess.run(
            self.argv("ip", *command.split()), check=True, capture_output=True, text=True
        ).stdout

    def veth(self, outer: str, inner: str = "eth0", mac: str | None = None) -> None:
        address = f"address {mac} " if mac else ""
        ip(f"link add {outer} type veth peer {inner} {address}netns {self.pid}")
        self.ip(f"link set {inner} up")

    async def run(self, *command: str, time_limit: float = 10) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *self.argv(*command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await asyncio.wait_for(process.communicate(), time_limit)
        return process.returncode or 0, out.decode()
