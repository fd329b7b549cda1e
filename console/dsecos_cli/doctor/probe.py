"""Looks at this machine.

Changes nothing: what must be tried is tried in a network namespace that ends with the try.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from dsecos_cli.doctor.judge import BUILD_TOOLS, CONTROLLERS, TOOLS
from dsecos_cli.doctor.model import ForwardChain, Listener, MachineFacts
from dsecos_cli.settings import Settings

PROC = Path("/proc")
PROBES: Mapping[str, tuple[str, ...]] = {
    "bridge": ("ip", "link", "add", "probe0", "type", "bridge"),
    "veth": ("ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"),
    "nf_tables": ("nft", "add", "table", "inet", "probe"),
}
VERSION_FLAGS: Mapping[str, str] = {"ip": "-V", "newuidmap": ""}
"""Where it is not --version; empty: the tool tells none."""
TIMEOUT = 10.0
"""Seconds that one tool may take."""


def look(settings: Settings) -> MachineFacts:
    """Everything that can be seen here. Raises nothing: what cannot be seen is missing or None."""
    root = os.geteuid() == 0
    release = platform.release()
    return MachineFacts(
        root=root,
        kernel=_kernel_version(release),
        kernel_release=release,
        os_name=_os_name(),
        filesystems=frozenset(name for name in ("overlay", "btrfs") if _has_filesystem(name)),
        namespaces=frozenset(entry.name for entry in (PROC / "self/ns").iterdir()),
        max_user_namespaces=int(_read(PROC / "sys/user/max_user_namespaces") or 0),
        cgroup_controllers=frozenset(_controllers()),
        kernel_can={name: _probe(command) if root else None for name, command in PROBES.items()},
        loop_devices=Path("/dev/loop-control").exists(),
        versions={tool: _version(tool) for tool in (*TOOLS, *BUILD_TOOLS)},
        ip_forward=_read(PROC / "sys/net/ipv4/ip_forward") == "1",
        forward_drops=_forward_drops(settings.instance) if root else None,
        legacy_forward_drop=_legacy_forward_drop() if root else None,
        security_modules=_security_modules(),
        memory_bytes=psutil.virtual_memory().total,
        disk_free_bytes=shutil.disk_usage(_nearest(settings.home)).free,
        cpus=len(os.sched_getaffinity(0)),
        subid_ranges=parse_subids(_read(Path("/etc/subuid"))),
        listeners=tuple(_listeners(settings.home)),
    )


def parse_subids(text: str) -> dict[str, tuple[tuple[int, int], ...]]:
    """The ranges of each user in subuid(5); lines that do not fit are left out."""
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for line in text.splitlines():
        user, *numbers = line.strip().split(":")
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            found[user] = (*found.get(user, ()), (int(numbers[0]), int(numbers[1])))
    return found


def parse_forward_drops(listing: str, instance: str) -> tuple[ForwardChain, ...]:
    """Base chains at the forward hook with policy drop in `nft -j list chains`, without the instance's own
    tables.
    """
    try:
        entries = json.loads(listing).get("nftables", [])
    except ValueError:
        return ()
    chains = [entry["chain"] for entry in entries if "chain" in entry]
    return tuple(
        ForwardChain(chain["family"], chain["table"], chain["name"])
        for chain in chains
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["table"] != instance
        and chain["family"] in ("ip", "ip6", "inet")
    )


def _forward_drops(instance: str) -> tuple[ForwardChain, ...]:
    return parse_forward_drops(_run("nft", "-j", "list", "chains") or "", instance)


def _legacy_forward_drop() -> bool:
    if "filter" not in _read(PROC / "net/ip_tables_names").split():
        return False
    return "-P FORWARD DROP" in (_run("iptables-legacy", "-S", "FORWARD") or "")


def _kernel_version(release: str) -> tuple[int, int]:
    major, minor, *_ = release.split(".")
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "an unknown system")
    except OSError:
        return "an unknown system"


def _has_filesystem(name: str) -> bool:
    known = [line.split()[-1] for line in _read(PROC / "filesystems").splitlines() if line.strip()]
    return name in known or _run("modprobe", "--dry-run", "--quiet", name) is not None


def _controllers() -> Iterator[str]:
    unified = _read(Path("/sys/fs/cgroup/cgroup.controllers")).split()
    yield from unified
    for line in _read(PROC / "mounts").splitlines():
        _, _, kind, options, *_ = line.split()
        if kind == "cgroup":
            yield from (name for name in options.split(",") if name in CONTROLLERS)


def _security_modules() -> tuple[str, ...] | None:
    text = _read(Path("/sys/kernel/security/lsm"))
    return tuple(text.split(",")) if text else None


def _listeners(home: Path) -> Iterator[Listener]:
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            name, ours = _process(connection.pid, home)
            yield Listener(connection.laddr.port, name, ours)


def _process(pid: int | None, home: Path) -> tuple[str, bool]:
    if pid is None:
        return "an unknown process", False
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        ours = any(str(home) in word for word in (*command, process.exe()))
        return f"{process.name()} (pid {pid})", ours
    except psutil.Error:
        return f"pid {pid}", False


def _probe(command: tuple[str, ...]) -> bool:
    return _run("unshare", "--net", *command) is not None


def _version(tool: str) -> str | None:
    if shutil.which(tool) is None:
        return None
    flag = VERSION_FLAGS.get(tool, "--version")
    text = (_run(tool, flag) if flag else None) or ""
    return " ".join(text.split("\n", maxsplit=1)[0].split())[:60]


def _run(*command: str) -> str | None:
    """The tool's output; None where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
