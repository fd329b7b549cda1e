"""What a schedule is made of: plain data, so that it can be printed and played again."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from dsecos_agent.engines.model import Capabilities, Capability, GuestKind, GuestState

MIB = 1 << 20
GIB = 1 << 30


class Verb(enum.StrEnum):
    """A call of the protocol that changes something."""

    WRITE = "write_config"
    START = "start"
    STOP = "stop"
    SHUTDOWN = "shutdown"
    SUSPEND = "suspend"
    RESUME = "resume"
    DESTROY = "destroy"
    SET_LIMITS = "set_limits"
    RESIZE = "resize_disk"
    SNAPSHOT = "snapshot"
    ROLLBACK = "rollback"
    REMOVE_SNAPSHOT = "remove_snapshot"
    MIGRATE = "migrate"
    RELEASE = "release"
    """Of a guest that is adopted by `WRITE`."""


NEEDS = {
    Verb.SHUTDOWN: Capability.SHUTDOWN,
    Verb.SUSPEND: Capability.SUSPEND,
    Verb.RESUME: Capability.SUSPEND,
    Verb.SET_LIMITS: Capability.LIVE_LIMITS,
    Verb.RESIZE: Capability.RESIZE_DISK,
    Verb.SNAPSHOT: Capability.SNAPSHOT,
    Verb.ROLLBACK: Capability.SNAPSHOT,
    Verb.REMOVE_SNAPSHOT: Capability.SNAPSHOT,
    Verb.MIGRATE: Capability.MIGRATE,
    Verb.RELEASE: Capability.ADOPT,
}
"""Without it the call raises UnsupportedError and changes nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is declared of one guest."""

    kind: GuestKind = GuestKind.CONTAINER
    state: GuestState | None = None
    """None: it is not to exist, or not to be ours."""
    hostname: str = "first"
    memory: int = 64 * MIB
    disk: int = GIB
    """Bytes, where the engine makes disks."""
    snapshots: frozenset[str] = frozenset()
    node: str | None = None
    """None: wherever it is."""
    adopts: str = ""
    """Id of a guest that was there before and outlives us; empty: we make it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation. `wanted` is what is declared from then on; calls take their arguments from it."""

    guest: str
    verb: Verb
    wanted: Wanted
    snapshot: str = ""
    target: str = ""
    grace: float = 0.0

    def __str__(self) -> str:
        """As a person would tell it."""
        told = {
            Verb.WRITE: f" hostname={self.wanted.hostname} memory={self.wanted.memory // MIB}Mi",
            Verb.SET_LIMITS: f" memory={self.wanted.memory // MIB}Mi",
            Verb.RESIZE: f" {self.wanted.disk // GIB}Gi",
            Verb.MIGRATE: f" to {self.target}",
            Verb.STOP: f" grace={self.grace:g}",
            Verb.SHUTDOWN: f" grace={self.grace:g}",
        }.get(self.verb, f" {self.snapshot}" if self.snapshot else "")
        return f"{self.verb} {self.guest}{told}"


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to the engine's process, `delay` seconds after it came to its `effect`th effect on the outside.

    With a delay of 0 it dies just before that effect, wherever time is spent: the same each time it is
    played. A process that has fewer effects is killed when it has nothing more to do.
    """

    effect: int
    delay: float = 0.0

    def __str__(self) -> str:
        """As a person would tell it."""
        after = f" + {self.delay * 1000:.0f} ms" if self.delay else ""
        return f"SIGKILL at effect {self.effect}{after}"


@dataclass(frozen=True, slots=True)
class Act:
    """Calls that are made at the same time, by one engine."""

    calls: tuple[Call, ...]
    kill: Kill | None = None

    def __str__(self) -> str:
        """As a person would tell it."""
        return " | ".join(map(str, self.calls)) + (f" ... {self.kill}" if self.kill else "")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something happens behind the engine's back; `number` is the fault's own dice."""

    name: str
    guest: str
    number: int = 0

    def __str__(self) -> str:
        """As a person would tell it."""
        return f"! {self.name} {self.guest} ({self.number})"


Step = Act | Fault


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens, and what is declared when it is over."""

    seed: int
    steps: tuple[Step, ...]
    wanted: Mapping[str, Wanted]

    def __str__(self) -> str:
        """One step a line."""
        lines = [f"{number:3} {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([*lines, *(f"  = {name}: {_told(want)}" for name, want in self.wanted.items())])


def _told(want: Wanted) -> str:
    if want.state is None:
        return f"given back ({want.adopts})" if want.adopts else "absent"
    return (
        f"{want.kind} {want.state}, hostname {want.hostname}, memory {want.memory // MIB}Mi, disk "
        f"{want.disk // GIB}Gi, snapshots {sorted(want.snapshots)}, node {want.node or 'any'}"
    )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a world's schedules may speak of."""

    guests: Mapping[str, GuestKind]
    capabilities: Capabilities
    faults: Mapping[str, int]
    """How often, relative to each other."""
    adopts: Mapping[str, str] = field(default_factory=dict)
    """Those of the guests that are there before -> their ids."""
    nodes: tuple[str, ...] = ()
    moves: frozenset[str] = frozenset()
    """Faults after which nobody can say where the guest is to be."""
    kill_within: int = 12
    """Effects on the outside that an operation has at most, or so."""
    kill_delay: float = 0.06
    """Seconds that an effect takes at most, or so."""

    def can(self, kind: GuestKind, verb: Verb) -> bool:
        """The engine says that it can."""
        return verb not in NEEDS or self.capabilities.has(kind, NEEDS[verb])


@dataclass(slots=True)
class Tally:
    """What was done, for the report at the end."""

    schedules: int = 0
    steps: int = 0
    calls: int = 0
    kills: int = 0
    midway: int = 0
    """Kills that hit an operation that had not ended."""
    rounds: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    """Those that hit something."""
    errors: dict[str, int] = field(default_factory=dict)
    """What calls raised, by type."""

    def add(self, other: "Tally") -> None:
        """Count together."""
        for name in ("schedules", "steps", "calls", "kills", "midway", "rounds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.faults, other.faults), (self.errors, other.errors)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
