"""What a Stack's status says. Pure but for the clock of transitions.

Ready is True when the Stack is as its spec says, in all its steps: Serving when it is to run, Stopped or
Suspended when that is what was asked for. Of a guest that was adopted it says Adopted in place of Serving:
nobody looks at what runs in it. It is about the present generation only: what an agent reported of an older
Guest, or of services that ran another document, does not count.
"""

from __future__ import annotations

from collections.abc import Iterable

from dsecos_api import Condition, ConditionStatus, Guest, NetworkZone, Node, Reason, Stack, Type
from dsecos_api.conditions import GUEST_STEPS, STACK_STEPS
from dsecos_api.shared import Expose
from dsecos_api.stack import StackStatus
from dsecos_api.types import Protocol, RunPolicy
from dsecos_runtime import Conditions, is_true

from dsecos_operator.maintenance.view import is_down
from dsecos_operator.scheduling import addresses
from dsecos_operator.stacks import strays
from dsecos_operator.stacks.claim import Claim
from dsecos_operator.stacks.findings import Findings
from dsecos_operator.stacks.guests import ports_of
from dsecos_operator.stacks.observe import Observed

OUTCOME = {
    RunPolicy.RUNNING: Reason.SERVING,
    RunPolicy.STOPPED: Reason.STOPPED,
    RunPolicy.SUSPENDED: Reason.SUSPENDED,
}


def status(observed: Observed, stack: Stack, findings: Findings) -> StackStatus:
    """The whole of it: what is not set here goes from the object."""
    conditions = Conditions(stack.status, stack.metadata.generation, order=STACK_STEPS)
    claim = findings.claim
    guest = observed.guest_on(claim.node) if claim is not None else observed.guest
    by_others = guest is not None and strays.strayed(guest, observed.node) is not None
    _own_steps(conditions, stack, findings, guest, by_others=by_others)
    _guest_steps(conditions, guest)
    conditions.false(Type.REGISTERED, Reason.NOT_CONFIGURED, "no Portainer configured")
    _outcome(conditions, observed, stack, findings, guest)
    return StackStatus(
        observed_generation=stack.metadata.generation,
        node=claim.node if claim else None,
        guest=claim.guest if claim else None,
        epoch=claim.epoch if claim else None,
        address=claim.address if claim else None,
        address6=_address6(claim, observed.zone) if claim else None,
        moving_to=claim.moving_to if claim else None,
        failed_move=claim.failed_move if claim else None,
        state=guest.status.lifecycle.state if guest and guest.status.lifecycle else None,
        endpoints=endpoints(ports_of(guest) if guest else stack.spec.expose, observed.node) if claim else [],
        services=guest.status.services if guest else [],
        conditions=conditions.build(),
    )


def endpoints(ports: Iterable[Expose], node: Node | None) -> list[str]:
    """Where users reach the exposed TCP ports: the node's management address, the host's port.

    `ports` are the Guest's as soon as there is one: what a Stack asks for may have been refused.
    """
    addresses = node.status.addresses if node else None
    host = addresses.management if addresses else None
    if host is None and node is not None and node.spec.addresses is not None:
        host = node.spec.addresses.management
    if host is None:
        return []
    shown = f"[{host}]" if ":" in host else host
    numbers = sorted(each.host_port for each in ports if each.host_port and each.protocol == Protocol.TCP)
    return [f"http://{shown}:{port}" for port in numbers]


def _address6(claim: Claim, zone: NetworkZone | None) -> str | None:
    if zone is None or claim.address is None:
        return None
    return addresses.beside(claim.address, zone.spec.cidrs)


def converged(guest: Guest) -> bool:
    """Whether the agent has made this generation of the Guest so, with this document if it has one."""
    current = guest.status.observed_generation == guest.metadata.generation
    running = guest.spec.run_policy == RunPolicy.RUNNING
    compose = guest.spec.compose
    documented = compose is None or guest.status.compose_digest == compose.digest or not running
    return current and documented and is_true(guest.status, Type.READY)


def _own_steps(
    conditions: Conditions, stack: Stack, findings: Findings, guest: Guest | None, *, by_others: bool
) -> None:
    verdict = findings.license
    conditions.set(Type.LICENSED, verdict.licensed, verdict.reason, verdict.message)
    problem = findings.problem
    reached = problem.step if problem is not None else None
    if reached == Type.LICENSED:
        return
    if reached == Type.RENDERED and problem is not None:
        conditions.false(Type.RENDERED, problem.refused.reason, problem.refused.message)
        return
    if stack.spec.adopt is not None:
        conditions.true(Type.RENDERED, Reason.ADOPTED, "nothing is rendered: what runs in it is its own")
    elif reached != Type.SCHEDULED or problem is None or problem.refused.reason != Reason.ZONE_NOT_FOUND:
        conditions.true(Type.RENDERED, Reason.COMPOSE_VALID, "; ".join(findings.notes))
    if problem is not None:
        conditions.false(Type.SCHEDULED, problem.refused.reason, problem.refused.message)
    elif findings.claim is not None:
        text = _placed(findings.claim, guest, findings.stray, by_others=by_others)
        conditions.true(Type.SCHEDULED, Reason.PLACED, text)


def _placed(claim: Claim, guest: Guest | None, stray: str, *, by_others: bool) -> str:
    text = f"on {claim.node}" + (f" with {claim.address}" if claim.address is not None else "")
    if stray:
        text += f"; {stray}"
    elif claim.moving_to is not None and by_others:
        text += f"; somebody else moved it to {claim.moving_to}, and it is driven there from now on"
    elif claim.failed_move is not None:
        text += f"; moving to {claim.failed_move.node} failed: {claim.failed_move.message}"
    elif claim.moving_to is not None:
        text += f"; on its way to {claim.moving_to}"
    if guest is not None and guest.spec.maintenance:
        text += f"; stopped while {claim.node} is in maintenance"
    return text


def _guest_steps(conditions: Conditions, guest: Guest | None) -> None:
    """The agent's own words, in the Stack's order."""
    told = {each.type: each for each in guest.status.conditions} if guest is not None else {}
    for step in GUEST_STEPS:
        found: Condition | None = told.get(step)
        if found is None:
            conditions.unknown(step, Reason.PENDING)
            continue
        value = {ConditionStatus.TRUE: True, ConditionStatus.FALSE: False}.get(found.status)
        conditions.set(step, value, found.reason, found.message)


def _outcome(
    conditions: Conditions, observed: Observed, stack: Stack, findings: Findings, guest: Guest | None
) -> None:
    problem, claim = findings.problem, findings.claim
    if stack.deleting:
        conditions.reconciling(Reason.DELETING, _why_it_stays(observed))
    elif problem is not None:
        refused = problem.refused
        message = refused.message + ("; what was deployed before keeps running" if guest is not None else "")
        (conditions.stalled if refused.stalled else conditions.reconciling)(refused.reason, message)
    elif findings.waiting:
        conditions.unknown(Type.READY, Reason.PAUSED, f"spec.paused keeps {findings.waiting} changes back")
    elif claim is not None and claim.moving_to is not None:
        text = f"the guest moves from {claim.node} to {claim.moving_to}"
        conditions.reconciling(Reason.MIGRATING, text)
    elif guest is None:
        moved = bool(observed.own)
        text = "the guest has arrived and is taken over" if moved else "the guest is being created"
        conditions.reconciling(Reason.MIGRATING if moved else Reason.PROGRESSING, text)
    elif observed.node is None or _lost(observed.node):
        name = claim.node if claim else ""
        conditions.unknown(
            Type.READY, Reason.AGENT_LOST, f"Node {name} does not report; nobody knows how the guest is"
        )
    elif guest.spec.maintenance:
        _in_maintenance(conditions, guest, observed.node.name)
    else:
        _from_guest(conditions, guest, stack.spec.run_policy or RunPolicy.RUNNING)


def _in_maintenance(conditions: Conditions, guest: Guest, node: str) -> None:
    """Once it is stopped nothing goes on any more, and nothing is to be mended by anybody."""
    text = f"Node {node} is in maintenance; the guest is started again when that is over"
    if is_down(guest):
        conditions.false(Type.READY, Reason.MAINTENANCE, text)
    else:
        conditions.reconciling(Reason.MAINTENANCE, text)


def _from_guest(conditions: Conditions, guest: Guest, run_policy: RunPolicy) -> None:
    ready = next((each for each in guest.status.conditions if each.type == Type.READY), None)
    current = guest.status.observed_generation == guest.metadata.generation
    if guest.deleting:
        conditions.reconciling(Reason.PROGRESSING, "the guest is removed and made anew")
    elif converged(guest):
        _as_wanted(conditions, guest, run_policy)
    elif ready is None or not current:
        conditions.reconciling(Reason.PROGRESSING, "waits for the node's agent")
    elif is_true(guest.status, Type.STALLED):
        conditions.stalled(ready.reason, ready.message)
    else:
        waiting = ready.status == ConditionStatus.TRUE
        reason = Reason.PROGRESSING if waiting else ready.reason
        conditions.reconciling(reason, "services are brought up" if waiting else ready.message)


def _as_wanted(conditions: Conditions, guest: Guest, run_policy: RunPolicy) -> None:
    if guest.spec.adopt is not None and run_policy == RunPolicy.RUNNING:
        conditions.ready(Reason.ADOPTED, "it runs; whether what is in it serves is not looked at")
    else:
        conditions.ready(OUTCOME[run_policy])


def _lost(node: Node) -> bool:
    return any(
        each.type == Type.READY and each.reason == Reason.AGENT_LOST for each in node.status.conditions
    )


def _why_it_stays(observed: Observed) -> str:
    if observed.guests:
        where = sorted({each.namespace for each in observed.guests})
        silent = "; its node does not report" if observed.node is None or _lost(observed.node) else ""
        return f"waits until the guest is gone from {', '.join(where)}{silent}"
    return "waits until the zone is gone from the node" if observed.attachment else "is being removed"
