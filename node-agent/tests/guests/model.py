"""A node in memory: what each action does to what is seen. The plan is tested against it.

Real adapters are used in the tests of the controller; here thousands of histories are tried.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dsecos_agent.compose.protocol import Service
from dsecos_agent.engines.model import GuestState, ObservedGuest
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.lives import Lives
from dsecos_agent.guests.plan import plan
from dsecos_agent.guests.record import Record, Records
from dsecos_agent.guests.state import BringUpState, Observed, Phase, VolumeKey
from dsecos_agent.links.protocol import ObservedBridge, ObservedPort
from dsecos_agent.storage.protocol import Dataset, DatasetKind
from dsecos_api.types import DeletionPolicy

NAME = "shop-12345678"
START = datetime(2026, 11, 22, tzinfo=UTC)


class Kept(Records):
    """Records without files."""

    def __init__(self) -> None:
        self._records = {}

    def put(self, name: str, record: Record) -> None:
        self._records[name] = record

    def drop(self, name: str) -> None:
        self._records.pop(name, None)


@dataclass
class Model:
    """One guest's surroundings."""

    records: Kept = field(default_factory=Kept)
    boot: str = "boot-1"
    disk: Dataset | None = None
    half_disk: bool = False
    """Something of a disk is there that no listing shows."""
    volumes: dict[VolumeKey, Dataset] = field(default_factory=dict)
    engine: ObservedGuest | None = None
    bridge: ObservedBridge | None = None
    port: ObservedPort | None = None
    rules: object = None
    containers: dict[str, str] = field(default_factory=dict)
    """Service -> digest of the document that it was made from."""
    job: str | None = None
    mounted: frozenset[VolumeKey] = frozenset()
    finalizer: bool = True
    boots: int = 0
    ups: int = 0
    destroyed: list[str] = field(default_factory=list)

    @property
    def lives(self) -> Lives:
        return Lives(self.records, self.boot, now=lambda: START)

    @property
    def record(self) -> Record | None:
        return self.records.get(NAME)

    @record.setter
    def record(self, record: Record | None) -> None:
        self.records.drop(NAME)
        if record is not None:
            self.records.put(NAME, record)

    @property
    def life(self) -> list[tuple[str, str]]:
        """State and cause of the transitions, the oldest first."""
        life = self.record.life if self.record else None
        return [] if life is None else [(each.to, each.cause) for each in reversed(life.transitions)]

    def seen(self, wanted: Wanted) -> Observed:
        running = self.engine is not None and self.engine.state is GuestState.RUNNING
        services = None
        if running and self.job is None and self.boots and self.docker:
            services = tuple(
                Service(name, "image", "sha256:0", "running", "none", 0, None, made)
                for name, made in sorted(self.containers.items())
            )
        return Observed(
            disk=self.disk,
            volumes=dict(self.volumes),
            quotas={"default": True, "fast": True},
            engine=self.engine,
            bridge=self.bridge,
            port=self.port,
            port_lost=running and self.port is None,
            rules_in_force=self.rules == rules_of(wanted),
            record=self.record,
            services=services,
            bring_up=BringUpState(self.job, Phase.WAITING) if self.job else None,
        )

    docker: bool = False

    def finish_job(self, wanted: Wanted) -> None:
        """The bring-up ends well."""
        if self.job is None:
            return
        self.docker = True
        down = any(service.name not in self.containers for service in wanted.services)
        if self.record is None or self.record.compose_digest != self.job or down:
            self.ups += 1
            self.containers = {service.name: self.job for service in wanted.services}
            self.update(wanted.owner_uid, compose_digest=self.job)
        self.job = None

    def update(self, owner: str, **changes: object) -> None:
        record = self.record or Record(owner)
        self.record = replace(record, **changes)  # type: ignore[arg-type]

    def stop(self) -> None:
        self.job = None
        self.docker = False
        self.port = None
        self.mounted = frozenset()
        if self.engine is not None:
            self.engine = replace(self.engine, state=GuestState.STOPPED, init_pid=None, booted_digest=None)

    def look(self, wanted: Wanted) -> tuple[Observed, list[do.Action]]:
        """As the controller does: what is to be done, and what a look tells of the life."""
        seen = self.seen(wanted)
        actions = plan(wanted, seen)
        self.lives.looked(wanted, seen, actions, dict)
        return replace(seen, record=self.record), actions

    def act(self, wanted: Wanted, action: do.Action, seen: Observed | None = None) -> None:
        """What the agent does, the guest's life included."""
        about = (wanted.name, wanted.owner_uid, action, wanted, seen)
        self.lives.begin(*about)
        self.carry_out(wanted, action)
        self.lives.done(*about)

    def carry_out(self, wanted: Wanted, action: do.Action) -> None:
        owner = wanted.owner_uid
        match action:
            case do.EnsureVolume(pool=pool, ref=ref, quota=quota):
                known = self.volumes.get((pool, ref))
                assert known is None or known.owner_uid in (None, owner)
                old = known.quota_bytes if known else quota
                self.volumes[pool, ref] = Dataset(DatasetKind.VOLUME, str(ref), owner, None, old)
            case do.SetVolumeQuota(pool=pool, ref=ref, quota=quota):
                self.volumes[pool, ref] = replace(self.volumes[pool, ref], quota_bytes=quota)
            case do.ReleaseVolume(pool=pool, ref=ref):
                assert (pool, ref) not in self.mounted, "released under a running guest"
                self.volumes[pool, ref] = replace(self.volumes[pool, ref], owner_uid=None)
            case do.CloneRoot(template=template, quota=quota):
                assert self.disk is None
                self.update(owner, prepared=False, started=False, compose_digest=None)
                self.disk = Dataset(DatasetKind.GUEST, wanted.name, owner, template, quota)
                self.half_disk = False
                self.containers = {}
            case do.AdmitGuest():
                assert self.disk is not None
            case do.SetQuota(quota=quota):
                assert self.disk is not None
                self.disk = replace(self.disk, quota_bytes=quota)
            case do.Prepare():
                assert self.record is None or not self.record.started, "a path in a disk that may be hostile"
                assert self.disk is not None
                self.update(owner, prepared=True)
            case do.EnsureBridge(bridge=bridge):
                self.bridge = ObservedBridge(
                    bridge.name, bridge.owner_uid, (bridge.gateway,), True, bridge.mtu, ()
                )
            case do.ApplyFirewall():
                self.rules = rules_of(wanted)
            case do.AttachLink(bridge=bridge):
                assert self.port is not None
                assert self.bridge is not None
                self.port = replace(self.port, bridge=bridge, up=True, isolated=True)
            case do.SetLimits():
                assert self.engine is not None
                assert self.engine.state is GuestState.RUNNING
            case do.Create(config=config, digest=digest) | do.WriteConfig(config=config, digest=digest):
                assert self.disk is not None
                assert (self.engine is None) == isinstance(action, do.Create)
                self.update(owner, applied=(digest,))
                old_engine = self.engine or ObservedGuest(
                    config.name, owner, GuestState.STOPPED, None, None, None, config.id_map
                )
                self.engine = replace(old_engine, config_digest=wanted.digest.full, id_map=config.id_map)
                self.update(owner, autostart=config.startup.autostart)
            case do.Stop():
                self.stop()
            case do.Start():
                self._start(wanted)
            case do.Freeze():
                assert self.engine is not None
                self.job = None
                self.engine = replace(self.engine, state=GuestState.SUSPENDED)
            case do.Unfreeze():
                assert self.engine is not None
                self.engine = replace(self.engine, state=GuestState.RUNNING)
            case do.BringUp(digest=digest):
                assert self.engine is not None
                assert self.engine.state is GuestState.RUNNING
                self.job = digest
            case _:
                self._remove(wanted, action)

    def _start(self, wanted: Wanted) -> None:
        assert self.engine is not None
        assert self.engine.state is GuestState.STOPPED, "two starts"
        assert self.bridge is not None
        assert wanted.bridge is not None
        assert self.rules == rules_of(wanted), "started before its rules are in force"
        assert self.record is not None
        assert self.record.prepared
        for volume in wanted.volumes:
            assert self.volumes[volume.pool, volume.ref].owner_uid == wanted.owner_uid
        self.boots += 1
        self.job = None
        self.mounted = frozenset((volume.pool, volume.ref) for volume in wanted.volumes)
        self.update(wanted.owner_uid, started=True, started_at="now")
        assert wanted.port is not None
        self.port = ObservedPort(wanted.port, wanted.bridge.name, isolated=False, up=True)
        self.engine = replace(
            self.engine, state=GuestState.RUNNING, init_pid=self.boots, booted_digest=wanted.digest.boot
        )

    def _remove(self, wanted: Wanted, action: do.Action) -> None:
        owner = wanted.owner_uid
        match action:
            case do.BeginRemoval(removal=removal):
                self.update(owner, removal=removal, removed=False, autostart=False)
            case do.EndRemoval():
                self.update(owner, removed=True)
            case do.Destroy():
                self.stop()
                self.engine = None
            case do.RemoveDisk():
                assert self.engine is None or self.engine.owner_uid != owner, "a disk under a guest"
                self.disk, self.half_disk = None, False
                self.destroyed.append("disk")
            case do.SettleVolume(volume=volume):
                key = (volume.pool, volume.ref)
                foreign = self.engine is not None and self.engine.owner_uid != owner
                assert foreign or self.engine is None or self.engine.state is GuestState.STOPPED
                if key in self.volumes and volume.policy is DeletionPolicy.DELETE:
                    del self.volumes[key]
                    self.destroyed.append(str(volume.ref))
                elif key in self.volumes:
                    self.volumes[key] = replace(self.volumes[key], owner_uid=None)
            case do.Forget(fate=None):
                self.record = None
            case do.Forget(fate=fate):
                self.update(owner, removal=None, removed=False, autostart=False, fate=fate)
            case do.RemoveFinalizer():
                assert not self.half_disk, "something is left that nobody will ever look for"
                self.finalizer = False
            case _:
                raise AssertionError(f"the model does not know {action}")


def rules_of(wanted: Wanted) -> object:
    return (wanted.bridge, wanted.gateway)
