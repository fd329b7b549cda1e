"""Waits until a Stack has arrived: looks, tells, looks again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dsecos_api import Stack, Type

from dsecos_cli.cluster import Cluster
from dsecos_cli.errors import CliError, ExitCode, NotFoundError, UnreachableError
from dsecos_cli.overview import next_step
from dsecos_cli.resources import STACK
from dsecos_cli.steps import Verdict, condition, seen, verdict

INTERVAL = 0.25
"""Seconds between two looks: one GET of one object."""


@dataclass(frozen=True)
class Clock:
    """Seconds since whenever, and how to let some pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


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

    `timeout` in seconds. An API server that is away for a while is waited for.

    Raises CliError: code NO when the Stack is stalled, TIMEOUT when the time is over, NOT_FOUND when it was
    deleted.
    """
    start = clock.now()
    unreachable: UnreachableError | None = None
    stack: Stack | None = None
    while True:
        try:
            stack = Stack.parse(cluster.get(STACK, name, namespace))
            unreachable = None
        except NotFoundError as error:
            raise NotFoundError(f"stack {name} was deleted meanwhile") from error
        except UnreachableError as error:
            unreachable = error
        elapsed = clock.now() - start
        if stack is not None and unreachable is None:
            if seen(stack) or stack.status.observed_generation is None:
                tell(stack, elapsed)
            if verdict(stack) is Verdict.READY:
                return stack
            if verdict(stack) is Verdict.STALLED:
                raise _stalled(stack)
        if elapsed >= timeout:
            raise unreachable or _late(stack, name, namespace, timeout)
        clock.sleep(min(INTERVAL, timeout - elapsed))


def _stalled(stack: Stack) -> CliError:
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
