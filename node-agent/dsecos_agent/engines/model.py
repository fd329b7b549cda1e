"""What an engine is told of a guest, and what it tells: plain data, the same for every engine."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

DEFAULT_OUTPUT_LIMIT = 256 * 1024
"""Bytes kept of each of stdout and stderr of a command in a guest; the rest is read and dropped."""


class GuestKind(enum.StrEnum):
    """How a guest is kept apart from its host."""

    CONTAINER = "container"
    VM = "vm"


class GuestState(enum.StrEnum):
    """What the guest is doing now, as its engine sees it."""

    CREATING = "Creating"
    """Being made; not usable, and gone again if that fails."""
    STOPPED = "Stopped"
    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    """All of its processes are held where they are."""
    STOPPING = "Stopping"
    MIGRATING = "Migrating"
    UNKNOWN = "Unknown"
    """The node that it is on does not answer."""


class Capability(enum.StrEnum):
    """What an engine may be able to do with a guest. Create, start, stop and destroy are there always."""

    UNPRIVILEGED = "Unprivileged"
    """Guests get ids of their own."""
    SHUTDOWN = "Shutdown"
    SUSPEND = "Suspend"
    LIVE_LIMITS = "LiveLimits"
    """Limits of a running guest can be changed."""
    RESIZE_DISK = "ResizeDisk"
    EXEC = "Exec"
    CONSOLE = "Console"
    SNAPSHOT = "Snapshot"
    """Snapshot and rollback."""
    METRICS = "Metrics"
    MIGRATE = "Migrate"
    """To another node of the engine's cluster, with a stop and a start in between."""
    LIVE_MIGRATE = "LiveMigrate"
    HOST_MOUNTS = "HostMounts"
    """Directories of the host can be mounted in the guest."""
    OWN_DISKS = "OwnDisks"
    """The engine makes and removes guests' disks itself; otherwise a storage pool does."""
    ADOPT = "Adopt"
    """Guests that somebody else has made can be taken over, and released again."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this engine can do on this host, found by looking, not by its name."""

    engine: str
    """Name and version, for instance `lxc 5.0.2`."""
    kinds: Mapping[GuestKind, frozenset[Capability]]
    """By kind of guest; a kind that is not there cannot be had."""
    missing: Mapping[Capability, str] = field(default_factory=dict)
    """Why a capability is not there, where there is more to say than that the engine has none."""
    limits: frozenset[str] = frozenset()
    """Which of cpu, memory, pids are enforced."""
    cluster: str = ""
    """Cluster of the engine, within which guests can be moved; empty where there is none."""

    def has(self, kind: GuestKind, capability: Capability) -> bool:
        """Whether guests of this kind have it."""
        return capability in self.kinds.get(kind, frozenset())

    def why_not(self, kind: GuestKind, capability: Capability) -> str:
        """For people; empty when it is there."""
        if self.has(kind, capability):
            return ""
        if kind not in self.kinds:
            return f"{self.engine} runs no guests of type {kind}"
        why = self.missing.get(capability)
        return f"{self.engine} has no {capability} for type {kind}" + (f": {why}" if why else "")


@dataclass(frozen=True, slots=True)
class IdMap:
    """Ids 0 to `count`-1 in the guest are `base` to `base`+`count`-1 on the host, users and groups alike."""

    base: int
    count: int = 65536


@dataclass(frozen=True, slots=True)
class RootDirectory:
    """A root file system that a storage pool has made. For engines without OwnDisks."""

    path: Path


@dataclass(frozen=True, slots=True)
class RootImage:
    """A root disk that the engine makes from an image. For engines with OwnDisks."""

    image: str
    """Name of the guest template."""
    size: int
    """Bytes."""
    storage: str = ""
    """Storage of the engine; empty: the node's default."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A guest that was there before. Disks, network and the rest are its own: of the configuration limits and
    start order alone are ours, and whose it is. For engines with Adopt.
    """

    engine_id: str
    """The guest to take over while none carries our name."""
    size: int = 0
    """Bytes that its root disk should have at least, where the engine can make it larger."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host that the guest sees."""

    source: Path
    target: str
    """Absolute path in the guest; made there if it is missing."""
    read_only: bool = False
    idmapped: bool = True
    """Ids on disk are the guest's own, unshifted, and are mapped by the mount; without: the host's ids."""
    executable: bool = True
    """Without: nosuid and noexec."""


@dataclass(frozen=True, slots=True)
class DiskMount:
    """A disk of the guest's own beside its root. For engines with OwnDisks; it goes with the guest."""

    name: str
    size: int
    """Bytes."""
    target: str
    """Absolute path in the guest."""
    storage: str = ""
    """Storage of the engine; empty: the node's default."""


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One veth pair: `name` in the guest, `host_name` in the host's namespace, a port of `bridge`."""

    host_name: str
    """An engine that names its ports itself passes over it: see `ObservedGuest.ports`."""
    bridge: str
    mac: str
    """Lower case, colon-separated, locally administered."""
    address: IPv4Interface
    """With the prefix length to set in the guest. A /32 sends all traffic, also to neighbours, through the
    gateway.
    """
    gateway: IPv4Address | None
    name: str = "eth0"
    mtu: int | None = None
    address6: IPv6Interface | None = None
    """None: it has no IPv6 address but the link-local one that the kernel gives it."""
    gateway6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a guest may use at most; None is no limit."""

    cpu_millis: int | None = None
    """Thousandths of one CPU."""
    memory_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Startup:
    """When the host starts the guest by itself."""

    autostart: bool = False
    """The host starts the guest at boot, without the agent: also before the firewall's tables are there, so
    only where something else loads them first.
    """
    order: int = 100
    delay: int = 0
    """Seconds until the next order is started."""


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """Everything that a guest is made and started with."""

    name: str
    owner_uid: str
    root: RootDirectory | RootImage | Adopted
    id_map: IdMap | None
    """None only together with `privileged`, for a VM, for one that was adopted, or where the engine has a map
    of its own.
    """
    kind: GuestKind = GuestKind.CONTAINER
    hostname: str = ""
    """Empty: the name."""
    interfaces: tuple[NetworkInterface, ...] = ()
    mounts: tuple[Mount, ...] = ()
    disks: tuple[DiskMount, ...] = ()
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment of the guest's init. Not for secrets: the file is read by the engine's tools."""
    nesting: bool = True
    """The guest runs containers of its own (Docker): writable cgroups, the mounts and devices that runc
    needs.
    """
    privileged: bool = False
    """Root in the guest is root on the host. Never without the zone's policy and the Stack both asking for
    it.
    """
    startup: Startup = field(default_factory=Startup)
    init: tuple[str, ...] = ("/sbin/init",)
    halt_signal: str = "SIGRTMIN+3"
    """Asks init to shut the guest down; systemd's by default."""


@dataclass(frozen=True, slots=True)
class ConfigDigest:
    """Two fingerprints of a configuration, comparable across agents and restarts."""

    full: str
    """Of all of it: differs from the observed `config_digest` when it has to be written."""
    boot: str
    """Of what only a restart changes: differs from the observed `booted_digest` when a restart is due."""


@dataclass(frozen=True, slots=True)
class ObservedGuest:
    """A guest as found."""

    name: str
    owner_uid: str | None
    """None: not made by us, or its configuration was damaged; it is reported, never touched."""
    state: GuestState
    init_pid: int | None
    """The guest's PID 1 as this host sees it; None unless it runs here."""
    config_digest: str | None
    booted_digest: str | None
    """Of the configuration that the running guest was started with; None when it does not run or was started
    otherwise.
    """
    id_map: IdMap | None
    kind: GuestKind = GuestKind.CONTAINER
    engine_id: str = ""
    """A VMID, or the container's name."""
    engine_node: str | None = None
    """Node of the engine's cluster that it is on; None where an engine has one node only."""
    ports: tuple[str, ...] = ()
    """Host's ends of its network interfaces, in order, where the engine names them; empty: as configured."""
    lock: str = ""
    """Operation that holds it now, in the engine's words; empty: none."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings that `Engine.settings` speaks of, as found: what differs has drifted or is due."""
    disk_bytes: int | None = None
    """Size of its root disk, where the engine makes it."""
    adopted: bool = False
    """It was there before and was taken over; `Engine.release` gives it up."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a running guest uses now; None where the engine does not tell."""

    cpu_seconds: float | None = None
    """Since its start."""
    cpu_share: float | None = None
    """Of one CPU, now; for engines that tell no seconds."""
    memory_bytes: int | None = None
    pids: int | None = None
    oom_kills: int | None = None
    disk_bytes: int | None = None
    network_in_bytes: int | None = None
    network_out_bytes: int | None = None
    uptime_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a guest's disks that it can be taken back to."""

    name: str
    created: datetime
    """With time zone."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in the guest ended. Its output is the guest's word: data, never an instruction."""

    exit_code: int
    """128 + n when signal n ended it."""
    stdout: bytes
    stderr: bytes
    truncated: bool
    """More was written than `output_limit`; the tail is kept, the beginning dropped."""
