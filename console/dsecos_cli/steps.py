"""A Stack's conditions as steps in the order of the work, and whether it has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dsecos_api import Condition, ConditionStatus, Reason, Stack, Type
from dsecos_api.conditions import STACK_STEPS

STEP_NAMES: Mapping[str, str] = {
    Type.LICENSED: "License checked",
    Type.RENDERED: "Compose rendered and validated",
    Type.SCHEDULED: "Placed on a node",
    Type.VOLUMES_READY: "Volumes mounted",
    Type.NETWORK_READY: "Firewall rules in force",
    Type.GUEST_READY: "Guest running",
    Type.DOCKER_READY: "Docker ready",
    Type.SERVICES_READY: "Services healthy",
    Type.REGISTERED: "Registered",
}


class StepState(StrEnum):
    """How far a step is."""

    DONE = "done"
    BUSY = "busy"
    FAILED = "failed"
    WAITING = "waiting"
    UNUSED = "unused"
    """It is not set up, or the guest's own business; that keeps nothing from serving."""


@dataclass(frozen=True)
class Step:
    """One step of a deployment."""

    type: str
    name: str
    state: StepState
    reason: str
    message: str
    since: str


class Verdict(StrEnum):
    """Whether the Stack has arrived where its spec wants it."""

    READY = "ready"
    STALLED = "stalled"
    """It will not go on without a change."""
    GOING = "going"


def condition(stack: Stack, type_: str) -> Condition | None:
    """One condition of a Stack."""
    return next((c for c in stack.status.conditions if c.type == type_), None)


def holds(stack: Stack, type_: str) -> bool:
    """Whether a condition is True."""
    found = condition(stack, type_)
    return found is not None and found.status is ConditionStatus.TRUE


def seen(stack: Stack) -> bool:
    """Whether the operator has looked at the present spec; before that its status is about an older one."""
    return (
        stack.metadata.generation is not None
        and stack.status.observed_generation == stack.metadata.generation
    )


def verdict(stack: Stack) -> Verdict:
    """Whether it serves, will not go on, or is under way."""
    if not seen(stack):
        return Verdict.GOING
    if holds(stack, Type.READY):
        return Verdict.READY
    return Verdict.STALLED if holds(stack, Type.STALLED) else Verdict.GOING


def steps(stack: Stack) -> list[Step]:
    """The steps in the order of the work.

    Of those that do not hold one is busy or failed: the first that says no, else the first.
    """
    found = [(type_, condition(stack, type_)) for type_ in STACK_STEPS]
    open_ = [(type_, current) for type_, current in found if _state(current) is StepState.WAITING]
    refusing = [type_ for type_, current in open_ if current and current.status is ConditionStatus.FALSE]
    focus = next(iter(refusing), next((type_ for type_, _ in open_), None))
    at_focus = StepState.FAILED if verdict(stack) is Verdict.STALLED else StepState.BUSY
    return [
        Step(
            type=str(type_),
            name=STEP_NAMES[type_],
            state=at_focus if type_ is focus else _state(current),
            reason=current.reason if current else "",
            message=current.message if current else "",
            since=(current.last_transition_time or "") if current else "",
        )
        for type_, current in found
    ]


def _state(current: Condition | None) -> StepState:
    if current is None:
        return StepState.WAITING
    if current.reason in (Reason.NOT_CONFIGURED, Reason.ADOPTED):
        return StepState.UNUSED
    return StepState.DONE if current.status is ConditionStatus.TRUE else StepState.WAITING
