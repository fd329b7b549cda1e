"""What a Guest's status says: conditions from what is wanted, what was seen, and what failed. Pure but for
the clock.

Messages name things, never counters or times, so that they do not flap.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dsecos_api import Guest
from dsecos_api.conditions import GUEST_STEPS, Reason, Type
from dsecos_api.guest import GuestStatus
from dsecos_api.types import RunPolicy
from dsecos_runtime import Conditions

from dsecos_agent.engines.model import GuestState
from dsecos_agent.guests import adoption, drift
from dsecos_agent.guests.blocks import blocks, elsewhere, given_away, refused_restart
from dsecos_agent.guests.desired import Block, Wanted
from dsecos_agent.guests.plan import bring_up_due
from dsecos_agent.guests.services import Verdict, judge, statuses
from dsecos_agent.guests.state import Observed, Phase

NOT_RUNNING = {RunPolicy.STOPPED: Reason.STOPPED, RunPolicy.SUSPENDED: Reason.SUSPENDED}
OUT_OF_MEMORY = "the guest reached its memory limit"
BRINGING_UP = "the services are being brought up"


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition."""

    type: Type
    holds: bool
    reason: Reason
    message: str = ""
    stalled: bool = False
    """It does not hold, and will not without a change."""
    moving: bool = True
    """It does not hold yet, and the agent is at it."""


def findings(wanted: Wanted, seen: Observed, failure: Block | None = None) -> list[Finding]:
    """One finding a step, in the order of the steps."""
    found = {
        step: Finding(step, True, Reason.ADOPTED, adoption.OWN[step])
        if wanted.adopted and step in adoption.OWN
        else look(wanted, seen)
        for step, look in _STEPS.items()
    }
    problems = [*reversed(blocks(wanted, seen)), *([failure] if failure else [])]
    for block in problems:
        # A block of a running guest (a foreign volume, a missing pool) does not undo what works.
        found[block.type] = Finding(block.type, False, block.reason, block.message, stalled=block.stalled)
    return [found[step] for step in GUEST_STEPS]


def unseen(guest: Guest, block: Block) -> GuestStatus:
    """The status of a guest that cannot be looked at: as it was last seen, but for that."""
    conditions = Conditions(guest.status, guest.metadata.generation, order=GUEST_STEPS)
    conditions.unknown(block.type, block.reason, block.message)
    if block.stalled:
        conditions.stalled(block.reason, block.message)
    else:
        conditions.reconciling(block.reason, block.message)
    return guest.status.model_copy(
        update={"observed_generation": guest.metadata.generation, "conditions": conditions.build()}
    )


def status(
    guest: Guest, wanted: Wanted, seen: Observed, failure: Block | None = None, *, leaving: bool = False
) -> GuestStatus:
    """The whole status; `leaving`: it is about to be stopped or moved."""
    conditions = Conditions(guest.status, guest.metadata.generation, order=GUEST_STEPS)
    found = findings(wanted, seen, failure)
    if leaving:
        found = [_leaving(wanted, finding) for finding in found]
    for finding in found:
        conditions.set(finding.type, finding.holds, finding.reason, finding.message)
    _conclude(conditions, wanted, seen, found)
    record, engine = seen.record, seen.engine
    return GuestStatus(
        observed_generation=guest.metadata.generation,
        conditions=conditions.build(),
        epoch=guest.spec.epoch,
        image=_image(seen),
        compose_digest=record.compose_digest if record is not None else None,
        started_at=record.started_at if record is not None and seen.alive else None,
        lifecycle=record.life if record is not None else None,
        engine_id=(engine.engine_id or None) if engine is not None else None,
        engine_node=engine.engine_node if engine is not None else None,
        restart=record.restart if record is not None else None,
        drift=_drift(wanted, seen),
        services=statuses(seen.services or ()),
    )


def _leaving(wanted: Wanted, finding: Finding) -> Finding:
    if finding.type is not Type.GUEST_READY:
        return finding
    reason = NOT_RUNNING.get(wanted.run) or (Reason.MIGRATING if wanted.migrate else Reason.PROGRESSING)
    return Finding(
        finding.type, False, reason, "it is being moved" if wanted.migrate else "it is being stopped"
    )


def _image(seen: Observed) -> str | None:
    digest = seen.disk.template if seen.disk is not None else None
    return f"sha256:{digest}" if digest else None


def _drift(wanted: Wanted, seen: Observed) -> list[str]:
    if adoption.lost(wanted, seen):
        return [drift.REMOVED]
    if drift.removed(seen):
        return [drift.REMOVED] if drift.held(wanted, seen) else []
    return list(seen.record.drift) if seen.record is not None else []


def _conclude(conditions: Conditions, wanted: Wanted, seen: Observed, found: list[Finding]) -> None:
    first = next((finding for finding in found if not finding.holds), None)
    stuck = next((finding for finding in found if not finding.holds and finding.stalled), None)
    rest = NOT_RUNNING.get(wanted.run)
    if wanted.paused:
        conditions.stalled(Reason.PAUSED, "spec.paused is true: the agent looks and changes nothing")
    elif wanted.deleting:
        text = first.message if first is not None and first.reason is not rest else ""
        conditions.reconciling(Reason.DELETING, text)
    elif stuck is not None:
        conditions.stalled(stuck.reason, stuck.message)
    elif first is None:
        held = drift.held(wanted, seen)
        conditions.ready(
            Reason.DRIFTED if held else Reason.ALL_HEALTHY,
            next(each.message for each in found if each.type is Type.GUEST_READY)
            if held or wanted.adopted
            else found[-1].message,
        )
    elif first.reason is rest and _at_rest(wanted, seen):
        conditions.ready(rest, first.message)
    elif first.moving:
        conditions.reconciling(first.reason, first.message)
    else:
        conditions.false(Type.READY, first.reason, first.message)


def _at_rest(wanted: Wanted, seen: Observed) -> bool:
    if wanted.run is RunPolicy.SUSPENDED:
        return seen.frozen
    if seen.alive or seen.engine is None:
        return False
    return seen.engine.config_digest == wanted.digest.full or drift.held(wanted, seen)


def _volumes(wanted: Wanted, seen: Observed) -> Finding:
    if wanted.own_disks and seen.engine is None:
        return Finding(Type.VOLUMES_READY, False, Reason.PROGRESSING, "its disks are made with the guest")
    for volume in () if wanted.own_disks else wanted.volumes:
        dataset = seen.volumes.get((volume.pool, volume.ref))
        if dataset is None or dataset.owner_uid is None:
            return Finding(
                Type.VOLUMES_READY, False, Reason.PROGRESSING, f"volume {volume.name} is not there yet"
            )
    return Finding(Type.VOLUMES_READY, True, Reason.MOUNTED)


def _network(wanted: Wanted, seen: Observed) -> Finding:
    if elsewhere(wanted, seen) is not None:
        text = "its link is on another node of the engine: the rules here do not hold for it"
        return Finding(Type.NETWORK_READY, False, Reason.UNSUPPORTED, text, moving=False)
    if not seen.rules_in_force:
        return Finding(Type.NETWORK_READY, False, Reason.PROGRESSING, "its rules are not in force yet")
    if seen.bridge is None or (seen.alive and (seen.port is None or seen.port.bridge != seen.bridge.name)):
        return Finding(Type.NETWORK_READY, False, Reason.PROGRESSING, "its link is not on the zone's bridge")
    return Finding(Type.NETWORK_READY, True, Reason.RULES_IN_FORCE)


def _guest(wanted: Wanted, seen: Observed) -> Finding:
    busy = _busy(wanted, seen)
    if busy is not None:
        return busy
    if given_away(wanted, seen):
        return Finding(Type.GUEST_READY, False, Reason.MIGRATING, f"it is on {wanted.migrate} now")
    rest = NOT_RUNNING.get(wanted.run)
    if rest is not None:
        return Finding(Type.GUEST_READY, False, rest, _rest(wanted, seen))
    if seen.running and drift.held(wanted, seen):
        names = ", ".join(seen.record.drift) if seen.record is not None else ""
        return Finding(Type.GUEST_READY, True, Reason.DRIFTED, f"changed past DsecOS: {names}")
    if seen.running and seen.engine is not None and seen.engine.booted_digest == wanted.digest.boot:
        return Finding(Type.GUEST_READY, True, Reason.RUNNING, adoption.RUNS if wanted.adopted else "")
    return _not_up(wanted, seen)


def _busy(wanted: Wanted, seen: Observed) -> Finding | None:
    if seen.engine is None and wanted.adopted:
        return Finding(Type.GUEST_READY, False, Reason.PROGRESSING, "it is being taken over")
    if seen.engine is None or not seen.busy:
        return None
    match seen.engine.state:
        case GuestState.MIGRATING:
            return Finding(Type.GUEST_READY, False, Reason.MIGRATING, "it is being moved to another node")
        case GuestState.UNKNOWN:
            text = (
                f"node {seen.engine.engine_node} of the engine does not answer: nothing is done to the guest"
            )
            return Finding(Type.GUEST_READY, False, Reason.ENGINE_UNREACHABLE, text)
    return Finding(Type.GUEST_READY, False, Reason.PROGRESSING, "it is being made")


def _not_up(wanted: Wanted, seen: Observed) -> Finding:
    node = elsewhere(wanted, seen)
    if node is not None and not wanted.adopted:
        text = f"it is stopped on node {node} of the engine, and its rules are here: move it back"
        return Finding(Type.GUEST_READY, False, Reason.UNSUPPORTED, text, moving=False)
    if not seen.turn:
        text = "waits for guests that are to be started before it"
        return Finding(Type.GUEST_READY, False, Reason.STARTING, text)
    return Finding(Type.GUEST_READY, False, Reason.STARTING)


def _rest(wanted: Wanted, seen: Observed) -> str:
    """What is said of a guest that is at rest, or is to be."""
    policy = "the node is in maintenance" if wanted.maintenance else "as runPolicy asks"
    refused = refused_restart(wanted, seen)
    return f"{policy}; {refused}" if refused else policy


def _docker(wanted: Wanted, seen: Observed) -> Finding:
    rest = NOT_RUNNING.get(wanted.run)
    if rest is not None:
        return Finding(Type.DOCKER_READY, False, rest, _rest(wanted, seen))
    node = elsewhere(wanted, seen)
    if node is not None:
        text = f"it is on node {node} of the engine: what runs in it is seen by the agent there alone"
        return Finding(Type.DOCKER_READY, False, Reason.UNSUPPORTED, text, moving=False)
    composing = seen.bring_up is not None and seen.bring_up.phase is Phase.COMPOSING
    if seen.services is not None or composing:
        return Finding(Type.DOCKER_READY, True, Reason.DOCKER_RUNNING)
    problem = seen.problem
    if problem is not None and problem.type is Type.DOCKER_READY:
        return Finding(Type.DOCKER_READY, False, problem.reason, problem.message, moving=False)
    return Finding(Type.DOCKER_READY, False, Reason.PROGRESSING, "waits for the guest's dockerd")


def _services(wanted: Wanted, seen: Observed) -> Finding:
    rest = NOT_RUNNING.get(wanted.run)
    if rest is not None:
        return _not_serving(rest, _rest(wanted, seen))
    if seen.bring_up is not None and seen.problem is None:
        return _being_brought_up(seen)
    verdict = None if seen.services is None else judge(wanted.services, seen.services)
    if verdict is not None and seen.out_of_memory and not verdict.all_healthy:
        return _not_serving(Reason.OUT_OF_MEMORY, OUT_OF_MEMORY, moving=False)
    problem = seen.problem
    if (
        problem is not None
        and problem.type is Type.SERVICES_READY
        and problem.digest == wanted.compose_digest
    ):
        return _not_serving(problem.reason, problem.message, stalled=problem.stalled, moving=False)
    if verdict is None:
        return _not_serving(Reason.PROGRESSING, "waits for the guest's dockerd")
    return _judged(verdict, bring_up_due(wanted, seen))


def _being_brought_up(seen: Observed) -> Finding:
    if seen.out_of_memory:
        return _not_serving(Reason.OUT_OF_MEMORY, f"{OUT_OF_MEMORY}; {BRINGING_UP}")
    return _not_serving(Reason.PROGRESSING, BRINGING_UP)


def _judged(verdict: Verdict, bring_up: bool) -> Finding:
    if verdict.unhealthy:
        return _not_serving(Reason.UNHEALTHY, f"unhealthy: {', '.join(verdict.unhealthy)}", moving=False)
    if bring_up:
        return _not_serving(Reason.PROGRESSING, "the services are to be brought up")
    if verdict.starting:
        return _not_serving(Reason.PROGRESSING, f"starting: {', '.join(verdict.starting)}")
    text = f"{verdict.healthy} of {verdict.total} services healthy"
    return Finding(Type.SERVICES_READY, True, Reason.ALL_HEALTHY, text)


def _not_serving(reason: Reason, message: str, *, stalled: bool = False, moving: bool = True) -> Finding:
    return Finding(Type.SERVICES_READY, False, reason, message, stalled, moving)


_STEPS: Mapping[Type, Callable[[Wanted, Observed], Finding]] = {
    Type.VOLUMES_READY: _volumes,
    Type.NETWORK_READY: _network,
    Type.GUEST_READY: _guest,
    Type.DOCKER_READY: _docker,
    Type.SERVICES_READY: _services,
}
