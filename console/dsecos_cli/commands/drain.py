"""`dsecos drain` and `dsecos undrain`: a node is emptied for maintenance, and taken back."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from dsecos_api import Condition, ConditionStatus, Node, Reason, Type
from dsecos_api.node import DrainPolicy

from dsecos_cli.board import board_on
from dsecos_cli.cluster import Cluster
from dsecos_cli.commands.orders import Timeout, Wait
from dsecos_cli.completion import complete_node
from dsecos_cli.context import Kubeconfig, open_cluster
from dsecos_cli.errors import CliError, ExitCode
from dsecos_cli.follow import until
from dsecos_cli.options import parse_duration
from dsecos_cli.resources import NODE
from dsecos_cli.terminal import note, stderr

NodeName = Annotated[str, typer.Argument(help="Node.", autocompletion=complete_node)]


def drain(
    node: NodeName,
    *,
    policy: Annotated[
        DrainPolicy | None,
        typer.Option(
            help="MoveOrStop: what cannot be moved is stopped. Move: what cannot be moved keeps running."
            " Stop: all are stopped. Stay: all keep running. Default: the Node's, else MoveOrStop.",
            show_default=False,
        ),
    ] = None,
    max_unavailable: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Guests at the same time. Default: the Node's, else 1.", show_default=False
        ),
    ] = None,
    ignore_disruption_groups: Annotated[
        bool | None,
        typer.Option(
            "--ignore-disruption-groups/--respect-disruption-groups",
            help="Whether a stack may go while another one of its group is down. Default: the Node's.",
            show_default=False,
        ),
    ] = None,
    wait: Wait = True,
    timeout: Timeout = "30m",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Put a node into maintenance: nothing new is placed there, its guests are moved or stopped."""
    longest = parse_duration(timeout, "--timeout")
    cluster = open_cluster(kubeconfig)
    raw = cluster.get(NODE, node)
    if Node.parse(raw).spec.paused:
        raise CliError(
            f"node {node} is paused: nothing would be done",
            f"Let it go on first: kubectl patch nodes.dsecos.io {node} --type merge"
            ' -p \'{"spec":{"paused":null}}\'',
        )
    settings = {
        "policy": policy.value if policy else None,
        "maxUnavailable": max_unavailable,
        "ignoreDisruptionGroups": ignore_disruption_groups,
    }
    given = {key: value for key, value in settings.items() if value is not None}
    spec: dict[str, Any] = {"maintenance": True, **({"drain": given} if given else {})}
    changed = Node.parse(cluster.merge_patch(raw, {"spec": spec}))
    note(f"node {node} is in maintenance: {how(changed)}")
    note(f"`dsecos undrain {node}` ends it.")
    if wait:
        _follow(cluster, changed, longest)


def undrain(node: NodeName, *, kubeconfig: Kubeconfig = None) -> None:
    """End a node's maintenance: guests that were stopped for it start again, new ones may come."""
    cluster = open_cluster(kubeconfig)
    raw = cluster.get(NODE, node)
    if not Node.parse(raw).spec.maintenance:
        note(f"node {node} is not in maintenance")
        return
    cluster.merge_patch(raw, {"spec": {"maintenance": None}})
    note(f"node {node} is not in maintenance any more; guests that were stopped for it start again")
    note("What was moved away stays where it is: `dsecos migrate` brings it back.")


def how(node: Node) -> str:
    """What becomes of the node's guests, for people."""
    settings = node.spec.drain
    policy = (settings.policy if settings else None) or DrainPolicy.MOVE_OR_STOP
    most = (settings.max_unavailable if settings else None) or 1
    fate = {
        DrainPolicy.MOVE_OR_STOP: "guests are moved, and stopped where that cannot be",
        DrainPolicy.MOVE: "guests are moved; those that cannot be keep running",
        DrainPolicy.STOP: "guests are stopped",
        DrainPolicy.STAY: "guests keep running",
    }[policy]
    return fate if policy is DrainPolicy.STAY else f"{fate}, {most} at a time"


def progress(node: Node) -> str:
    """How far it is, for people."""
    found = node.status.drain
    if found is None:
        return "waits for the operator"
    text = f"{found.remaining} of {found.total} still run, {found.moving} on the way, {found.stopped} stopped"
    return text + (f"; waiting: {'; '.join(found.waiting)}" if found.waiting else "")


def outcome(node: Node) -> Condition | None:
    """What the operator says of the present spec, when it is at an end; None while it is under way."""
    found = next((c for c in node.status.conditions if c.type == Type.DRAINED), None)
    if found is None or found.reason not in (Reason.DRAINED, Reason.MAINTENANCE):
        return None
    current = (found.observed_generation or node.metadata.generation) == node.metadata.generation
    return found if current else None


def _follow(cluster: Cluster, node: Node, timeout: float) -> None:
    if node.spec.drain and node.spec.drain.policy is DrainPolicy.STAY:
        return
    ways = f"It goes on: `dsecos drain {node.name}` follows it, `dsecos undrain {node.name}` undoes it."
    last = node

    def look(elapsed: float) -> Condition | None:
        nonlocal last
        last = Node.parse(cluster.get(NODE, node.name))
        if not last.spec.maintenance:
            raise CliError(f"the maintenance of node {node.name} was ended meanwhile")
        end = outcome(last)
        if end is not None and end.status is not ConditionStatus.TRUE:
            raise CliError(
                f"node {node.name} is in maintenance and not empty: {end.message}",
                f"`dsecos drain {node.name} --policy MoveOrStop` stops them.",
            )
        board.tell(node.name, "drained" if end else progress(last), elapsed, done=end is not None)
        return end

    def late() -> CliError:
        return CliError(
            f"node {node.name} is not drained after {timeout:.0f} s: {progress(last)}",
            ways,
            ExitCode.TIMEOUT,
        )

    try:
        with board_on(stderr()) as board:
            until(look, timeout, late)
    except KeyboardInterrupt:
        note(ways)
        raise
