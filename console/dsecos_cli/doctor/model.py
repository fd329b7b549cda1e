"""What was found on the machine and in the cluster, and what each finding means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dsecos_api.node import ProxmoxEngine


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works without; something is less good than it could be."""
    FAIL = "fail"
    """Guests cannot run, or cannot be reached, until it is mended."""


@dataclass(frozen=True)
class Check:
    """One finding. `fix` is the command that mends it, empty where nothing is to be done."""

    area: str
    name: str
    level: Level
    reason: str
    fix: str = ""


@dataclass(frozen=True)
class Listener:
    """A TCP port that somebody listens on. `ours` where its process belongs to this instance."""

    port: int
    process: str
    ours: bool


@dataclass(frozen=True)
class ForwardChain:
    """A base chain at the forward hook that drops what it does not accept, in a table that is not ours."""

    family: str
    table: str
    chain: str


@dataclass(frozen=True)
class MachineFacts:
    """What was found on this machine. None: could not be looked at, because it takes root."""

    root: bool
    kernel: tuple[int, int]
    kernel_release: str
    os_name: str
    filesystems: frozenset[str] = frozenset()
    """File systems that the kernel has, or has a module for."""
    namespaces: frozenset[str] = frozenset()
    max_user_namespaces: int = 0
    cgroup_controllers: frozenset[str] = frozenset()
    kernel_can: Mapping[str, bool | None] = field(default_factory=dict)
    """Names of probes (bridge, veth, nf_tables) that were tried in a network namespace of their own."""
    loop_devices: bool = False
    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Version text of each tool; None where it is not installed."""
    ip_forward: bool = False
    forward_drops: tuple[ForwardChain, ...] | None = ()
    legacy_forward_drop: bool | None = False
    """Whether the iptables-legacy FORWARD chain drops."""
    security_modules: tuple[str, ...] | None = None
    memory_bytes: int = 0
    disk_free_bytes: int = 0
    cpus: int = 1
    subid_ranges: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """User -> (first id, count) of /etc/subuid (subuid(5))."""
    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True)
class StorageFacts:
    """A storage of Proxmox VE, as its node sees it."""

    kind: str
    content: frozenset[str]
    active: bool
    free_bytes: int | None


@dataclass(frozen=True)
class ProxmoxFacts:
    """What the Proxmox VE of a Node told. What comes after something that failed is empty."""

    node: str
    """Name of the Node."""
    engine: ProxmoxEngine
    token: str = ""
    """user@realm!name, never its secret."""
    shown_fingerprint: str = ""
    no_token: str = ""
    """Why there is no token to ask with."""
    error: str = ""
    """Why nobody answered, or what was answered instead."""
    untrusted: bool = False
    """Nothing is pinned, and no authority that we know has signed the certificate."""
    token_refused: bool = False
    version: str = ""
    permissions: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    storages: Mapping[str, StorageFacts] = field(default_factory=dict)
    bridges: tuple[str, ...] = ()
    foreign_ids: tuple[int, ...] = ()
    """Ids of our range that guests of others have."""
    our_ids: int = 0


@dataclass(frozen=True)
class ClusterFacts:
    """What the API server told. `error` is set where it was not reached; the rest is empty then."""

    address: str = ""
    version: str = ""
    error: str = ""
    hint: str = ""
    missing_kinds: tuple[str, ...] = ()
    license_reason: str | None = None
    """Reason of the License's Ready condition, empty while it has none; None where there is no License."""
    licensed: bool = False
    nodes: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    """Node -> (ready, reason); no reason while it has no Ready condition."""
    proxmox: tuple[ProxmoxFacts, ...] = ()
    """Of each Node whose engine is Proxmox VE."""
