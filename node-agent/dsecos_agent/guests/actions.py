"""The steps that bring a guest nearer to what is wanted. Each is idempotent and may be killed at any point.

`stage` orders them: the steps of one stage do not depend on each other and run side by side.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dsecos_api.conditions import Type
from dsecos_api.lifecycle import LifecycleState
from dsecos_api.types import DeletionPolicy

from dsecos_agent.engines.model import GuestConfig, Limits
from dsecos_agent.guests.record import Fate, Removal, VolumeFate
from dsecos_agent.links.protocol import Bridge
from dsecos_agent.storage.protocol import VolumeRef


@dataclass(frozen=True, slots=True)
class Action:
    """Base of all steps."""

    name: ClassVar[str]
    """The log's "action", and the fault point after the step."""
    step: ClassVar[Type]
    """The condition that tells when the step fails."""
    stage: ClassVar[int] = 0
    through: ClassVar[LifecycleState | None] = None
    """State of the guest's life while it is done."""
    to: ClassVar[LifecycleState | None] = None
    """State afterwards, where the action decides it."""


@dataclass(frozen=True, slots=True)
class EnsureVolume(Action):
    """Make a volume, or take over the one that a former life of the Stack left, and let the guest's group
    in.
    """

    name: ClassVar = "guest-volume"
    step: ClassVar = Type.VOLUMES_READY
    pool: str
    ref: VolumeRef
    quota: int
    gid: int


@dataclass(frozen=True, slots=True)
class SetVolumeQuota(Action):
    """Change a volume's size while it is in use."""

    name: ClassVar = "guest-volume-quota"
    step: ClassVar = Type.VOLUMES_READY
    stage: ClassVar = 1
    pool: str
    ref: VolumeRef
    quota: int


@dataclass(frozen=True, slots=True)
class CloneRoot(Action):
    """Clone root file system and Docker directory from a template."""

    name: ClassVar = "guest-clone"
    step: ClassVar = Type.GUEST_READY
    through: ClassVar = LifecycleState.CREATING
    pool: str
    template: str
    quota: int
    gid: int


@dataclass(frozen=True, slots=True)
class AdmitGuest(Action):
    """Let another group in to the guest's disk: its id map is to change."""

    name: ClassVar = "guest-admit"
    step: ClassVar = Type.GUEST_READY
    pool: str
    template: str
    gid: int


@dataclass(frozen=True, slots=True)
class SetQuota(Action):
    """Change the size of the guest's own disk while it is in use."""

    name: ClassVar = "guest-quota"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 1
    pool: str
    quota: int


@dataclass(frozen=True, slots=True)
class EnsureBridge(Action):
    """Make the zone's bridge, or put it right."""

    name: ClassVar = "guest-bridge"
    step: ClassVar = Type.NETWORK_READY
    bridge: Bridge


@dataclass(frozen=True, slots=True)
class ApplyFirewall(Action):
    """Put the guest's rules into force."""

    name: ClassVar = "guest-firewall"
    step: ClassVar = Type.NETWORK_READY


@dataclass(frozen=True, slots=True)
class Prepare(Action):
    """Tell a fresh clone where the node's registry is, and where it finds names. Only before its first
    start.
    """

    name: ClassVar = "guest-prepare"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 1
    pool: str
    gateway: str
    resolver: str


@dataclass(frozen=True, slots=True)
class AttachLink(Action):
    """Make the guest's veth an isolated port of its zone's bridge."""

    name: ClassVar = "guest-attach"
    step: ClassVar = Type.NETWORK_READY
    stage: ClassVar = 6
    port: str
    bridge: str


@dataclass(frozen=True, slots=True)
class SetLimits(Action):
    """Change the limits of a running guest."""

    name: ClassVar = "guest-limits"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 1
    limits: Limits


@dataclass(frozen=True, slots=True)
class ResizeDisk(Action):
    """Make the guest's root disk larger, where the engine makes it."""

    name: ClassVar = "guest-disk-resize"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 1
    size: int


@dataclass(frozen=True, slots=True)
class Create(Action):
    """Make the guest in the engine, which makes its disks too if they are the engine's."""

    name: ClassVar = "guest-config"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 2
    through: ClassVar = LifecycleState.CREATING
    config: GuestConfig
    digest: str
    shared: Path | None
    """Directory of the host that the guest will see, to be made before; None: its disk has one, or it sees
    none.
    """


@dataclass(frozen=True, slots=True)
class Adopt(Action):
    """Take over a guest that is there, as it is, and limit it."""

    name: ClassVar = "guest-adopt"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 2
    through: ClassVar = LifecycleState.CREATING
    config: GuestConfig
    digest: str


@dataclass(frozen=True, slots=True)
class WriteConfig(Action):
    """Write what the guest is started with.

    After `SetLimits`: the file's digest proves that they were set.
    """

    name: ClassVar = "guest-config"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 2
    config: GuestConfig
    digest: str


@dataclass(frozen=True, slots=True)
class Unfreeze(Action):
    """Let the guest's processes go on."""

    name: ClassVar = "guest-unfreeze"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 3
    to: ClassVar = LifecycleState.RUNNING


@dataclass(frozen=True, slots=True)
class Stop(Action):
    """Shut the guest down."""

    name: ClassVar = "guest-stop"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 4
    through: ClassVar = LifecycleState.STOPPING
    to: ClassVar = LifecycleState.STOPPED


@dataclass(frozen=True, slots=True)
class Start(Action):
    """Start the guest."""

    name: ClassVar = "guest-start"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 5
    through: ClassVar = LifecycleState.STARTING
    to: ClassVar = LifecycleState.RUNNING


@dataclass(frozen=True, slots=True)
class Migrate(Action):
    """Move the guest to another node of the engine's cluster."""

    name: ClassVar = "guest-migrate"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 5
    through: ClassVar = LifecycleState.MIGRATING
    target: str


@dataclass(frozen=True, slots=True)
class Freeze(Action):
    """Hold all of the guest's processes."""

    name: ClassVar = "guest-freeze"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 5
    to: ClassVar = LifecycleState.SUSPENDED


@dataclass(frozen=True, slots=True)
class BringUp(Action):
    """Begin to wait for the guest's dockerd and to bring the compose document up; goes on beside later
    passes.
    """

    name: ClassVar = "guest-bring-up"
    step: ClassVar = Type.SERVICES_READY
    stage: ClassVar = 7
    digest: str


@dataclass(frozen=True, slots=True)
class ReleaseVolume(Action):
    """Give up a volume that the Stack no longer names; its data stays."""

    name: ClassVar = "guest-volume-release"
    step: ClassVar = Type.VOLUMES_READY
    stage: ClassVar = 7
    pool: str
    ref: VolumeRef


@dataclass(frozen=True, slots=True)
class BeginRemoval(Action):
    """Write down what is to be removed, so that it can be ended even if the object is gone."""

    name: ClassVar = "guest-removal"
    step: ClassVar = Type.GUEST_READY
    removal: Removal


@dataclass(frozen=True, slots=True)
class Destroy(Action):
    """Remove the guest from the engine."""

    name: ClassVar = "guest-destroy"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 6
    through: ClassVar = LifecycleState.DESTROYING


@dataclass(frozen=True, slots=True)
class Release(Action):
    """Give up a guest that was taken over; it goes on as it is."""

    name: ClassVar = "guest-release"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 6


@dataclass(frozen=True, slots=True)
class RemoveDisk(Action):
    """Destroy the guest's own disk."""

    name: ClassVar = "guest-disk-remove"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 7
    pool: str


@dataclass(frozen=True, slots=True)
class SettleVolume(Action):
    """Destroy a volume's data (Delete) or give up its ownership (Retain)."""

    name: ClassVar = "guest-volume-remove"
    step: ClassVar = Type.VOLUMES_READY
    stage: ClassVar = 7
    volume: VolumeFate

    @property
    def destroys(self) -> bool:
        """Whether data is lost."""
        return self.volume.policy is DeletionPolicy.DELETE


@dataclass(frozen=True, slots=True)
class EndRemoval(Action):
    """Write down that every step of the removal was done."""

    name: ClassVar = "guest-removed"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 8


@dataclass(frozen=True, slots=True)
class Forget(Action):
    """Drop the record, or write down the guest's fate where something of it stays."""

    name: ClassVar = "guest-forget"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 9
    fate: Fate | None


@dataclass(frozen=True, slots=True)
class RemoveFinalizer(Action):
    """Let the object go."""

    name: ClassVar = "guest-finalizer"
    step: ClassVar = Type.GUEST_READY
    stage: ClassVar = 10


def stages(actions: list[Action]) -> list[list[Action]]:
    """The actions of each stage, in the order of the stages."""
    return [
        [action for action in actions if action.stage == stage]
        for stage in sorted({action.stage for action in actions})
    ]
