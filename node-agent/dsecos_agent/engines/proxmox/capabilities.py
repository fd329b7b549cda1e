"""What one Proxmox VE can do for us, found by asking it."""

from collections.abc import Collection

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.model import Capabilities, Capability, GuestKind
from dsecos_agent.engines.proxmox import privileges
from dsecos_agent.engines.proxmox.access import Access
from dsecos_agent.engines.proxmox.lifecycle import NO_SUSPEND

BOTH = frozenset(
    {
        Capability.UNPRIVILEGED,
        Capability.SHUTDOWN,
        Capability.RESIZE_DISK,
        Capability.SNAPSHOT,
        Capability.METRICS,
        Capability.OWN_DISKS,
        Capability.ADOPT,
    }
)
"""Whether a storage has snapshots is asked at each guest (`/feature`)."""

OF_CONTAINERS = BOTH | {Capability.LIVE_LIMITS}
OF_MACHINES = BOTH | {Capability.SUSPEND, Capability.EXEC}
AT_THE_NODE = frozenset({Capability.EXEC, Capability.CONSOLE, Capability.HOST_MOUNTS})
"""What only root on the node can do: there is no endpoint for it, or no token may use it."""

NO_LOCAL = "the API has no way for it, and this agent does not run on the node"


async def inspect(access: Access, *, is_here: bool) -> Capabilities:
    """Ask. Never raises: what cannot be asked is said."""
    try:
        version = str((await access.client.get("/version")).get("version", ""))
        nodes = (await access.places.listing()).nodes
        lost = privileges.lost(await privileges.check(access.client, access.settings))
    except AdapterError as error:
        return Capabilities(
            engine="proxmox", kinds={}, missing=dict.fromkeys(Capability, f"Proxmox does not answer: {error}")
        )
    several = len(nodes) > 1
    containers = OF_CONTAINERS | (AT_THE_NODE if is_here else set())
    machines = set(OF_MACHINES)
    if several:
        containers |= {Capability.MIGRATE}
        machines |= {Capability.MIGRATE, Capability.LIVE_MIGRATE}
    missing = {
        Capability.SUSPEND: NO_SUSPEND,
        Capability.LIVE_LIMITS: "a VM takes new limits at its next start",
        Capability.LIVE_MIGRATE: "Proxmox VE moves a container with a stop and a start",
        Capability.CONSOLE: "a VM's serial port shows a login, and no shell of root",
        Capability.HOST_MOUNTS: "a VM has disks of its own, and directories of the host are not among them",
    }
    if not is_here:
        missing |= dict.fromkeys(AT_THE_NODE, NO_LOCAL)
    if not several:
        missing |= dict.fromkeys((Capability.MIGRATE, Capability.LIVE_MIGRATE), "the cluster has one node")
    return Capabilities(
        engine=f"proxmox {version}".strip(),
        kinds={
            GuestKind.CONTAINER: frozenset(containers - set(lost)),
            GuestKind.VM: frozenset(machines - set(lost)),
        },
        missing=missing | lost,
        limits=frozenset({"cpu", "memory"}),
        cluster=await _cluster(access, nodes) if several else "",
    )


async def _cluster(access: Access, nodes: Collection[str]) -> str:
    """The cluster's name; without Sys.Audit on / its nodes' names stand for it."""
    try:
        told = await access.client.get("/cluster/status")
    except AdapterError:
        return ",".join(sorted(nodes))
    return next((str(each["name"]) for each in told if each.get("type") == "cluster"), "")
