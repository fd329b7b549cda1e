"""A running guest's control groups, of either version: where they are, what they hold, how to change a limit.

Paths come from /proc/PID/cgroup (cgroups(7)) of the guest's init. An init may have moved itself deeper
(systemd does); the group that the limits are on is the one that liblxc made, `lxc.payload.<name>`.
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.adapter_errors import AdapterError, RetryableError
from dsecos_agent.engines.lxc.config import CPU_PERIOD_US, cpu_quota_us
from dsecos_agent.engines.model import Limits, Metrics

ROOT = Path("/sys/fs/cgroup")
PAYLOAD = "lxc.payload."
AGAIN = r"(?:-\d{1,3})?"
"""What liblxc appends to a group's name while an older one of that name is still there (lxc 5.0,
src/lxc/cgroups/cgfsng.c).
"""


def is_unified() -> bool:
    """The host uses cgroup v2 only."""
    return (ROOT / "cgroup.controllers").exists()


def has_swap_accounting() -> bool:
    """cgroup v1 counts memory and swap together."""
    return (ROOT / "memory" / "memory.memsw.limit_in_bytes").exists()


@dataclass(frozen=True, slots=True)
class GuestCgroup:
    """Directories of one running guest, by controller; with cgroup v2 all are the same one."""

    directories: dict[str, Path]
    unified: bool

    def _path(self, controller: str, name: str) -> Path | None:
        directory = self.directories.get(controller)
        return directory / name if directory is not None else None

    def read(self, controller: str, name: str) -> str | None:
        """One file's text, None when there is no such controller or file."""
        path = self._path(controller, name)
        try:
            return path.read_text().strip() if path is not None else None
        except OSError:
            return None

    def write(self, controller: str, name: str, value: str) -> None:
        """Set one file. Raises RetryableError when the kernel is busy, AdapterError otherwise."""
        path = self._path(controller, name)
        if path is None:
            raise AdapterError(f"the host has no {controller} controller, so {name} cannot be set")
        try:
            path.write_text(value)
        except OSError as error:
            kind = RetryableError if error.errno in {errno.EBUSY, errno.EAGAIN, errno.EINTR} else AdapterError
            raise kind(f"cannot set {name} to {value}: {error.strerror}") from error


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def locate(text: str, root: Path = ROOT, *, unified: bool) -> GuestCgroup:
    """Read the text of /proc/PID/cgroup of a guest's init."""
    directories: dict[str, Path] = {}
    for controller, path in _entries(text):
        parts = Path(path).parts
        depth = next((i for i, part in enumerate(parts) if part.startswith(PAYLOAD)), None)
        if depth is None:
            continue
        below = Path(*parts[1 : depth + 1])
        if unified and controller == "":
            directories = dict.fromkeys(("cpu", "cpuacct", "memory", "pids", "freezer"), root / below)
        elif not unified and controller and "=" not in controller:
            directories[controller] = root / controller / below
    return GuestCgroup(directories, unified)


def of_process(pid: int) -> GuestCgroup:
    """Where the guest with this init is. Raises FileNotFoundError when it is gone."""
    return locate(Path(f"/proc/{pid}/cgroup").read_text(), unified=is_unified())


def remove_empty(name: str, root: Path = ROOT) -> bool:
    """Remove what earlier lives of a stopped guest left: liblxc does not when its monitor was killed.

    A group that holds a process stays; the kernel refuses (cgroups(7)). Returns whether none is left.
    """
    ours = re.compile(rf"lxc\.(?:payload|monitor)\.{re.escape(name)}{AGAIN}")
    hierarchies = [root] if is_unified() else [path for path in root.iterdir() if not path.is_symlink()]
    groups = [group for each in hierarchies for group in each.iterdir() if ours.fullmatch(group.name)]
    for group in groups:
        _remove_tree(group)
    return not any(group.exists() for group in groups)


def _remove_tree(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError as error:
            if error.errno not in {errno.EBUSY, errno.ENOENT, errno.ENOTEMPTY}:
                raise AdapterError(f"cannot remove {directory}: {error.strerror}") from error


ALL = frozenset({"cpu", "memory", "pids"})


def apply(group: GuestCgroup, limits: Limits, which: frozenset[str] = ALL) -> None:
    """Set these limits; None lifts one. Raises RetryableError, AdapterError."""
    if "cpu" in which:
        quota = None if limits.cpu_millis is None else str(cpu_quota_us(limits.cpu_millis))
        if group.unified:
            group.write("cpu", "cpu.max", f"{quota or 'max'} {CPU_PERIOD_US}")
        else:
            if quota is not None:
                group.write("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US))
            group.write("cpu", "cpu.cfs_quota_us", quota or "-1")
    if "memory" in which:
        memory = limits.memory_bytes
        if group.unified:
            group.write("memory", "memory.max", "max" if memory is None else str(memory))
            if group.read("memory", "memory.swap.max") is not None:
                group.write("memory", "memory.swap.max", "max" if memory is None else "0")
        else:
            _apply_memory_v1(group, -1 if memory is None else memory)
    if "pids" in which:
        group.write("pids", "pids.max", "max" if limits.pids is None else str(limits.pids))


def _apply_memory_v1(group: GuestCgroup, limit: int) -> None:
    names = ["memory.limit_in_bytes"]
    if group.read("memory", "memory.memsw.limit_in_bytes") is not None:
        names.append("memory.memsw.limit_in_bytes")
        # Memory may never exceed memory and swap together, also not for a moment.
        now = int(group.read("memory", "memory.limit_in_bytes") or 0)
        if limit == -1 or limit > now:
            names.reverse()
    for name in names:
        group.write("memory", name, str(limit))


def usage(group: GuestCgroup) -> Metrics:
    """Counters now."""
    if group.unified:
        cpu = _field(group.read("cpu", "cpu.stat"), "usage_usec")
        seconds = None if cpu is None else cpu / 1e6
        memory = group.read("memory", "memory.current")
        kills = _field(group.read("memory", "memory.events"), "oom_kill")
    else:
        spent = group.read("cpuacct", "cpuacct.usage")
        seconds = None if spent is None else int(spent) / 1e9
        memory = group.read("memory", "memory.usage_in_bytes")
        # Version 1 counts in the victim's own group only, and the guest's groups come and go.
        kills = None
    pids = group.read("pids", "pids.current")
    return Metrics(
        cpu_seconds=seconds,
        memory_bytes=None if memory is None else int(memory),
        pids=None if pids is None else int(pids),
        oom_kills=kills,
    )


def is_frozen(group: GuestCgroup) -> bool:
    """Somebody froze the guest."""
    if group.unified:
        return group.read("freezer", "cgroup.freeze") == "1"
    return (group.read("freezer", "freezer.state") or "THAWED") != "THAWED"


def hold(group: GuestCgroup, *, frozen: bool) -> None:
    """Freeze or thaw without liblxc, whose tools ask a monitor that may be gone. Raises AdapterError."""
    if group.unified:
        group.write("freezer", "cgroup.freeze", "1" if frozen else "0")
    else:
        group.write("freezer", "freezer.state", "FROZEN" if frozen else "THAWED")


def _field(text: str | None, name: str) -> int | None:
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None
