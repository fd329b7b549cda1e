"""`dsecos start`, `stop`, `suspend`, `resume` and `restart`: orders to the guests of Stacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from dsecos_api import Node, Stack
from dsecos_api.lifecycle import LifecycleState, Order
from dsecos_api.names import ANNOTATION_RESTART

from dsecos_cli.ages import utcnow
from dsecos_cli.cluster import Cluster
from dsecos_cli.completion import complete_stack
from dsecos_cli.conduct import Done, follow_all, read_guest, read_stacks, send
from dsecos_cli.context import Kubeconfig, Namespace, open_cluster
from dsecos_cli.errors import CliError, DeniedError
from dsecos_cli.options import parse_duration
from dsecos_cli.orders import TARGETS, Plan, arrived, check_free, check_state, plan_run_policy
from dsecos_cli.resources import NODE
from dsecos_cli.steps import condition
from dsecos_cli.terminal import note

Stacks = Annotated[list[str], typer.Argument(help="Stacks.", autocompletion=complete_stack)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done and show how it goes.")]
Timeout = Annotated[str, typer.Option(help="Longest wait, for example 90s or 5m.")]
LONGEST = "5m"


def start(
    stacks: Stacks,
    *,
    namespace: Namespace = None,
    wait: Wait = True,
    timeout: Timeout = LONGEST,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Start the guests of stacks that are stopped."""
    _run_policy(Order.START, stacks, namespace, kubeconfig, timeout, wait=wait)


def stop(
    stacks: Stacks,
    *,
    namespace: Namespace = None,
    wait: Wait = True,
    timeout: Timeout = LONGEST,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Shut the guests of stacks down; they stay stopped until they are started."""
    _run_policy(Order.STOP, stacks, namespace, kubeconfig, timeout, wait=wait)


def suspend(
    stacks: Stacks,
    *,
    namespace: Namespace = None,
    wait: Wait = True,
    timeout: Timeout = LONGEST,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Freeze the running guests of stacks; they keep their memory."""
    _run_policy(Order.SUSPEND, stacks, namespace, kubeconfig, timeout, wait=wait)


def resume(
    stacks: Stacks,
    *,
    namespace: Namespace = None,
    wait: Wait = True,
    timeout: Timeout = LONGEST,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let suspended guests of stacks go on."""
    _run_policy(Order.RESUME, stacks, namespace, kubeconfig, timeout, wait=wait)


def restart(
    stacks: Stacks,
    *,
    namespace: Namespace = None,
    wait: Wait = True,
    timeout: Timeout = LONGEST,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Shut the running guests of stacks down and start them again, once."""
    longest = parse_duration(timeout, "--timeout")
    cluster = open_cluster(kubeconfig)
    found = read_stacks(cluster, stacks, namespace)
    for stack in found:
        check_free(stack)
        check_state(stack, Order.RESTART)
    token = utcnow().isoformat()
    for stack in found:
        send(cluster, stack, {"metadata": {"annotations": {ANNOTATION_RESTART: token}}}, "restart ordered")
    if wait:
        follow_all(cluster, [(stack, restarted(cluster, stack, token)) for stack in found], longest)


def restarted(cluster: Cluster, before: Stack, token: str) -> Done:
    """Whether the restart is over: the Guest says which request it carried out.

    Who may not read the Guest sees it in the Stack: its state or the time of its conditions changed.
    """
    stamps = _stamps(before)
    moved = False

    def done(stack: Stack) -> bool:
        nonlocal moved
        moved = moved or stack.status.state is not LifecycleState.RUNNING or _stamps(stack) != stamps
        if not arrived(stack, LifecycleState.RUNNING):
            return False
        guest = read_guest(cluster, stack)
        return moved if guest is None else guest.status.restart == token

    return done


def _run_policy(
    order: Order,
    names: Sequence[str],
    namespace: str | None,
    kubeconfig: Path | None,
    timeout: str,
    *,
    wait: bool,
) -> None:
    """Refuse what cannot be, of all Stacks, before anything is written; then write, then follow."""
    longest = parse_duration(timeout, "--timeout")
    cluster = open_cluster(kubeconfig)
    policy, target = TARGETS[order]
    plans: list[tuple[Stack, Plan]] = []
    for stack in read_stacks(cluster, names, namespace):
        plan = plan_run_policy(stack, order)
        if target is LifecycleState.RUNNING and not plan.done:
            _check_maintenance(cluster, stack)
        plans.append((stack, plan))
    for stack, plan in plans:
        if plan.done:
            note(f"stack {stack.namespace}/{stack.name} is {target.value} already")
        elif plan.patch is None:
            note(f"stack {stack.namespace}/{stack.name}: runPolicy is {policy.value} already")
        else:
            send(cluster, stack, plan.patch, f"runPolicy is {policy.value} now")
    if wait:
        open_ = [stack for stack, plan in plans if not plan.done]
        follow_all(cluster, [(stack, lambda now: arrived(now, target)) for stack in open_], longest)


def _check_maintenance(cluster: Cluster, stack: Stack) -> None:
    """A guest that is stopped because of its node is not started by its own Stack."""
    if stack.status.node is None or stack.status.state is not LifecycleState.STOPPED:
        return
    try:
        raw = cluster.find(NODE, stack.status.node)
    except DeniedError:
        return
    if raw and Node.parse(raw).spec.maintenance:
        raise CliError(
            f"stack {stack.name} is on node {stack.status.node}, which is in maintenance",
            f"When the maintenance is over: dsecos undrain {stack.status.node}",
        )


def _stamps(stack: Stack) -> tuple[str | None, ...]:
    found = (condition(stack, type_) for type_ in ("GuestReady", "DockerReady", "Ready"))
    return tuple(c.last_transition_time if c else None for c in found)
