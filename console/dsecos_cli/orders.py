"""What a Stack's guest is told to do: whether it may be told now, what is written, and when it is done.

Pure: a Stack in, a patch or a refusal out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsecos_api import Stack, Type
from dsecos_api.lifecycle import LifecycleState, Order, refusal
from dsecos_api.types import RunPolicy

from dsecos_cli.errors import CliError
from dsecos_cli.overview import next_step
from dsecos_cli.steps import Verdict, condition, seen, verdict

TARGETS: Mapping[Order, tuple[RunPolicy, LifecycleState]] = {
    Order.START: (RunPolicy.RUNNING, LifecycleState.RUNNING),
    Order.STOP: (RunPolicy.STOPPED, LifecycleState.STOPPED),
    Order.SUSPEND: (RunPolicy.SUSPENDED, LifecycleState.SUSPENDED),
    Order.RESUME: (RunPolicy.RUNNING, LifecycleState.RUNNING),
}
"""The orders that are a value of spec.runPolicy, and the state that they lead to."""

_FIRST: Mapping[LifecycleState, str] = {
    LifecycleState.STOPPED: "dsecos start",
    LifecycleState.SUSPENDED: "dsecos resume",
}
"""The order to give first, where a guest at rest refuses another one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an order takes. `patch` is a JSON merge patch; None: the spec says it already.

    `done`: the guest is there already.
    """

    patch: Mapping[str, Any] | None
    done: bool = False


def plan_run_policy(stack: Stack, order: Order) -> Plan:
    """What `start`, `stop`, `suspend` or `resume` takes. Raises CliError where it is refused.

    An order that takes back one that is not carried out yet is no transition, so no state refuses it.
    """
    policy, target = TARGETS[order]
    state = stack.status.state
    declared = (stack.spec.run_policy or RunPolicy.RUNNING) is policy
    if declared and state is target:
        return Plan(None, done=True)
    check_free(stack)
    under_way = declared and not (order is Order.RESUME and state is LifecycleState.STOPPED)
    if state is not target and not under_way:
        check_state(stack, order, needs_guest=order in (Order.SUSPEND, Order.RESUME))
    return Plan(None if declared else {"spec": {"runPolicy": policy.value}})


def check_free(stack: Stack) -> None:
    """Raise CliError, with the way out, where no order at all would be carried out."""
    if stack.deleting:
        raise CliError(
            f"stack {stack.name} is being deleted",
            f"`dsecos status {stack.name} -n {stack.namespace}` shows what is still there.",
        )
    if stack.spec.paused:
        unpause = '--type merge -p \'{"spec":{"paused":null}}\''
        raise CliError(
            f"stack {stack.name} is paused: nothing would be done",
            f"Let it go on first: kubectl -n {stack.namespace} patch stack {stack.name} {unpause}",
        )


def check_state(stack: Stack, order: Order, *, needs_guest: bool = True) -> None:
    """Raise CliError, with the order to give first, where the guest's present state refuses this one."""
    state = stack.status.state
    if state is None:
        if needs_guest:
            raise CliError(f"stack {stack.name} has no guest yet", next_step(stack))
        return
    why = refusal(state, order)
    if why is not None:
        first = _FIRST.get(state, "Wait until that is over: dsecos guests")
        raise CliError(f"stack {stack.name}: {why}", f"{first} {stack.name} -n {stack.namespace}")


def arrived(stack: Stack, target: LifecycleState) -> bool:
    """Whether the guest is in that state by the present spec; one that runs is to serve, too."""
    if target is LifecycleState.RUNNING and verdict(stack) is not Verdict.READY:
        return False
    return seen(stack) and stack.status.state is target


def describe(stack: Stack) -> str:
    """Where the guest is, and the words of the condition that does not hold."""
    state = stack.status.state.value if stack.status.state else "no guest yet"
    ready = condition(stack, Type.READY)
    if ready is None or not seen(stack) or verdict(stack) is Verdict.READY:
        return state
    return f"{state}  {ready.reason}: {ready.message}" if ready.message else f"{state}  {ready.reason}"
