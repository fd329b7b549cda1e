"""Everything on this machine that DsecOS may touch, one thing a line, so that before and after can be
compared.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from dsecos_control_plane.command import run
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.home import mounts_inside
from dsecos_control_plane.settings import Settings

FILES = ("/etc/subuid", "/etc/subgid", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf")
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "kernel/keys/maxkeys",
    "fs/inotify/max_user_instances",
)


def footprint(settings: Settings) -> list[str]:
    """Return the machine's state: processes with this instance's home, and of all else everything there is.

    Numbers that differ from run to run, such as process ids, are left out.
    """
    loops = ["losetup", "--list", "--noheadings", "--raw", "--output=BACK-FILE"]
    units = Path("/etc/systemd/system").glob(f"{settings.instance}-*")
    return sorted(
        {
            *(f"process {line}" for line in _processes(settings.home)),
            *(f"link {path.name}" for path in Path("/sys/class/net").iterdir()),
            *(f"nft {line}" for line in _nft_tables()),
            *(f"mount {path}" for path in mounts_inside(Path("/"))),
            *(f"loop {line}" for line in _lines(loops)),
            *(f"listen {line}" for line in _listeners()),
            *(f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("**/lxc*")),
            *(f"unit {path.name}" for path in units),
            *(f"file {name} {_digest(Path(name))}" for name in FILES),
            *(f"sysctl {name} {_value(Path('/proc/sys') / name)}" for name in SYSCTLS),
            *(f"home {path}" for path in _entries(settings.home)),
        }
    )


def _processes(root: Path) -> Iterator[str]:
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if f"{root}/" in line or line.endswith(str(root)):
            yield line[:160]


def _nft_tables() -> Iterator[str]:
    try:
        listed = json.loads(run(["nft", "--json", "list", "tables"]))["nftables"]
    except (CommandError, ValueError):
        return
    for entry in listed:
        if table := entry.get("table"):
            yield f"{table['family']} {table['name']}"


def _listeners() -> Iterator[str]:
    for socket in psutil.net_connections(kind="inet"):
        if socket.laddr and socket.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):
            yield f"{socket.type.name} {socket.laddr.ip}:{socket.laddr.port}"


def _lines(argv: list[str]) -> Iterable[str]:
    try:
        return run(argv).splitlines()
    except CommandError:
        return []


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else "missing"


def _value(path: Path) -> str:
    return path.read_text().strip() if path.exists() else "missing"


def _entries(root: Path) -> list[Path]:
    return [root, *root.iterdir()] if root.is_dir() else []
