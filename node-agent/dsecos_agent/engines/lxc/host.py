"""What this host offers to LXC guests."""

import asyncio
import shutil
from pathlib import Path

from dsecos_agent.engines.lxc import cgroups
from dsecos_agent.engines.model import Capabilities, Capability, GuestKind
from dsecos_agent.processes import ToolMissingError, run

OLDEST = (5, 0)
"""liblxc can map ids on mounts (idmap=container) since."""

NO_CLUSTER = "LXC knows this node only; the guest has to be made anew on the other one"

DRIVEN = frozenset(
    {
        Capability.UNPRIVILEGED,
        Capability.SHUTDOWN,
        Capability.SUSPEND,
        Capability.LIVE_LIMITS,
        Capability.EXEC,
        Capability.CONSOLE,
        Capability.METRICS,
        Capability.HOST_MOUNTS,
        Capability.ADOPT,
    }
)
"""What this driver does for containers; the host may take the first of them away."""


WHY_NO_DISK = {
    Capability.SNAPSHOT: "no storage pool is open, and snapshots are the pool's",
    Capability.RESIZE_DISK: "no storage pool of this node has quotas",
}


async def inspect(disks: frozenset[Capability]) -> Capabilities:
    """Look: nothing here is known from a name or a version of the host. `disks`: what the pools can do."""
    try:
        version = (await run(["lxc-start", "--version"], time_limit=10)).text().strip()
    except ToolMissingError:
        version = ""
    reason = await asyncio.to_thread(_why_not_unprivileged, version)
    return Capabilities(
        engine=f"lxc {version}".strip(),
        kinds={GuestKind.CONTAINER: (DRIVEN | disks) - ({Capability.UNPRIVILEGED} if reason else set())},
        missing={
            Capability.MIGRATE: NO_CLUSTER,
            Capability.LIVE_MIGRATE: NO_CLUSTER,
            Capability.OWN_DISKS: "a guest's disk is its pool's",
            **{each: why for each, why in WHY_NO_DISK.items() if each not in disks},
            **({Capability.UNPRIVILEGED: reason} if reason else {}),
        },
        limits=await asyncio.to_thread(_limits),
    )


def _why_not_unprivileged(version: str) -> str:
    if not version:
        return "lxc is not installed"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        return f"lxc {version} cannot map ids on mounts, {OLDEST[0]}.{OLDEST[1]} can"
    namespaces = Path("/proc/sys/user/max_user_namespaces")
    if not namespaces.exists() or int(namespaces.read_text()) == 0:
        return "the kernel has no user namespaces"
    return "" if shutil.which("newuidmap") else "newuidmap is not installed (package uidmap)"


def _limits() -> frozenset[str]:
    wanted = {"cpu", "memory", "pids"}
    if cgroups.is_unified():
        return frozenset(wanted & set((cgroups.ROOT / "cgroup.controllers").read_text().split()))
    return frozenset(name for name in wanted if (cgroups.ROOT / name).is_dir())
