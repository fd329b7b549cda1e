"""`dsecos guests`: where each guest is in its life, since when and why."""

from __future__ import annotations

from typing import Annotated

import typer
from dsecos_api import Guest, Stack

from dsecos_cli.ages import utcnow
from dsecos_cli.cluster import Cluster
from dsecos_cli.completion import complete_stack
from dsecos_cli.context import Kubeconfig, Namespace, OutputOption, open_cluster
from dsecos_cli.errors import DeniedError, NotFoundError, UsageError
from dsecos_cli.lives import lives, render, render_transitions
from dsecos_cli.resources import GUEST, STACK, Object
from dsecos_cli.terminal import Output, note, print_structured, show


def guests(
    stack: Annotated[
        str | None,
        typer.Argument(help="Stack whose guest to show.", autocompletion=complete_stack, show_default=False),
    ] = None,
    *,
    namespace: Namespace = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Guests of all namespaces.")
    ] = False,
    transitions: Annotated[
        bool, typer.Option("--transitions", help="Show what each guest went through, and why.")
    ] = False,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show where guests are in their lives: state, since when, why, where.

    Who may not read Guests sees what the Stacks tell.
    """
    if stack and all_namespaces:
        raise UsageError("a stack lives in one namespace: -A goes without a name", "Use -n NAMESPACE.")
    cluster = open_cluster(kubeconfig)
    place = None if all_namespaces else namespace or cluster.namespace
    stacks = cluster.list(STACK, place)
    found = read_guests(cluster, place)
    if stack is not None:
        stacks = [raw for raw in stacks if raw["metadata"]["name"] == stack]
        found = None if found is None else [raw for raw in found if raw["spec"]["stackRef"]["name"] == stack]
        if not stacks and not found:
            raise NotFoundError(f"namespace {place} has no stack {stack}", "`dsecos guests -A` lists all.")
    if output.structured:
        print_structured({"stacks": stacks, "guests": found or []}, output)
        return
    rows = lives(map(Stack.parse, stacks), map(Guest.parse, found or ()))
    if transitions:
        show(render_transitions(rows, utcnow()))
    else:
        show(render(rows, utcnow(), namespaces=all_namespaces, wide=output is Output.WIDE))
    if found is None and (transitions or output is Output.WIDE):
        note("This user may not read Guests; cause, time, id and history are there.")


def read_guests(cluster: Cluster, namespace: str | None) -> list[Object] | None:
    """The Guests of a tenant, or of all; None if this user may not read them."""
    try:
        return cluster.list(
            GUEST, fields=f"spec.stackRef.namespace={namespace}" if namespace is not None else ""
        )
    except DeniedError:
        return None
