"""What a running guest has used, beside its control groups: its network ports and its clock."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsecos_agent.engines.errors import GuestNotRunningError
from dsecos_agent.engines.lxc import cgroups
from dsecos_agent.engines.lxc.state import Boot
from dsecos_agent.engines.model import Metrics, ObservedGuest

LINKS = Path("/sys/class/net")


def group_of(guest: ObservedGuest) -> cgroups.GuestCgroup:
    """Control groups of a running guest. Raises GuestNotRunningError."""
    try:
        return cgroups.of_process(guest.init_pid or 0)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise GuestNotRunningError(f"guest {guest.name} has just ended") from error


def count(guest: ObservedGuest, boot: Boot | None, ports: Sequence[str]) -> Metrics:
    """All of it, now; `ports` are those of a guest that was made here. Raises GuestNotRunningError."""
    received, sent = inside(guest.init_pid or 0) if guest.adopted else network(ports)
    return replace(
        cgroups.usage(group_of(guest)),
        network_in_bytes=received,
        network_out_bytes=sent,
        uptime_seconds=uptime(boot) if boot else None,
    )


def inside(init: int, proc: Path = Path("/proc")) -> tuple[int | None, int | None]:
    """Bytes that came in and went out by all interfaces of a guest but its loopback; None where it shares the
    host's (proc_pid_net(5)).
    """
    try:
        if (proc / f"{init}/ns/net").readlink() == (proc / "self/ns/net").readlink():
            return None, None
        lines = (proc / f"{init}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return None, None
    named = (line.split(":", 1) for line in lines)
    counted = [counters.split() for name, counters in named if name.strip() != "lo"]
    if not counted:
        return None, None
    return sum(int(each[0]) for each in counted), sum(int(each[8]) for each in counted)


def network(ports: Sequence[str], links: Path = LINKS) -> tuple[int | None, int | None]:
    """Bytes that came in and went out, as the guest sees it; None without a port.

    A port is the host's end of a pair: what the guest sends the host receives there.
    """
    pairs = [(_bytes(links / port, "tx"), _bytes(links / port, "rx")) for port in ports]
    known = [(received, sent) for received, sent in pairs if received is not None and sent is not None]
    if not known:
        return None, None
    return sum(received for received, _ in known), sum(sent for _, sent in known)


def uptime(boot: Boot) -> float:
    """Seconds since the guest's init was started."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - boot.start_time / os.sysconf("SC_CLK_TCK"))


def _bytes(link: Path, direction: str) -> int | None:
    try:
        return int((link / f"statistics/{direction}_bytes").read_text())
    except (OSError, ValueError):
        return None
