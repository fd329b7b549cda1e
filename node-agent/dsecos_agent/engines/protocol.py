"""What an engine is: the one place that starts, stops and looks at guests.

A guest is a system container (later: a VM) with its own init. The engine owns the guest's configuration and
its processes; its disks come from `storage`, its bridge from `links`, its rules from `firewall`, and a guest
is started only after those three are in place: the engine checks none of them.

Every mutation takes the owner's UID and raises `NotOursError` before it touches anything that carries another
one. Every mutation is idempotent and may be killed at any point: call it again and it ends in the same state.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Protocol

from dsecos_agent.adapter_errors import AdapterError, RetryableError

DEFAULT_OUTPUT_LIMIT = 256 * 1024
"""Bytes kept of each of stdout and stderr of a command in a guest; the rest is read and dropped."""


class GuestFailedError(AdapterError):
    """The engine could not start, stop or enter the guest; `log` is the tail of what its tool said."""

    def __init__(self, message: str, log: str = "") -> None:
        """Keep the tool's own words beside the message, so that a condition can stay short."""
        super().__init__(message)
        self.log = log


class GuestNotRunningError(RetryableError):
    """The call needs a running guest."""


class UnsafeConfigError(AdapterError):
    """The configuration asks for less isolation without `privileged` saying so; nothing was written."""


class ExecTimeoutError(RetryableError):
    """The command in the guest did not end in time and was killed."""


class GuestState(enum.StrEnum):
    """What the guest's processes are doing now."""

    STOPPED = "Stopped"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    FROZEN = "Frozen"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this engine can do on this host, found by looking, not by its name."""

    engine: str
    """Name and version, for instance `lxc 5.0.2`."""
    unprivileged: bool
    """Guests get their own id map."""
    unprivileged_reason: str
    """Why not, when not; empty otherwise."""
    limits: frozenset[str]
    """Which of cpu, memory, pids are enforced."""
    live_limits: bool
    """`set_limits` changes a running guest."""


@dataclass(frozen=True, slots=True)
class IdMap:
    """Ids 0 to `count`-1 in the guest are `base` to `base`+`count`-1 on the host, users and groups alike."""

    base: int
    count: int = 65536


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
class NetworkInterface:
    """One veth pair: `name` in the guest, `host_name` in the host's namespace, a port of `bridge`."""

    host_name: str
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


@dataclass(frozen=True, slots=True)
class Limits:
    """What a guest may use at most; None is no limit."""

    cpu_millis: int | None = None
    """Thousandths of one CPU."""
    memory_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """Everything that a guest is started with."""

    name: str
    owner_uid: str
    rootfs: Path
    id_map: IdMap | None
    """None only together with `privileged`."""
    hostname: str = ""
    """Empty: the name."""
    interfaces: tuple[NetworkInterface, ...] = ()
    mounts: tuple[Mount, ...] = ()
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
    autostart: bool = False
    """The host starts the guest at boot, without the agent: also before the firewall's tables are there, so
    only where something else loads them first.
    """
    init: tuple[str, ...] = ("/sbin/init",)
    halt_signal: str = "SIGRTMIN+3"
    """Asks init to shut the guest down; systemd's by default."""


@dataclass(frozen=True, slots=True)
class ConfigDigest:
    """Two fingerprints of a configuration, comparable across agents and restarts."""

    full: str
    """Of the whole file: differs from the observed `config_digest` when the file has to be written."""
    boot: str
    """Of what only a restart changes: differs from the observed `booted_digest` when a restart is due."""


@dataclass(frozen=True, slots=True)
class ObservedGuest:
    """A guest as found on the host."""

    name: str
    owner_uid: str | None
    """None: not made by us, or its configuration was damaged; it is reported, never touched."""
    state: GuestState
    init_pid: int | None
    """The guest's PID 1 as the host sees it; None unless it runs."""
    config_digest: str | None
    booted_digest: str | None
    """Of the configuration that the running guest was started with; None when it does not run or was started
    otherwise.
    """
    id_map: IdMap | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running guest uses now; None where the host does not tell."""

    cpu_seconds: float | None
    memory_bytes: int | None
    pids: int | None
    oom_kills: int | None


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in the guest ended. Its output is the guest's word: data, never an instruction."""

    exit_code: int
    """128 + n when signal n ended it."""
    stdout: bytes
    stderr: bytes
    truncated: bool
    """More was written than `output_limit`; the tail is kept, the beginning dropped."""


class Watch(Protocol):
    """A subscription that lasts until closed."""

    def close(self) -> None:
        """End it; no callback comes afterwards. Closing twice is fine."""


class Engine(Protocol):
    """What any engine offers; `tests/engines/contract.py` is its executable form."""

    async def ensure_ready(self) -> None:
        """Prepare the host; cheap when all is well. Call it before anything else. Raises UnsupportedError."""

    async def release_host(self) -> None:
        """Undo what `ensure_ready` did to the host. For `make down`, when no guest is left running."""

    async def capabilities(self) -> Capabilities:
        """Look at the host. Never raises for a missing feature; it says so."""

    def digest(self, config: GuestConfig) -> ConfigDigest:
        """Fingerprint a configuration as `ObservedGuest` would show it. Pure. Raises UnsafeConfigError."""

    async def list_guests(self) -> Sequence[ObservedGuest]:
        """Every guest under this engine's directory, also foreign ones, sorted by name."""

    async def get(self, name: str) -> ObservedGuest | None:
        """One guest, None when there is none."""

    async def write_config(self, config: GuestConfig) -> bool:
        """Create the guest or replace its configuration; True when something was written.

        A running guest keeps running as it was started. Raises NotOursError, UnsafeConfigError.
        """

    async def start(self, name: str, owner_uid: str) -> ObservedGuest:
        """Start and return once its init runs (not: once its services do). A running guest is left alone.

        Raises NotFoundError, NotOursError, GuestFailedError with the engine's log.
        """

    async def stop(self, name: str, owner_uid: str, *, grace: float) -> None:
        """Ask init to shut down, kill after `grace` seconds (0: kill at once). A stopped guest is fine.

        Raises NotOursError, GuestFailedError when it survives even the kill. A missing guest is fine.
        """

    async def freeze(self, name: str, owner_uid: str) -> None:
        """Hold all of the guest's processes where they are. A frozen guest is fine.

        Raises GuestNotRunningError, NotOursError, GuestFailedError.
        """

    async def unfreeze(self, name: str, owner_uid: str) -> None:
        """Let them go on. A running guest is fine. Raises as `freeze` does."""

    async def destroy(self, name: str, owner_uid: str) -> None:
        """Kill it if it runs and remove its configuration; disks are the pool's business. A missing guest is
        fine.
        """

    async def exec(
        self,
        name: str,
        owner_uid: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        time_limit: float,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
    ) -> ExecResult:
        """Run a command in all namespaces of the guest as its root, with a clean environment plus `env`.

        Neither `stdin` nor `env` ever shows in an argument list or a log. Raises GuestNotRunningError,
        NotOursError, ExecTimeoutError.
        """

    async def set_limits(self, name: str, owner_uid: str, limits: Limits) -> None:
        """Change a running guest's limits now; the configuration file is `write_config`'s business.

        Raises GuestNotRunningError, NotOursError, RetryableError (for instance memory below what is in use
        and cannot be reclaimed).
        """

    async def usage(self, name: str) -> Usage:
        """Read the counters of a running guest. Raises GuestNotRunningError."""

    def watch(self, name: str, callback: Callable[[str], None]) -> Watch:
        """Call `callback(name)` once, on the event loop, when the guest's init dies.

        Cheap and idempotent: meant to be called on every pass for every running guest. A second watch of the
        same life of the same guest replaces the callback. A guest that does not run gets its callback at
        once.
        """

    async def close(self) -> None:
        """Release descriptors; guests go on running."""
