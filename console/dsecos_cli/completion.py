"""What the shell completes: names that the API server knows. Without one nothing is completed."""

from __future__ import annotations

import typer

from dsecos_cli.context import open_cluster
from dsecos_cli.errors import CliError
from dsecos_cli.resources import NODE, STACK, Resource


def complete_stack(ctx: typer.Context, incomplete: str) -> list[str]:
    """Stacks of the namespace."""
    return _names(ctx, STACK, incomplete)


def complete_node(ctx: typer.Context, incomplete: str) -> list[str]:
    """Nodes."""
    return _names(ctx, NODE, incomplete)


def _names(ctx: typer.Context, resource: Resource, incomplete: str) -> list[str]:
    try:
        cluster = open_cluster(ctx.params.get("kubeconfig"))
        namespace = (ctx.params.get("namespace") or cluster.namespace) if resource.namespaced else None
        names = [str(raw["metadata"]["name"]) for raw in cluster.list(resource, namespace)]
    except CliError:
        return []
    return [name for name in names if name.startswith(incomplete)]
