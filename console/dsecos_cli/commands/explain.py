"""`dsecos explain`: whether a connection passes, and which rule allows or denies it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from dsecos_api import Guest, NetworkZone, Node, Stack

from dsecos_cli.cluster import Cluster
from dsecos_cli.completion import complete_stack
from dsecos_cli.context import Kubeconfig, Namespace, OutputOption, open_cluster
from dsecos_cli.errors import DeniedError, ExitCode
from dsecos_cli.explaining.ends import FORMS, NODE, resolve
from dsecos_cli.explaining.judge import judge
from dsecos_cli.explaining.model import Port
from dsecos_cli.explaining.objects import Objects
from dsecos_cli.explaining.render import render, to_dict
from dsecos_cli.resources import GUEST, STACK, ZONE, Object, Resource
from dsecos_cli.resources import NODE as NODES
from dsecos_cli.settings import Settings
from dsecos_cli.terminal import Output, note, print_structured, show


def explain(
    sender: Annotated[
        str, typer.Argument(metavar="FROM", help=f"Who connects: {FORMS}.", autocompletion=complete_stack)
    ],
    receiver: Annotated[
        str, typer.Argument(metavar="TO", help="Whom to: as FROM.", autocompletion=complete_stack)
    ],
    port: Annotated[str, typer.Argument(metavar="PORT", help="80, 80/tcp, 53/udp or icmp.")],
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say whether a connection passes, which rule allows or denies it, and what to change.

    The answer comes from NetworkZones, Stacks, Guests and Nodes; no packet is sent. Exit codes: 0 it passes,
    1 it does not.
    """
    wanted = Port.parse(port)
    cluster = open_cluster(kubeconfig)
    place = namespace or cluster.namespace
    objects = read(cluster, _namespaces((sender, receiver), place))
    verdict = judge(objects, resolve(objects, sender, place), resolve(objects, receiver, place), wanted)
    if output.structured:
        print_structured({"from": sender, "to": receiver, "port": str(wanted), **to_dict(verdict)}, output)
    else:
        show(render(verdict, wide=output is Output.WIDE))
    if not verdict.allowed:
        raise typer.Exit(ExitCode.NO)


def read(cluster: Cluster, namespaces: Iterable[str]) -> Objects:
    """Everything, or what this user may read of these namespaces. Raises DeniedError if that is nothing."""
    try:
        zones, stacks = cluster.list(ZONE), cluster.list(STACK)
    except DeniedError:
        own = sorted(set(namespaces))
        zones = [raw for each in own for raw in cluster.list(ZONE, each)]
        stacks = [raw for each in own for raw in cluster.list(STACK, each)]
        note(
            f"This user sees the zones and Stacks of {', '.join(own)} only:"
            " addresses of other guests count as outside."
        )
    guests, nodes = _readable(cluster, GUEST), _readable(cluster, NODES)
    if nodes is None:
        note("This user may not read Nodes: their addresses count as outside.")
    return Objects(
        [NetworkZone.parse(raw) for raw in zones],
        [Stack.parse(raw) for raw in stacks],
        [Guest.parse(raw) for raw in guests or ()],
        [Node.parse(raw) for raw in nodes or ()],
        registry_port=Settings().registry_port + 1,
    )


def _readable(cluster: Cluster, resource: Resource) -> list[Object] | None:
    try:
        return cluster.list(resource)
    except DeniedError:
        return None


def _namespaces(words: Iterable[str], default: str) -> list[str]:
    named = [word.partition("/")[0] for word in words if "/" in word and not word.startswith(NODE)]
    return [default, *named]
