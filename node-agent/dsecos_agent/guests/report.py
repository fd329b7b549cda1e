"""What a Guest's status says: conditions from what is wanted, what was seen, and what failed. Pure but for
the clock.

Messages name things, never counters or times, so that they do not flap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dsecos_api import Guest
from dsecos_api.conditions import GUEST_STEPS, Reason, Type
from dsecos_api.guest import GuestStatus
from dsecos_api.stack import ServiceStatus
from dsecos_api.types import RunPolicy
from dsecos_runtime import Conditions

from dsecos_agent.compose.protocol import Service
from dsecos_agent.guests.desired import Block, Wanted
from dsecos_agent.guests.plan import blocks, bring_up_due
from dsecos_agent.guests.services import Verdict, judge
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
        Type.VOLUMES_READY: _volumes(wanted, seen),
        Type.NETWORK_READY: _network(seen),
        Type.GUEST_READY: _guest(wanted, seen),
        Type.DOCKER_READY: _docker(wanted, seen),
        Type.SERVICES_READY: _services(wanted, seen),
    }
    problems = [*reversed(blocks(wanted, seen)), *([failure] if failure else [])]
    for block in problems:
        # A block of a running guest (a foreign volume, a missing pool) does not undo what works.
        found[block.type] = Finding(block.type, False, block.reason, block.message, stalled=block.stalled)
    return [found[step] for step in GUEST_STEPS]


def status(guest: Guest, wanted: Wanted, seen: Observed, failure: Block | None = None) -> GuestStatus:
    """The whole status."""
    conditions = Conditions(guest.status, guest.metadata.generation, order=GUEST_STEPS)
    found = findings(wanted, seen, failure)
    for finding in found:
        conditions.set(finding.type, finding.holds, finding.reason, finding.message)
    _conclude(conditions, wanted, seen, found)
    record = seen.record
    return GuestStatus(
        observed_generation=guest.metadata.generation,
        conditions=conditions.build(),
        epoch=guest.spec.epoch,
        image=f"sha256:{seen.disk.template}" if seen.disk and seen.disk.template else None,
        compose_digest=record.compose_digest if record is not None else None,
        started_at=record.started_at if record is not None and seen.alive else None,
        services=service_statuses(seen.services or ()),
    )


def service_statuses(services: Sequence[Service]) -> list[ServiceStatus]:
    """One entry a service; of several containers the worst is shown."""
    worst: dict[str, Service] = {}
    for service in services:
        other = worst.get(service.name)
        if other is None or _badness(service) > _badness(other):
            worst[service.name] = service
    return [
        ServiceStatus(
            name=name,
            image=service.image,
            state=service.state,
            health=None if service.health in ("", "none") else service.health,
            restarts=service.restarts,
        )
        for name, service in sorted(worst.items())
    ]


def _badness(service: Service) -> tuple[bool, bool, bool]:
    return (service.state != "running", service.health == "unhealthy", service.health == "starting")


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
        conditions.ready(Reason.ALL_HEALTHY, found[-1].message)
    elif first.reason is rest and _at_rest(wanted, seen):
        conditions.ready(rest, "as runPolicy asks")
    elif first.moving:
        conditions.reconciling(first.reason, first.message)
    else:
        conditions.false(Type.READY, first.reason, first.message)


def _at_rest(wanted: Wanted, seen: Observed) -> bool:
    if wanted.run is RunPolicy.SUSPENDED and seen.frozen:
        return True
    return not seen.alive and seen.engine is not None and seen.engine.config_digest == wanted.digest.full


def _volumes(wanted: Wanted, seen: Observed) -> Finding:
    for volume in wanted.volumes:
        dataset = seen.volumes.get((volume.pool, volume.ref))
        if dataset is None or dataset.owner_uid is None:
            return Finding(
                Type.VOLUMES_READY, False, Reason.PROGRESSING, f"volume {volume.name} is not there yet"
            )
    return Finding(Type.VOLUMES_READY, True, Reason.MOUNTED)


def _network(seen: Observed) -> Finding:
    if not seen.rules_in_force:
        return Finding(Type.NETWORK_READY, False, Reason.PROGRESSING, "its rules are not in force yet")
    if seen.bridge is None or (seen.alive and (seen.port is None or seen.port.bridge != seen.bridge.name)):
        return Finding(Type.NETWORK_READY, False, Reason.PROGRESSING, "its link is not on the zone's bridge")
    return Finding(Type.NETWORK_READY, True, Reason.RULES_IN_FORCE)


def _guest(wanted: Wanted, seen: Observed) -> Finding:
    rest = NOT_RUNNING.get(wanted.run)
    if rest is not None:
        return Finding(Type.GUEST_READY, False, rest, "as runPolicy asks")
    if seen.running and seen.engine is not None and seen.engine.booted_digest == wanted.digest.boot:
        return Finding(Type.GUEST_READY, True, Reason.RUNNING)
    return Finding(Type.GUEST_READY, False, Reason.STARTING)


def _docker(wanted: Wanted, seen: Observed) -> Finding:
    rest = NOT_RUNNING.get(wanted.run)
    if rest is not None:
        return Finding(Type.DOCKER_READY, False, rest, "as runPolicy asks")
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
        return _not_serving(rest, "as runPolicy asks")
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
