"""What to do next for one guest. Pure: no I/O, no clock, no randomness; planning after acting is empty.

The rules:
- What carries another owner's UID is not touched, and nothing is done for a guest that would need it.
- Nothing restarts a running guest but a change that only a restart brings about (`booted_digest`), a lost
  network port, or an order. Ports are the firewall's, limits and quotas are changed live, a document is
  brought up.
- An order that the guest's state does not allow is refused, and so is the rest of the wish until it is taken
  back.
- What others changed is put right, or with driftPolicy Report left as it is until the wish changes.
- While the engine is at a guest, or does not know how it is, nothing is done to it.
- A guest is started only when its volumes, its bridge and its rules are there.
- What was there before and is taken over gets no storage, network or services of ours, and is looked for by
  its id once.
- Data is destroyed only where a deletionPolicy says Delete, and only after the guest was asked to stop.
- The finalizer goes last, when a look shows that nothing is left to remove.
"""

from dsecos_api.lifecycle import LifecycleState
from dsecos_api.types import DeletionPolicy, RunPolicy

from dsecos_agent.engines.model import GuestState
from dsecos_agent.guests import actions as do
from dsecos_agent.guests import causes, drift
from dsecos_agent.guests.actions import Action
from dsecos_agent.guests.blocks import blocks, elsewhere, given_away, is_ours, migration_due
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.record import Fate, Removal
from dsecos_agent.guests.services import judge
from dsecos_agent.guests.state import Observed
from dsecos_agent.storage.protocol import Dataset
from dsecos_agent.zones.plan import attached, foreign, right

FATES = {DeletionPolicy.RETAIN: Fate.RETAINED, DeletionPolicy.ORPHAN: Fate.ORPHANED}


def plan(wanted: Wanted, seen: Observed) -> list[Action]:
    """The actions that are due, in order of their stages.

    Empty when there is nothing to do or nothing may be done.
    """
    ours = is_ours(wanted.owner_uid, seen)
    if wanted.paused or (ours and seen.busy):
        return [] if wanted.paused else _half_made(wanted, seen)
    if given_away(wanted, seen):
        return [do.Forget(None), do.RemoveFinalizer()] if wanted.deleting else []
    if wanted.deleting:
        return plan_removal(wanted.owner_uid, wanted.removal, seen)
    if blocks(wanted, seen):
        return _network(wanted, seen) if seen.alive and ours else []
    if migration_due(wanted, seen):
        return [do.Migrate(wanted.migrate or "")] if _settled(seen) else []
    actions = [
        *([] if wanted.own_disks else _storage(wanted, seen)),
        *_network(wanted, seen),
        *_process(wanted, seen),
        *([] if wanted.own_disks else _dropped(wanted, seen)),
    ]
    once = [action for position, action in enumerate(actions) if action not in actions[:position]]
    return sorted(once, key=lambda action: action.stage)


def _half_made(wanted: Wanted, seen: Observed) -> list[Action]:
    """While the engine is at a guest nothing is done to it, but what was begun by us: a creation that was cut
    short is gone on with, or ended. The engine knows how far it was.
    """
    life = None if seen.record is None else seen.record.life
    made = life is not None and life.state in (LifecycleState.CREATING, LifecycleState.DESTROYING)
    if seen.engine is None or seen.engine.state is not GuestState.CREATING or not made:
        return []
    if wanted.deleting:
        return plan_removal(wanted.owner_uid, wanted.removal, seen)
    return [] if blocks(wanted, seen) else [_create(wanted)]


def _create(wanted: Wanted) -> Action:
    if wanted.adopted:
        return do.Adopt(wanted.config, wanted.digest.full)
    return do.Create(wanted.config, wanted.digest.full, wanted.shared)


def _settled(seen: Observed) -> bool:
    return seen.engine is not None and seen.engine.state in (GuestState.RUNNING, GuestState.STOPPED)


def plan_removal(owner_uid: str, removal: Removal, seen: Observed) -> list[Action]:
    """The actions that end a guest as its deletionPolicy says. What is not ours is left alone.

    Every step is taken at least once, also where nothing is to be seen: a disk that was half made or half
    removed when the agent was killed shows in no listing.
    """
    ours = seen.engine is not None and seen.engine.owner_uid == owner_uid
    deletes, orphans = removal.policy is DeletionPolicy.DELETE, removal.policy is DeletionPolicy.ORPHAN
    begun = seen.record is not None and seen.record.removal == removal
    done = begun and seen.record is not None and seen.record.removed
    there = ours or (seen.engine is None and not done)
    actions: list[Action] = []
    if ours and seen.alive and not seen.busy and not orphans:
        actions.append(do.Stop())
    if there and deletes:
        actions.append(do.Destroy())
    elif there and removal.adopted:
        actions.append(do.Release())
    if deletes and removal.pool is not None and _may_remove(seen.disk, owner_uid, done=done):
        actions.append(do.RemoveDisk(removal.pool))
    for volume in () if orphans else removal.volumes:
        dataset = seen.volumes.get((volume.pool, volume.ref))
        if volume.policy is not DeletionPolicy.ORPHAN and _may_remove(dataset, owner_uid, done=done):
            actions.append(do.SettleVolume(volume))
    if actions:
        actions += [*([] if begun else [do.BeginRemoval(removal)]), do.EndRemoval()]
        return sorted(actions, key=lambda action: action.stage)
    if deletes and seen.port is not None:
        return []  # the kernel is still taking the guest's network apart
    return [do.Forget(FATES.get(removal.policy) if ours else None), do.RemoveFinalizer()]


def _may_remove(dataset: Dataset | None, owner_uid: str, *, done: bool) -> bool:
    return not done if dataset is None else dataset.owner_uid == owner_uid


def bring_up_due(wanted: Wanted, seen: Observed) -> bool:
    """Whether a running guest's services need `docker compose up`, or its dockerd has to be waited for."""
    if seen.bring_up is not None:
        return seen.bring_up.digest != wanted.compose_digest
    if seen.problem is not None and seen.problem.digest == wanted.compose_digest and seen.problem.waiting:
        return False
    if seen.services is None or seen.record is None:
        return True
    return seen.record.compose_digest != wanted.compose_digest or bool(
        judge(wanted.services, seen.services).down
    )


def _storage(wanted: Wanted, seen: Observed) -> list[Action]:
    actions: list[Action] = []
    gid = wanted.config.id_map.base if wanted.config.id_map is not None else 0
    moves = seen.engine is not None and not seen.frozen and seen.engine.id_map != wanted.config.id_map
    for volume in wanted.volumes:
        dataset = seen.volumes.get((volume.pool, volume.ref))
        if dataset is None or dataset.owner_uid is None or moves:
            actions.append(do.EnsureVolume(volume.pool, volume.ref, volume.quota, gid))
        if dataset is not None and seen.quotas.get(volume.pool) and dataset.quota_bytes != volume.quota:
            # In a stage after the volume is ours.
            actions.append(do.SetVolumeQuota(volume.pool, volume.ref, volume.quota))
    if seen.disk is None and wanted.template is not None:
        actions.append(do.CloneRoot(wanted.pool, wanted.template, wanted.quota, gid))
    elif seen.disk is not None and seen.quotas.get(wanted.pool) and seen.disk.quota_bytes != wanted.quota:
        actions.append(do.SetQuota(wanted.pool, wanted.quota))
    if seen.disk is not None and moves:
        actions.append(do.AdmitGuest(wanted.pool, seen.disk.template or "", gid))
    fresh = seen.disk is None or seen.record is None or not (seen.record.prepared or seen.record.started)
    if fresh:
        actions.append(do.Prepare(wanted.pool, wanted.gateway, wanted.resolver))
    return actions


def _network(wanted: Wanted, seen: Observed) -> list[Action]:
    if wanted.bridge is None:
        return []
    actions: list[Action] = []
    bridge = seen.bridge
    if bridge is None or not (right(wanted.bridge, bridge) or foreign(wanted.bridge, bridge)):
        actions.append(do.EnsureBridge(wanted.bridge))
    if not seen.rules_in_force and seen.conflict is None and wanted.port is not None:
        actions.append(do.ApplyFirewall())
    port = seen.port
    stays = seen.alive and wanted.run is not RunPolicy.STOPPED
    if stays and port is not None and not attached(port, wanted.bridge.name):
        actions.append(do.AttachLink(port.name, wanted.bridge.name))
    return actions


def _process(wanted: Wanted, seen: Observed) -> list[Action]:
    if wanted.adopted and seen.engine is None:
        return [_create(wanted)]  # how it is shows when it is ours
    if seen.frozen:
        return _frozen(wanted)
    restart = causes.restart(wanted, seen) is not None
    actions = _configuration(wanted, seen, restart=restart)
    if seen.engine is not None and seen.engine.state is GuestState.STOPPING:
        return actions  # its death wakes us
    if wanted.run is RunPolicy.RUNNING:
        actions += _up(wanted, seen, restart=restart)
    elif wanted.run is RunPolicy.STOPPED and seen.alive:
        actions.append(do.Stop())
    elif wanted.run is RunPolicy.SUSPENDED and seen.running:
        actions.append(do.Freeze())
    return actions


def _configuration(wanted: Wanted, seen: Observed, *, restart: bool) -> list[Action]:
    engine, digest = seen.engine, wanted.digest.full
    if engine is None:
        return [_create(wanted)]
    actions: list[Action] = []
    if wanted.own_disks and engine.disk_bytes is not None and engine.disk_bytes < wanted.quota:
        actions.append(do.ResizeDisk(wanted.quota))
    if engine.config_digest != digest and not drift.held(wanted, seen):
        if seen.running and not restart and wanted.live_limits:
            actions.append(do.SetLimits(wanted.config.limits))
        actions.append(do.WriteConfig(wanted.config, digest))
    return actions


def _up(wanted: Wanted, seen: Observed, *, restart: bool) -> list[Action]:
    """Start it, and its services. Elsewhere neither its rules nor its Docker are within reach; what was taken
    over needs neither.
    """
    starts = restart or not seen.alive
    if starts and not seen.turn:
        return []
    actions: list[Action] = [*[do.Stop()] * restart, *[do.Start()] * starts]
    if wanted.adopted:
        return actions
    if elsewhere(wanted, seen) is not None or (starts and not wanted.port):
        return []
    if starts and wanted.bridge is not None and wanted.port is not None:
        # The engine makes the port; what keeps it from its neighbours is set once it is there.
        actions.append(do.AttachLink(wanted.port, wanted.bridge.name))
    if starts or bring_up_due(wanted, seen):
        actions.append(do.BringUp(wanted.compose_digest))
    return actions


def _frozen(wanted: Wanted) -> list[Action]:
    """Limits cannot be set while a guest is held, and its file's digest says that they are:

    both wait until then.
    """
    match wanted.run:
        case RunPolicy.RUNNING:
            return [do.Unfreeze()]
        case RunPolicy.STOPPED:
            return [do.Stop()]
    return []


def _dropped(wanted: Wanted, seen: Observed) -> list[Action]:
    """Volumes that the Stack no longer names, once no running guest has them mounted."""
    mounted = seen.alive and seen.engine is not None and seen.engine.booted_digest != wanted.digest.boot
    if mounted:
        return []
    named = {(volume.pool, volume.ref) for volume in wanted.volumes}
    return [
        do.ReleaseVolume(pool, ref)
        for (pool, ref), dataset in sorted(
            seen.volumes.items(), key=lambda item: (item[0][0], str(item[0][1]))
        )
        if (pool, ref) not in named and dataset.owner_uid == wanted.owner_uid
    ]
