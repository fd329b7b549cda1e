"""`dsecos status`: what runs, where, since when, why not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer
from dsecos_api import Stack
from dsecos_api.names import node_namespace
from rich.console import RenderableType

from dsecos_cli.ages import utcnow
from dsecos_cli.cluster import Cluster
from dsecos_cli.completion import complete_stack
from dsecos_cli.context import Kubeconfig, Namespace, OutputOption, open_cluster
from dsecos_cli.errors import ExitCode, UnreachableError, UsageError
from dsecos_cli.overview import Overview, newest_first, render_overview, render_stack
from dsecos_cli.resources import EVENT, NODE, STACK, ZONE, Object
from dsecos_cli.steps import Verdict, verdict
from dsecos_cli.terminal import Output, print_structured, show, stdout

T = TypeVar("T")

WATCH_INTERVAL = 2.0
"""Seconds between two looks of `--watch`."""


def status(
    stack: Annotated[
        str | None,
        typer.Argument(help="Stack to show in detail.", autocompletion=complete_stack, show_default=False),
    ] = None,
    *,
    namespace: Namespace = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Stacks and zones of all namespaces.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again whenever it changes, until Ctrl-C.")
    ] = False,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show stacks, zones and nodes, or everything about one stack.

    Exit code 1 if the stack named is not ready.
    """
    if stack and all_namespaces:
        raise UsageError("a stack lives in one namespace: -A goes without a name", "Use -n NAMESPACE.")
    cluster = open_cluster(kubeconfig)
    place = namespace or cluster.namespace
    if stack is None:
        _show(
            lambda: read_overview(cluster, None if all_namespaces else place),
            output,
            watch=watch,
            all_=all_namespaces,
        )
        return
    found = _show_stack(cluster, stack, place, output, watch=watch)
    if verdict(found) is not Verdict.READY:
        raise typer.Exit(ExitCode.NO)


def read_overview(cluster: Cluster, namespace: str | None) -> Overview:
    """Read what the overview shows; no namespace: all of them."""
    return Overview(cluster.list(STACK, namespace), cluster.list(ZONE, namespace), cluster.list(NODE))


def read_events(cluster: Cluster, stack: Object) -> list[Object]:
    """The last events about a Stack and its Guest, newest first.

    A tenant may not look into a node's namespace; then the Stack's own are all.
    """
    meta, status = stack["metadata"], stack.get("status", {})
    found = cluster.list(EVENT, meta["namespace"], fields=f"involvedObject.uid={meta['uid']}")
    if status.get("node") and status.get("guest"):
        about = f"involvedObject.kind=Guest,involvedObject.name={status['guest']}"
        with contextlib.suppress(UnreachableError):
            found += cluster.list(EVENT, node_namespace(status["node"]), fields=about)
    return newest_first(found)


def _show(read: Callable[[], Overview], output: Output, *, watch: bool, all_: bool) -> None:
    def write(found: Overview) -> None:
        if output.structured:
            print_structured(found.to_dict(), output)
        else:
            _print(render_overview(found, utcnow(), namespaces=all_, wide=output is Output.WIDE), clear=watch)

    _repeat(read, write, watch=watch)


def _show_stack(cluster: Cluster, name: str, namespace: str, output: Output, *, watch: bool) -> Stack:
    def read() -> tuple[Object, list[Object]]:
        raw = cluster.get(STACK, name, namespace)
        return raw, read_events(cluster, raw)

    def write(found: tuple[Object, list[Object]]) -> None:
        raw, events = found
        if output.structured:
            print_structured({"stack": raw, "events": events}, output)
        else:
            _print(render_stack(Stack.parse(raw), events, utcnow()), clear=watch)

    return Stack.parse(_repeat(read, write, watch=watch)[0])


def _repeat(read: Callable[[], T], write: Callable[[T], None], *, watch: bool) -> T:
    """Write what was read; with `watch` again whenever it differs, until Ctrl-C."""
    seen = read()
    write(seen)
    try:
        while watch:
            time.sleep(WATCH_INTERVAL)
            found = read()
            if found != seen:
                seen = found
                write(seen)
    except KeyboardInterrupt:
        pass
    return seen


def _print(what: RenderableType, *, clear: bool) -> None:
    if clear:
        stdout().clear()
    show(what)
