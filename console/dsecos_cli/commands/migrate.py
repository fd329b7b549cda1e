"""`dsecos migrate`: a Stack's guest moves to another node of the same engine's cluster."""

from __future__ import annotations

from typing import Annotated

import typer
from dsecos_api import Node, Reason, Stack
from dsecos_api.lifecycle import LifecycleState, Order
from dsecos_api.types import GuestType, RunPolicy

from dsecos_cli.advice import ADVICE
from dsecos_cli.cluster import Cluster
from dsecos_cli.commands.orders import Timeout, Wait
from dsecos_cli.completion import complete_node, complete_stack
from dsecos_cli.conduct import Done, follow_all, read_stacks, send
from dsecos_cli.context import Kubeconfig, Namespace, open_cluster
from dsecos_cli.errors import CliError, DeniedError, NotFoundError
from dsecos_cli.options import parse_duration, parse_name
from dsecos_cli.orders import arrived, check_free, check_state
from dsecos_cli.resources import NODE
from dsecos_cli.terminal import note


def migrate(
    stack: Annotated[str, typer.Argument(help="Stack.", autocompletion=complete_stack)],
    *,
    to: Annotated[str, typer.Option(metavar="NODE", help="Node to move to.", autocompletion=complete_node)],
    namespace: Namespace = None,
    wait: Wait = True,
    timeout: Timeout = "30m",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Move a stack's guest to another node, running or stopped as it is."""
    longest = parse_duration(timeout, "--timeout")
    parse_name(to, "--to")
    cluster = open_cluster(kubeconfig)
    [found] = read_stacks(cluster, [stack], namespace)
    declared = found.spec.placement.node if found.spec.placement else None
    if found.status.node == to and declared in (None, to):
        note(f"stack {found.namespace}/{found.name} is on node {to} already")
        return
    check_free(found)
    if found.status.node != to:
        if declared == to:
            check_failure(found, to)
        else:
            check_state(found, Order.MIGRATE)
        check_nodes(cluster, found, to)
    if declared == to:
        note(f"stack {found.namespace}/{found.name}: placement.node is {to} already")
    else:
        send(cluster, found, {"spec": {"placement": {"node": to}}}, f"placement.node is {to} now")
    if wait:
        follow_all(cluster, [(found, moved(found, to))], longest)


def check_nodes(cluster: Cluster, stack: Stack, to: str) -> None:
    """Raise CliError where what the nodes report rules the move out. Who may not read Nodes is not kept."""
    try:
        nodes = {raw["metadata"]["name"]: Node.parse(raw) for raw in cluster.list(NODE)}
    except DeniedError:
        note("this user may not read Nodes: whether the move is possible is found out by trying")
        return
    if to not in nodes:
        raise NotFoundError(f"there is no node {to}", f"There are: {', '.join(sorted(nodes)) or 'none'}")
    source = nodes.get(stack.status.node or "")
    why = obstacle(stack.spec.type or GuestType.CONTAINER, source, nodes[to])
    if why:
        raise CliError(
            f"stack {stack.name} cannot move to {to}: {why}",
            "docs/lifecycle.md tells what a move takes; `kubectl get nodes.dsecos.io -o yaml` has the facts.",
        )


def obstacle(kind: GuestType, source: Node | None, target: Node) -> str:
    """Why guests cannot be moved from one node to the other; empty if nothing that is known forbids it."""
    if target.deleting:
        return f"node {target.name} is being removed"
    if target.spec.maintenance:
        return f"node {target.name} is in maintenance"
    if source is None:
        return "the node that it is on is not known"
    capability = f"{kind.value}/{Order.MIGRATE.value}"
    for node in (source, target):
        if capability not in node.status.capabilities:
            return (
                f"the engine of node {node.name} ({node.spec.engine.type.value}) does not offer {capability}"
            )
    here, there = source.status.engine_cluster, target.status.engine_cluster
    if here is None or here != there:
        return (
            f"nodes {source.name} and {target.name} are not in the same cluster of their engine"
            f" ({here or 'none'} and {there or 'none'})"
        )
    return ""


def moved(before: Stack, to: str) -> Done:
    """Whether the Stack has arrived, running or stopped as its spec asks.

    The function raises CliError when the move has failed since.
    """
    old = before.status.failed_move

    def done(stack: Stack) -> bool:
        if stack.status.failed_move != old:
            check_failure(stack, to)
        rest = stack.spec.run_policy is RunPolicy.STOPPED
        target = LifecycleState.STOPPED if rest else LifecycleState.RUNNING
        return stack.status.node == to and stack.status.moving_to is None and arrived(stack, target)

    return done


def check_failure(stack: Stack, to: str) -> None:
    """Raise CliError if the Stack, as it is now, could not be moved there and is not tried again yet."""
    failed = stack.status.failed_move
    if failed is None or failed.node != to or failed.generation != stack.metadata.generation:
        return
    raise CliError(
        f"stack {stack.name} was not moved: {failed.message}", ADVICE[Reason.MIGRATION_FAILED].action
    )
