"""Kernel settings under /proc/sys: those of a bridge, which go with it, and those of the host, which are
given back.
"""

import json
from pathlib import Path

from dsecos_agent.processes.files import write_atomically

ROOT = Path("/proc/sys")

FORWARD = "net/ipv4/ip_forward"

PER_BRIDGE = {
    # A connection from the host to 127.0.0.1 may be translated to a guest; its answers come in here. The
    # firewall drops what a guest itself sends to 127.0.0.0/8.
    "net/ipv4/conf/{}/route_localnet": "1",
    "net/ipv4/conf/{}/send_redirects": "0",
    "net/ipv4/conf/{}/accept_redirects": "0",
    "net/ipv4/conf/{}/accept_source_route": "0",
    "net/ipv4/conf/{}/rp_filter": "1",
    # Only the gateway's own address is answered for, not all that the host has.
    "net/ipv4/conf/{}/arp_ignore": "1",
    "net/ipv4/conf/{}/forwarding": "1",
    "net/ipv6/conf/{}/accept_ra": "0",
    "net/ipv6/conf/{}/disable_ipv6": "1",
}
"""ip-sysctl.rst in the kernel's documentation."""


def read(name: str) -> str | None:
    """A setting; None when this kernel has it not."""
    try:
        return (ROOT / name).read_text().strip()
    except OSError:
        return None


def write(name: str, value: str) -> bool:
    """Set it; False when it is so already or this kernel has it not. Raises OSError if it may not be set."""
    if read(name) in {None, value}:
        return False
    (ROOT / name).write_text(value)
    return True


def set_up_bridge(bridge: str) -> bool:
    """All of a bridge's settings; True when something was changed."""
    changed = [name for name, value in PER_BRIDGE.items() if write(name.format(bridge), value)]
    return bool(changed)


class HostSettings:
    """Settings of the whole host: what was before us is kept in `memory` until it is set back."""

    def __init__(self, memory: Path) -> None:
        """Nothing is touched before `put`."""
        self._memory = memory

    def put(self, name: str, value: str) -> str | None:
        """Set it and return what it was before us, were it before a restart of ours."""
        before = self._read()
        if name not in before:
            present = read(name)
            if present is None:
                return None
            # Remembered before it is changed: a crash in between must not make our value the former one.
            before[name] = present
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._memory, json.dumps(before))
        write(name, value)
        return before[name]

    def restore(self) -> None:
        """Set everything back and forget it."""
        for name, value in self._read().items():
            write(name, value)
        self._memory.unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._memory.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): str(value) for name, value in found.items()}
