"""Waits until something has arrived: looks, tells, looks again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dsecos_api import Stack, Type

from dsecos_cli.cluster import Cluster
from dsecos_cli.errors import CliError, ExitCode, NotFoundError, UnreachableError
from dsecos_cli.overview import next_step
from dsecos_cli.resources import STACK
from dsecos_cli.steps import Verdict, condition, seen, verdict

T = TypeVar("T")

INTERVAL = 0.25
"""Seconds between two looks: one GET of one object."""


@dataclass(frozen=True)
class Clock:
    """Seconds since whenever, and how to let some pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def until(
    look: Callable[[float], T | None],
    timeout: float,
    late: Callable[[], CliError],
    *,
    clock: Clock = Clock(),
) -> T:
    """Look until something is found; `look` gets the seconds since the begin.

    `timeout` in seconds. An API server that is away for a while is waited for. Raises what `look` raises,
    and UnreachableError or what `late` gives when the time is over.
    """
    start = clock.now()
    while True:
        unreachable: UnreachableError | None = None
        try:
            found = look(clock.now() - start)
        except UnreachableError as error:
            found, unreachable = None, error
        if found is not None:
            return found
        elapsed = clock.now() - start
        if elapsed >= timeout:
            raise unreachable or late()
        clock.sleep(min(INTERVAL, timeout - elapsed))


def follow(
    cluster: Cluster,
    name: str,
    namespace: str,
    timeout: float,
    tell: Callable[[Stack, float], None],
    *,
    clock: Clock = Clock(),
) -> Stack:
    """Look until the Stack is ready, and tell what is found about its present spec.

    `timeout` in seconds. Raises CliError: code NO when the Stack is stalled, TIMEOUT when the time is over,
    NOT_FOUND when it was deleted.
    """
    last: Stack | None = None

    def look(elapsed: float) -> Stack | None:
        nonlocal last
        last = stack = get_stack(cluster, name, namespace)
        if seen(stack) or stack.status.observed_generation is None:
            tell(stack, elapsed)
        if verdict(stack) is Verdict.STALLED:
            raise stalled(stack)
        return stack if verdict(stack) is Verdict.READY else None

    return until(look, timeout, lambda: _late(last, name, namespace, timeout), clock=clock)


def get_stack(cluster: Cluster, name: str, namespace: str) -> Stack:
    """The Stack that is followed, as it is now. Raises NotFoundError when it was deleted."""
    try:
        return Stack.parse(cluster.get(STACK, name, namespace))
    except NotFoundError as error:
        raise NotFoundError(f"stack {name} was deleted meanwhile") from error


def stalled(stack: Stack) -> CliError:
    """What to say of a Stack that does not go on without a change."""
    ready = condition(stack, Type.STALLED) or condition(stack, Type.READY)
    why = f"{ready.reason}: {ready.message}" if ready and ready.message else (ready.reason if ready else "")
    return CliError(f"stack {stack.name} does not go on: {why}", next_step(stack))


def _late(stack: Stack | None, name: str, namespace: str, timeout: float) -> CliError:
    ready = condition(stack, Type.READY) if stack else None
    why = (
        f" ({ready.reason}: {ready.message})"
        if ready and ready.message
        else f" ({ready.reason})"
        if ready
        else ""
    )
    return CliError(
        f"stack {name} is not ready after {timeout:.0f} s{why}",
        f"It goes on by itself: `dsecos status {name} -n {namespace} -w` follows it. --timeout waits longer.",
        ExitCode.TIMEOUT,
    )
