"""Carries orders out: reads the Stacks, writes, and follows several of them to the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dsecos_api import Guest, Stack
from dsecos_api.names import node_namespace

from dsecos_cli.board import board_on
from dsecos_cli.cluster import Cluster
from dsecos_cli.errors import CliError, DeniedError, ExitCode
from dsecos_cli.follow import get_stack, stalled, until
from dsecos_cli.orders import describe
from dsecos_cli.resources import GUEST, STACK
from dsecos_cli.steps import Verdict, verdict
from dsecos_cli.terminal import note, stderr

Done = Callable[[Stack], bool]
"""Whether a Stack is where it is wanted."""


def read_stacks(cluster: Cluster, names: Sequence[str], namespace: str | None) -> list[Stack]:
    """The Stacks that were named, each once. Raises NotFoundError."""
    place = namespace or cluster.namespace
    return [Stack.parse(cluster.get(STACK, name, place)) for name in dict.fromkeys(names)]


def send(cluster: Cluster, stack: Stack, patch: Mapping[str, Any], said: str) -> None:
    """Write an order and say so."""
    cluster.merge_patch(stack.to_dict(), patch)
    note(f"stack {stack.namespace}/{stack.name}: {said}")


def follow_all(cluster: Cluster, wanted: Sequence[tuple[Stack, Done]], timeout: float) -> None:
    """Look until all Stacks are where they are wanted, and show how they go.

    Raises CliError: code NO for one that is stalled, TIMEOUT when the time is over.
    """
    open_ = {stack.name: (stack, done) for stack, done in wanted}
    last = {stack.name: stack for stack, _ in wanted}

    def look(elapsed: float) -> bool | None:
        for name, (stack, done) in list(open_.items()):
            last[name] = now = get_stack(cluster, name, stack.namespace)
            over = done(now)
            board.tell(name, describe(now), elapsed, done=over)
            if over:
                del open_[name]
            elif verdict(now) is Verdict.STALLED:
                raise stalled(now)
        return None if open_ else True

    try:
        with board_on(stderr()) as board:
            until(look, timeout, lambda: _late([last[name] for name in open_], timeout))
    except KeyboardInterrupt:
        note("It goes on by itself: `dsecos guests` shows how it is.")
        raise


def read_guest(cluster: Cluster, stack: Stack) -> Guest | None:
    """The Stack's Guest; None if there is none or this user may not read it."""
    if not stack.status.node or not stack.status.guest:
        return None
    try:
        raw = cluster.find(GUEST, stack.status.guest, node_namespace(stack.status.node))
    except DeniedError:
        return None
    return Guest.parse(raw) if raw else None


def _late(stacks: Sequence[Stack], timeout: float) -> CliError:
    where = "; ".join(f"stack {stack.name} is {describe(stack)}" for stack in stacks)
    return CliError(
        f"after {timeout:.0f} s {where}",
        "It goes on by itself: `dsecos guests` shows how it is. --timeout waits longer.",
        ExitCode.TIMEOUT,
    )
