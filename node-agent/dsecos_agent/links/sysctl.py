"""Kernel settings under /proc/sys: those of a bridge, which go with it, and those of the host, which are
given back.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsecos_agent.processes.files import write_atomically

ROOT = Path("/proc/sys")

FORWARD = "net/ipv4/ip_forward"
LINKS6 = "net/ipv6/conf"
FORWARD6 = f"{LINKS6}/all/forwarding"

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
}
"""ip-sysctl.rst in the kernel's documentation."""

WITHOUT_IPV6 = {"net/ipv6/conf/{}/disable_ipv6": "1"}

WITH_IPV6 = {
    "net/ipv6/conf/{}/autoconf": "0",
    "net/ipv6/conf/{}/accept_redirects": "0",
    # Guests' neighbours are asked for from the link-local address, and not before it is known to be unique.
    "net/ipv6/conf/{}/accept_dad": "0",
    "net/ipv6/conf/{}/disable_ipv6": "0",
}

PER_TRANSIT = {
    "net/ipv4/conf/{}/forwarding": "1",
    "net/ipv4/conf/{}/send_redirects": "0",
    "net/ipv4/conf/{}/accept_redirects": "0",
    "net/ipv4/conf/{}/accept_source_route": "0",
    # Loose: what another zone's guest sends comes by the receiver's link and is answered by the sender's. Not
    # off: the greater of this and the setting for all links counts, and many hosts have a strict one.
    "net/ipv4/conf/{}/rp_filter": "2",
    "net/ipv6/conf/{}/accept_ra": "0",
    "net/ipv6/conf/{}/autoconf": "0",
    "net/ipv6/conf/{}/accept_redirects": "0",
    # None: no address is ever needed on it.
    "net/ipv6/conf/{}/addr_gen_mode": "1",
    "net/ipv6/conf/{}/disable_ipv6": "0",
}


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


def set_up_bridge(bridge: str, *, ipv6: bool) -> bool:
    """All of a bridge's settings; True when something was changed."""
    return _set_up(bridge, PER_BRIDGE | (WITH_IPV6 if ipv6 else WITHOUT_IPV6))


def set_up_transit(link: str) -> bool:
    """All of a transit link's settings; True when something was changed."""
    return _set_up(link, PER_TRANSIT)


def _set_up(link: str, settings: Mapping[str, str]) -> bool:
    changed = [name for name, value in settings.items() if write(name.format(link), value)]
    return bool(changed)


class HostSettings:
    """Settings of the whole host: what was before us is kept in `memory` until it is set back."""

    def __init__(self, memory: Path) -> None:
        """Nothing is touched before `put`."""
        self._memory = memory
        self._settled6 = False
        """The links have got their own settings back, as far as we know."""

    def put(self, name: str, value: str) -> str | None:
        """Set it and return what it was before us, were it before a restart of ours."""
        before = self._remember([name])
        write(name, value)
        return before.get(name)

    def forward6(self) -> str | None:
        """Let the host forward IPv6 and return whether it did before us ("1", "0").

        The switch for all turns every link into a router's, which no longer heeds what other routers say, and
        forgets the default routes that were learnt from them. So each link gets its own setting back, and
        heeds routers in any case while the switch is turned (`accept_ra` 2).
        """
        forwards, before = read(FORWARD6), self._read()
        if forwards != "0" and (self._settled6 or FORWARD6 not in before):
            return before.get(FORWARD6, forwards)
        links = sorted(path.name for path in (ROOT / LINKS6).iterdir() if path.name != "all")
        own = {name: f"{LINKS6}/{name}/forwarding" for name in links}
        heeds = {name: f"{LINKS6}/{name}/accept_ra" for name in links}
        listening = [heeds[name] for name in links if (read(own[name]), read(heeds[name])) == ("0", "1")]
        before = self._remember([FORWARD6, *own.values(), *listening])
        if forwards == "0":
            for name in listening:
                write(name, "2")
            write(FORWARD6, "1")
        for name, value in before.items():
            if name.startswith(LINKS6) and name != FORWARD6:
                write(name, value)
        self._settled6 = True
        return before[FORWARD6]

    def restore(self) -> None:
        """Set everything back and forget it."""
        for name, value in self._read().items():
            write(name, value)
        self._memory.unlink(missing_ok=True)

    def _remember(self, names: Sequence[str]) -> dict[str, str]:
        """What these were before us, kept before anything is changed: a crash in between must not make our
        value the former one.
        """
        before = self._read()
        present = {name: read(name) for name in names if name not in before}
        news = {name: value for name, value in present.items() if value is not None}
        if news:
            before |= news
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._memory, json.dumps(before))
        return before

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._memory.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): str(value) for name, value in found.items()}
