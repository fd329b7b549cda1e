"""Why a guest cannot be made as wanted: orders that its state does not allow, things that are not ours. Pure.

    Suspended, but not running        refused: nothing is started only to be held
    migrate, but suspended            refused
    restart, but at rest              refused, and not kept for later: it spoils nothing else

A suspended guest whose processes are lost (they died, the host was started anew) cannot go on where it was,
and what its owner wanted held is not run without being asked: it is told, and waits for runPolicy Running.
"""

from dsecos_api.conditions import Reason, Type
from dsecos_api.lifecycle import LifecycleState, Order, refusal
from dsecos_api.types import RunPolicy

from dsecos_agent.guests import adoption, causes, drift
from dsecos_agent.guests.desired import Block, Wanted
from dsecos_agent.guests.lifecycle import STATES
from dsecos_agent.guests.state import Observed
from dsecos_agent.zones.plan import foreign


def elsewhere(wanted: Wanted, seen: Observed) -> str | None:
    """The node of the engine's cluster that the guest is on, if it is not this one."""
    node = None if seen.engine is None else seen.engine.engine_node
    return node if node is not None and wanted.engine_node not in (None, node) else None


def given_away(wanted: Wanted, seen: Observed) -> bool:
    """Whether the guest has gone to another node by our order: it is that node's from now on."""
    return wanted.migrate is not None and elsewhere(wanted, seen) is not None


def migration_due(wanted: Wanted, seen: Observed) -> bool:
    """Whether the guest is to be moved and has not been."""
    return seen.engine is not None and wanted.migrate not in (None, seen.engine.engine_node)


def blocks(wanted: Wanted, seen: Observed) -> list[Block]:
    """Why the guest cannot be made as wanted, in the order of the steps; empty when it can."""
    found = [*wanted.blocks, *_foreign(wanted, seen), *_refused(wanted, seen)]
    made = seen.engine if wanted.own_disks else seen.disk
    if made is None and wanted.template is None and wanted.needs_template:
        where = "on the node" if wanted.own_disks else "in the pool"
        text = f"the guest template is not {where} (yet)"
        found.append(Block(Type.GUEST_READY, Reason.GUEST_TEMPLATE_MISSING, text, stalled=False))
    if seen.conflict is not None:
        found.append(Block(Type.NETWORK_READY, seen.conflict.reason, seen.conflict.message))
    if lost := adoption.lost(wanted, seen):
        found.append(Block(Type.GUEST_READY, Reason.DRIFTED, lost))
    elif drift.removed(seen) and drift.held(wanted, seen):
        text = (
            "somebody else removed the guest, and driftPolicy is Report: it is made again when spec changes"
        )
        found.append(Block(Type.GUEST_READY, Reason.DRIFTED, text))
    size = None if seen.engine is None else seen.engine.disk_bytes
    if wanted.own_disks and not wanted.adopted and size is not None and size > wanted.quota:
        text = f"its disk has {size} bytes and cannot be made smaller: set resources.disk to that or more"
        found.append(Block(Type.GUEST_READY, Reason.UNSUPPORTED, text))
    order = list(Type)
    return sorted(found, key=lambda block: (not block.stalled, order.index(block.type)))


def refused_restart(wanted: Wanted, seen: Observed) -> str:
    """Why the restart that is asked for cannot be; empty when there is none, or it can."""
    state = None if seen.engine is None else STATES.get(seen.engine.state)
    if wanted.run is RunPolicy.RUNNING or state is None:
        return ""
    record = seen.record
    known = record is not None and record.restart_refused == wanted.restart
    if wanted.restart is None or not (known or causes.restart_asked(wanted, seen)):
        return ""
    why = refusal(state, Order.RESTART)
    return f"restart {wanted.restart} refused: {why}" if why else ""


def _refused(wanted: Wanted, seen: Observed) -> list[Block]:
    """Orders that the guest's state, or its engine, does not allow."""
    state = LifecycleState.CREATING if seen.engine is None else STATES.get(seen.engine.state)
    if wanted.deleting or state is None:
        return []
    if wanted.run is RunPolicy.SUSPENDED and wanted.cannot_suspend:
        return [Block(Type.GUEST_READY, Reason.UNSUPPORTED, wanted.cannot_suspend)]
    if wanted.adopted and seen.engine is None:
        return []  # how it is shows when it is taken over
    orders = [Order.SUSPEND] * (wanted.run is RunPolicy.SUSPENDED and not seen.frozen)
    if migration_due(wanted, seen):
        if wanted.cannot_migrate:
            return [Block(Type.GUEST_READY, Reason.UNSUPPORTED, wanted.cannot_migrate)]
        orders.append(Order.MIGRATE)
    # What is on its way gets there by itself.
    passing = state in (LifecycleState.STARTING, LifecycleState.STOPPING, LifecycleState.MIGRATING)
    whys = [] if passing else [why for order in orders if (why := refusal(state, order))]
    return [
        Block(Type.GUEST_READY, Reason.ILLEGAL_TRANSITION, f"{why}: set runPolicy: Running first")
        for why in whys
    ]


def is_ours(owner_uid: str, seen: Observed) -> bool:
    """Whether there is no container of another owner under the guest's name."""
    return seen.engine is None or seen.engine.owner_uid == owner_uid


def _foreign(wanted: Wanted, seen: Observed) -> list[Block]:
    """Things under our names that carry another owner."""
    found = []
    if not is_ours(wanted.owner_uid, seen):
        found.append((Type.GUEST_READY, f"container {wanted.name}"))
    if seen.disk is not None and seen.disk.owner_uid != wanted.owner_uid:
        found.append((Type.GUEST_READY, f"disk of guest {wanted.name}"))
    for volume in wanted.volumes:
        dataset = seen.volumes.get((volume.pool, volume.ref))
        if dataset is not None and dataset.owner_uid not in (None, wanted.owner_uid):
            found.append((Type.VOLUMES_READY, f"volume {volume.ref}"))
    if wanted.bridge is not None and seen.bridge is not None and foreign(wanted.bridge, seen.bridge):
        found.append((Type.NETWORK_READY, f"bridge {seen.bridge.name}"))
    return [
        Block(step, Reason.NOT_OURS, f"{what} belongs to somebody else: left as it is")
        for step, what in found
    ]
