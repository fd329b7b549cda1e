"""How one Proxmox VE is reached, which part of it is ours, and how long we are patient with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

TASK_LIMITS: Mapping[str, float] = MappingProxyType(
    {
        "create": 900.0,
        "clone": 1800.0,
        "restore": 3600.0,
        "backup": 14400.0,
        "migrate": 3600.0,
        "upload": 3600.0,
        "destroy": 300.0,
        "start": 180.0,
        "stop": 120.0,
        "snapshot": 300.0,
        "rollback": 600.0,
        "resize": 300.0,
    }
)
"""Seconds that a task of a verb may take. A rollback on a raw volume holds the next start back for about
48 s, and a resize took 23 s (notes of a real node).
"""


@dataclass(frozen=True, slots=True)
class ProxmoxSettings:
    """One node of one Proxmox VE cluster, seen by the agent that is responsible for it."""

    url: str
    """For instance https://pve1.example:8006; any node of the cluster answers for all of them."""
    node: str
    """Where new guests are made."""
    token: str = field(default="", repr=False)
    """`user@realm!name=secret`, as Proxmox shows it. Empty: `user` and `password` instead."""
    fingerprint: str | None = None
    """SHA-256 of the server's certificate in hex, colons or not; then no authority is asked."""
    ca: Path | None = None
    """Authority that signed it, for instance /etc/pve/pve-root-ca.pem; None: the system's own."""
    storage: str = "local-lvm"
    """For guests' disks."""
    template_storage: str = "local"
    """For templates' archives (content type vztmpl, import or iso)."""
    resource_pool: str | None = None
    """Proxmox pool that new guests are put in."""
    vmids: range = range(20000, 30000)
    """Ids that are ours to give out. Agents of one cluster may share a range."""
    user: str = ""
    """`user@realm`, where there is no token."""
    password: str = field(default="", repr=False)
    connections: int = 8
    """Calls at the same time."""
    connect_limit: float = 10.0
    """Seconds for the connection and the handshake."""
    answer_limit: float = 60.0
    """Seconds for an answer; Proxmox itself gives up on another node after 30 (596)."""
    lock_limit: float = 60.0
    """Seconds to wait for somebody else's lock on a guest."""
    task_limit: float = 600.0
    """Seconds that a task may take, where `task_limits` does not say."""
    task_limits: Mapping[str, float] = field(default_factory=lambda: TASK_LIMITS)
    settle_limit: float = 3.0
    """Seconds after a call of unknown outcome in which its task may still appear."""
    watch_interval: float = 5.0
    """Seconds between two looks at the guests that are watched."""
    node_tasks: int = 6
    """Our tasks at the same time on one node (`/nodes/{node}/lxc` forks a worker each)."""
    storage_tasks: int = 4
    """Of those that write a disk, at the same time on one storage."""

    @property
    def identity(self) -> str:
        """Who we are to Proxmox VE, as its tasks name it: `user@realm!name`, or `user@realm`."""
        return self.token.partition("=")[0] or self.user

    def limit_of(self, verb: str) -> float:
        """Seconds that a task of this verb may take."""
        return self.task_limits.get(verb, self.task_limit)
