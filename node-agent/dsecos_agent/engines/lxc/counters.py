"""What a running guest has used, beside its control groups: its network ports and its clock."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from dsecos_agent.engines.lxc.state import Boot

LINKS = Path("/sys/class/net")


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
