"""`dsecos diff`: what an apply would change, and what each change does to the running application."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from dsecos_api import Stack

from dsecos_cli.changes import change_lines, to_dict
from dsecos_cli.cluster import Cluster
from dsecos_cli.context import Kubeconfig, Namespace, OutputOption, open_cluster
from dsecos_cli.errors import ExitCode, NotFoundError, RefusedError, UsageError
from dsecos_cli.fields import Change, changes
from dsecos_cli.merge import last_applied, three_way
from dsecos_cli.options import parse_quantity, parse_values
from dsecos_cli.resources import SECRET, STACK, Object, resource_of
from dsecos_cli.terminal import Output, print_error, print_structured, stdout, styled

KUBECTL = "kubectl"
"""Field manager of `kubectl apply --server-side`."""


@dataclass(frozen=True)
class Judged:
    """What became of one object in the dry run."""

    title: str
    created: bool = False
    found: list[Change] = field(default_factory=list)
    refused: RefusedError | None = None
    secret: bool = False


def diff(
    stack: Annotated[
        str | None, typer.Argument(help="Stack whose values would change.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--filename",
            "-f",
            help="File with objects as you would apply it; - is standard input.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of the stack's template. Repeatable.",
            show_default=False,
        ),
    ] = None,
    cpu: Annotated[str | None, typer.Option(help="CPU cores.", show_default=False)] = None,
    memory: Annotated[str | None, typer.Option(help="Memory.", show_default=False)] = None,
    disk: Annotated[str | None, typer.Option(help="Disk of the guest.", show_default=False)] = None,
    namespace: Namespace = None,
    field_manager: Annotated[
        str,
        typer.Option(help="Field manager of the server-side apply that is tried."),
    ] = KUBECTL,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what would change, field by field, without changing it, and what each change does.

    The API server judges a dry run, so what validation refuses shows here too. Exit codes as diff(1): 0
    nothing differs, 1 something differs, above 1 an error.
    """
    if (stack is None) == (file is None):
        raise UsageError("name either a stack with --set, or a file with -f")
    cluster = open_cluster(kubeconfig)
    place = namespace or cluster.namespace
    if file is not None:
        if set_ or cpu or memory or disk:
            raise UsageError("--set, --cpu, --memory and --disk go with a stack, not with a file")
        judged = [_try(cluster, obj, place, field_manager) for obj in read_objects(file)]
    else:
        resources = {"cpu": cpu, "memory": memory, "disk": disk}
        patch = _patch(
            set_ or [], {key: parse_quantity(value, f"--{key}") for key, value in resources.items() if value}
        )
        judged = [_try_patch(cluster, stack or "", place, patch)]
    _write(judged, output)
    if any(one.refused for one in judged):
        raise typer.Exit(ExitCode.REFUSED)
    if any(one.found for one in judged):
        raise typer.Exit(ExitCode.NO)


def read_objects(file: Path) -> list[Object]:
    """The objects of a YAML file, Lists unpacked; `-` is standard input. Raises UsageError."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    found = [obj for document in documents for obj in _unpack(document)]
    for obj in found:
        if not isinstance(obj, dict) or not (obj.get("metadata") or {}).get("name"):
            raise UsageError(
                f"{file} holds something that is no object with a name",
                "Each document wants apiVersion, kind and metadata.name.",
            )
    if not found:
        raise UsageError(f"{file} holds no object")
    return found


def _unpack(document: Any) -> Iterator[Any]:
    if isinstance(document, dict) and document.get("kind") == "List":
        yield from document.get("items") or []
    else:
        yield document


def _try(cluster: Cluster, obj: Object, namespace: str, manager: str) -> Judged:
    resource = resource_of(obj)
    meta = obj["metadata"]
    if resource.namespaced:
        obj = {**obj, "metadata": {"namespace": namespace, **meta}}
    place = obj["metadata"].get("namespace")
    title = f"{resource.kind} {place + '/' if place else ''}{meta['name']}"
    live = cluster.find(resource, meta["name"], place)
    try:
        after = _dry_run(cluster, obj, live, manager)
    except NotFoundError as error:
        return Judged(title, refused=RefusedError(error.message, error.hint))
    except RefusedError as error:
        return Judged(title, refused=error)
    return Judged(title, live is None, changes(live or {}, after, resource.model), secret=resource is SECRET)


def _dry_run(cluster: Cluster, obj: Object, live: Object | None, manager: str) -> Object:
    """What the object would be. Takes the way that `kubectl apply` took before with this object."""
    previous = last_applied(live) if live else None
    if live is not None and previous is not None:
        return cluster.merge_patch(live, three_way(previous, obj, live), dry_run=True)
    return cluster.apply(obj, manager=manager, force=True, dry_run=True)


def _patch(pairs: list[str], resources: dict[str, str]) -> Object:
    if not pairs and not resources:
        raise UsageError(
            "nothing to compare", "Add --set KEY=VALUE, --cpu, --memory or --disk, or name a file with -f."
        )
    spec: Object = {}
    if pairs:
        spec["template"] = {"values": parse_values(pairs, (), str)}
    if resources:
        spec["resources"] = resources
    return {"spec": spec}


def _try_patch(cluster: Cluster, name: str, namespace: str, patch: Object) -> Judged:
    live = cluster.get(STACK, name, namespace)
    title = f"Stack {namespace}/{name}"
    if "template" in patch["spec"] and "template" not in live["spec"]:
        raise UsageError(
            f"stack {name} has a compose document of its own, so it has no values", "Use -f FILE."
        )
    try:
        return Judged(title, found=changes(live, cluster.merge_patch(live, patch, dry_run=True), Stack))
    except RefusedError as error:
        return Judged(title, refused=error)


def _write(judged: list[Judged], output: Output) -> None:
    if output.structured:
        print_structured([_to_dict(one) for one in judged], output)
        return
    for one in judged:
        if one.refused:
            stdout().print(styled(f"{one.title}: refused"))
            print_error(one.refused)
        elif one.created:
            stdout().print(styled(f"{one.title}: would be created"))
        elif one.found:
            stdout().print(
                styled(f"{one.title}: {len(one.found)} field{'s' if len(one.found) > 1 else ''} would change")
            )
            for line in change_lines(one.found, hide_values=one.secret):
                stdout().print(line)


def _to_dict(one: Judged) -> dict[str, Any]:
    if one.refused:
        causes = [{"field": where, "message": why} for where, why in one.refused.causes]
        return {"object": one.title, "result": "refused", "message": one.refused.message, "causes": causes}
    result = "created" if one.created else "changed" if one.found else "same"
    found = [] if one.created else [to_dict(change, hide_values=one.secret) for change in one.found]
    return {"object": one.title, "result": result, "changes": found}
