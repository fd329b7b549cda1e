"""Executes one action by the adapters.

Each may be repeated; what is remembered is written before or after it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsecos_api.types import DeletionPolicy
from dsecos_runtime import act_all

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.model import Adopted, RootImage
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.bringup import BringUps
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.failures import ActionFailedError
from dsecos_agent.guests.lives import Lives
from dsecos_agent.guests.record import Fate, Records
from dsecos_agent.guests.rootfiles import point_to_registry, use_resolver
from dsecos_agent.guests.shared import make_shared, remove_shared
from dsecos_agent.guests.state import Observed
from dsecos_agent.guests.view import HostView
from dsecos_agent.links.protocol import Links
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.storage.protocol import Pool, PoolUnavailableError


@dataclass(frozen=True, slots=True)
class Target:
    """Whom an action is about. A removal that outlived its object has no `wanted`."""

    name: str
    owner_uid: str
    wanted: Wanted | None = None
    let_go: Callable[[], Awaitable[None]] | None = None
    """Removes the object's finalizer."""
    seen: Observed | None = None
    """What the actions were planned by: why they are done is told by it."""


class Actor:
    """Acts."""

    def __init__(
        self,
        *,
        engine: Engine,
        pools: Mapping[str, Pool],
        links: Links,
        firewall: Enforcer,
        records: Records,
        lives: Lives,
        bring_ups: BringUps,
        view: HostView,
        registry_port: int,
        shared: Path,
        stop_grace: float,
    ) -> None:
        """`shared` holds the shared directories of guests whose disks the engine makes; `stop_grace` in
        seconds.
        """
        self._engine = engine
        self._pools = pools
        self._links = links
        self._firewall = firewall
        self._records = records
        self._lives = lives
        self._shared = shared
        self._bring_ups = bring_ups
        self._view = view
        self._registry_port = registry_port
        self._grace = stop_grace

    async def act(self, target: Target, action: do.Action) -> None:
        """One action, and what it means for the guest's life. Raises what the adapters raise, OSError,
        ClusterError.
        """
        about = (target.name, target.owner_uid, action, target.wanted, target.seen)
        self._lives.begin(*about)
        try:
            await self._do(target, action)
        except AdapterError as error:
            self._lives.failed(target.name, target.owner_uid, error)
            raise
        self._lives.done(*about)

    async def _do(self, target: Target, action: do.Action) -> None:
        try:
            match action:
                case do.EnsureVolume() | do.SetVolumeQuota() | do.ReleaseVolume() | do.SettleVolume():
                    await self._volume(target, action)
                case do.CloneRoot() | do.AdmitGuest() | do.SetQuota() | do.Prepare() | do.RemoveDisk():
                    await self._disk(target, action)
                case do.Create() | do.Adopt() | do.WriteConfig() | do.ResizeDisk():
                    await self._configure(target, action)
                case do.EnsureBridge() | do.ApplyFirewall() | do.AttachLink():
                    await self._network(action)
                case do.BeginRemoval() | do.EndRemoval() | do.Forget() | do.RemoveFinalizer():
                    await self._farewell(target, action)
                case _:
                    await self._process(target, action)
        finally:
            self._expire(action)

    def _pool(self, name: str) -> Pool:
        if name not in self._pools:
            raise PoolUnavailableError(f"pool {name} cannot be used now")
        return self._pools[name]

    def _expire(self, action: do.Action) -> None:
        match action:
            case do.EnsureBridge() | do.AttachLink() | do.Start() | do.Stop() | do.Destroy():
                self._view.links.expire()
            case (
                do.EnsureVolume()
                | do.SetVolumeQuota()
                | do.ReleaseVolume()
                | do.SettleVolume()
                | do.CloneRoot()
                | do.SetQuota()
                | do.RemoveDisk()
            ):
                self._view.expire_datasets()

    async def _volume(
        self,
        target: Target,
        action: do.EnsureVolume | do.SetVolumeQuota | do.ReleaseVolume | do.SettleVolume,
    ) -> None:
        owner = target.owner_uid
        match action:
            case do.EnsureVolume(pool=pool, ref=ref, quota=quota, gid=gid):
                await self._pool(pool).ensure_volume(ref, owner, gid=gid, quota=quota)
            case do.SetVolumeQuota(pool=pool, ref=ref, quota=quota):
                await self._pool(pool).set_volume_quota(ref, owner, quota)
            case do.ReleaseVolume(pool=pool, ref=ref):
                await self._pool(pool).release_volume(ref, owner)
            case do.SettleVolume(volume=volume):
                pool_of = self._pool(volume.pool)
                if volume.policy is DeletionPolicy.DELETE:
                    await pool_of.remove_volume(volume.ref, owner)
                else:
                    await pool_of.release_volume(volume.ref, owner)

    async def _disk(
        self, target: Target, action: do.CloneRoot | do.AdmitGuest | do.SetQuota | do.Prepare | do.RemoveDisk
    ) -> None:
        name, owner = target.name, target.owner_uid
        pool = self._pool(action.pool)
        match action:
            case do.CloneRoot(template=template, quota=quota, gid=gid):
                self._records.update(name, owner, prepared=False, started=False, compose_digest=None)
                await pool.clone(template, name, owner, gid=gid, quota=quota)
            case do.AdmitGuest(template=template, gid=gid):
                await pool.clone(template, name, owner, gid=gid)
            case do.SetQuota(quota=quota):
                await pool.set_guest_quota(name, owner, quota)
            case do.Prepare(gateway=gateway, resolver=resolver):
                rootfs = pool.root / "guests" / name / "rootfs"
                await asyncio.to_thread(point_to_registry, rootfs, gateway, self._registry_port)
                if resolver:
                    await asyncio.to_thread(use_resolver, rootfs, resolver)
                self._records.update(name, owner, prepared=True)
            case do.RemoveDisk():
                await pool.remove_guest(name, owner)

    async def _configure(
        self, target: Target, action: do.Create | do.Adopt | do.WriteConfig | do.ResizeDisk
    ) -> None:
        name, owner = target.name, target.owner_uid
        if isinstance(action, do.ResizeDisk):
            await self._engine.resize_disk(name, owner, action.size)
            return
        # Written before: whoever finds either digest after a crash knows that it is ours.
        record = self._records.update(name, owner)
        self._records.update(name, owner, applied=tuple(dict.fromkeys((*record.applied, action.digest))))
        if isinstance(action, do.Create) and isinstance(action.config.root, RootImage):
            # What was known of a guest whose disk went with it is void.
            self._records.update(name, owner, prepared=False, started=False, compose_digest=None)
        if isinstance(action, do.Create) and action.shared is not None:
            await asyncio.to_thread(make_shared, action.shared)
        await self._engine.write_config(action.config)
        startup = action.config.startup
        self._records.update(
            name,
            owner,
            applied=(action.digest,),
            adopted=isinstance(action.config.root, Adopted),
            autostart=startup.autostart,
            order=startup.order,
            delay=startup.delay,
        )

    async def _network(self, action: do.EnsureBridge | do.ApplyFirewall | do.AttachLink) -> None:
        match action:
            case do.EnsureBridge(bridge=bridge):
                await self._links.ensure_bridge(bridge)
            case do.ApplyFirewall():
                await self._firewall.sync()
            case do.AttachLink(port=port, bridge=name):
                await self._links.attach(port, name)

    async def _process(self, target: Target, action: do.Action) -> None:
        name, owner = target.name, target.owner_uid
        match action:
            case do.SetLimits(limits=limits):
                await self._engine.set_limits(name, owner, limits)
            case do.Unfreeze():
                await self._engine.resume(name, owner)
            case do.Freeze():
                await self._bring_ups.cancel(name)
                await self._engine.suspend(name, owner)
            case do.Stop():
                await self._bring_ups.cancel(name)
                await self._engine.stop(name, owner, grace=self._grace)
            case do.Start():
                await self._bring_ups.cancel(name)
                if target.wanted is not None and target.wanted.shared is not None:
                    # It may have been made on another node: this one has no directory for it yet.
                    await asyncio.to_thread(make_shared, target.wanted.shared)
                await self._engine.start(name, owner)
            case do.Migrate(target=node):
                await self._bring_ups.cancel(name)
                await self._engine.migrate(name, owner, node)
            case do.BringUp():
                if target.wanted is not None:
                    await self._bring_ups.start(target.wanted)
            case do.Release():
                await self._engine.release(name, owner)
            case do.Destroy():
                await self._bring_ups.cancel(name)
                await self._engine.destroy(name, owner)

    async def _farewell(
        self, target: Target, action: do.BeginRemoval | do.EndRemoval | do.Forget | do.RemoveFinalizer
    ) -> None:
        match action:
            case do.BeginRemoval(removal=removal):
                self._records.update(
                    target.name, target.owner_uid, removal=removal, removed=False, autostart=False
                )
            case do.EndRemoval():
                self._records.update(target.name, target.owner_uid, removed=True)
            case do.Forget(fate=None):
                self._bring_ups.forget(target.name)
                await self._engine.forget(target.name)
                await asyncio.to_thread(remove_shared, self._shared / target.name)
                self._records.drop(target.name)
            case do.Forget(fate=fate):
                rules = self._firewall.rules_of(target.name) if fate is Fate.ORPHANED else None
                self._records.update(
                    target.name,
                    target.owner_uid,
                    removal=None,
                    removed=False,
                    autostart=False,
                    fate=fate,
                    forgotten=rules,
                )
            case do.RemoveFinalizer():
                if target.let_go is not None:
                    await target.let_go()


async def run_stages(actor: Actor, target: Target, actions: list[do.Action]) -> None:
    """Act stage by stage, side by side within one. Raises ActionFailedError when the stage has ended."""
    for stage in do.stages(actions):
        runs = (_run(actor, target, action) for action in stage)
        ends = await asyncio.gather(*runs, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end


async def _run(actor: Actor, target: Target, action: do.Action) -> None:
    async def act(each: do.Action) -> None:
        await actor.act(target, each)

    try:
        await act_all([action], act)
    except Exception as error:
        raise ActionFailedError(action, error) from error
