"""One guest as found. `observe` fills it in, `plan` and `report` read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dsecos_api.conditions import Reason, Type

from dsecos_agent.compose.protocol import Service
from dsecos_agent.engines.model import GuestState, ObservedGuest
from dsecos_agent.guests.record import Record
from dsecos_agent.links.protocol import ObservedBridge, ObservedPort
from dsecos_agent.nodefirewall.render import Conflict
from dsecos_agent.storage.protocol import Dataset, VolumeRef

VolumeKey = tuple[str, VolumeRef]
"""Pool and volume."""


class Phase(StrEnum):
    """How far a bring-up is."""

    QUEUED = "Queued"
    """Waits its turn: too many guests are started at the same time."""
    WAITING = "Waiting"
    """For the guest's dockerd."""
    COMPOSING = "Composing"
    """`docker compose up` is running."""


@dataclass(frozen=True, slots=True)
class BringUpState:
    """A bring-up under way."""

    digest: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class BringUpProblem:
    """How the last bring-up of a document failed."""

    digest: str
    type: Type
    """DockerReady or ServicesReady."""
    reason: Reason
    message: str
    stalled: bool
    """No retry is expected to help."""
    waiting: bool
    """The next try is not due yet."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One guest as found."""

    disk: Dataset | None = None
    volumes: Mapping[VolumeKey, Dataset] = field(default_factory=dict)
    """All volumes of the guest's Stack, also those that it no longer names."""
    quotas: Mapping[str, bool] = field(default_factory=dict)
    """Whether a pool enforces quotas, by pool."""
    engine: ObservedGuest | None = None
    bridge: ObservedBridge | None = None
    port: ObservedPort | None = None
    port_lost: bool = False
    """The running guest has no port any more. A guest that came up without one is not meant: a restart did
    not help.
    """
    rules_in_force: bool = False
    conflict: Conflict | None = None
    record: Record | None = None
    services: tuple[Service, ...] | None = None
    """None: dockerd does not answer, or was not asked."""
    bring_up: BringUpState | None = None
    problem: BringUpProblem | None = None
    turn: bool = True
    """It may be started now: no guest that is to be started before it is still on its way."""
    out_of_memory: bool = False
    """The kernel killed a process at the guest's memory limit since its services were last all healthy."""

    @property
    def alive(self) -> bool:
        """Whether the guest has processes."""
        return self.engine is not None and self.engine.state is not GuestState.STOPPED

    @property
    def running(self) -> bool:
        """Whether its processes may run and can be asked."""
        return self.engine is not None and self.engine.state in (GuestState.RUNNING, GuestState.STARTING)

    @property
    def busy(self) -> bool:
        """Whether somebody else is at it, or nobody knows how it is: hands off until that is over."""
        return self.engine is not None and self.engine.state in (
            GuestState.CREATING,
            GuestState.MIGRATING,
            GuestState.UNKNOWN,
        )

    @property
    def frozen(self) -> bool:
        """Whether they are held."""
        return self.engine is not None and self.engine.state is GuestState.SUSPENDED
