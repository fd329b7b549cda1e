"""`dsecos deploy`: a template of the catalog becomes a running application."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from dsecos_api import Stack

from dsecos_cli import manifest
from dsecos_cli.catalog import Entry, find_catalog, load_entry, template_names
from dsecos_cli.changes import change_lines
from dsecos_cli.cluster import Cluster, ConflictError
from dsecos_cli.context import Kubeconfig, Namespace, open_cluster
from dsecos_cli.errors import CliError, NotFoundError, UsageError
from dsecos_cli.fields import changes
from dsecos_cli.follow import follow
from dsecos_cli.options import (
    SecretRef,
    parse_duration,
    parse_expose,
    parse_name,
    parse_network,
    parse_quantity,
    parse_secret,
    parse_values,
    parse_volume,
)
from dsecos_cli.progress import progress_on
from dsecos_cli.resources import NAMESPACE, SECRET, STACK, ZONE, Object
from dsecos_cli.settings import Settings
from dsecos_cli.terminal import Output, note, print_structured, stderr, stdout, styled

DEFAULT_ZONE = "default"
"""Name of the zone that --create-zone makes where --zone names none."""
PASSWORD_BYTES = 24


def _complete_template(ctx: typer.Context, incomplete: str) -> list[str]:
    try:
        return [
            n
            for n in template_names(find_catalog(Settings(), ctx.params.get("catalog")))
            if n.startswith(incomplete)
        ]
    except CliError:
        return []


def deploy(
    template: Annotated[
        str, typer.Argument(help="Template of the catalog.", autocompletion=_complete_template)
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="Name of the stack. Default: the template's.", show_default=False)
    ] = None,
    namespace: Namespace = None,
    zone: Annotated[
        str | None, typer.Option(help="Network zone. Default: the namespace's only one.", show_default=False)
    ] = None,
    create_zone: Annotated[
        str | None,
        typer.Option(
            metavar="CIDR", help="Create the zone with this network if it is missing.", show_default=False
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of the template; read as YAML. Repeatable.",
            show_default=False,
        ),
    ] = None,
    set_file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=FILE", help="A value from a file, as text. Repeatable.", show_default=False
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SECRET/KEY",
            help="Where a secret value comes from. Those not named get a generated password. Repeatable.",
            show_default=False,
        ),
    ] = None,
    cpu: Annotated[
        str | None, typer.Option(help="CPU cores, for example 2 or 500m.", show_default=False)
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Memory, for example 2Gi.", show_default=False)] = None,
    disk: Annotated[
        str | None, typer.Option(help="Disk of the guest, for example 10Gi.", show_default=False)
    ] = None,
    expose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[HOST:]PORT[/PROTO]", help="Port to open, with --from. Repeatable.", show_default=False
        ),
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="CIDR",
            help="Network that may connect; 0.0.0.0/0 is everyone. Repeatable.",
            show_default=False,
        ),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SIZE[,pool=POOL][,keep=POLICY]",
            help="Size and fate of a volume. Repeatable.",
            show_default=False,
        ),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(help="Directory of the catalog.", envvar="DSECOS_CATALOG", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it serves and show the steps.")
    ] = True,
    timeout: Annotated[str, typer.Option(help="Longest wait, for example 90s or 5m.")] = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; print the Stack.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take over fields that another writer set.")] = False,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="How the Stack is written.", show_default=False)
    ] = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Deploy a template of the catalog, or change what was deployed: the command line says the whole
    Stack.
    """
    entry = load_entry(find_catalog(Settings(), catalog), template)
    given = dict(parse_secret(text) for text in secret or ())
    sources = [parse_network(text, "--from") for text in from_ or ()]
    longest = parse_duration(timeout, "--timeout")
    stack_name = parse_name(name or template, "--name")
    resources = {
        key: parse_quantity(value, f"--{key}")
        for key, value in (("cpu", cpu), ("memory", memory), ("disk", disk))
        if value
    }
    cluster = None if dry_run and namespace and zone else open_cluster(kubeconfig)
    place = namespace or (cluster.namespace if cluster else "default")
    wish = manifest.Wish(
        name=stack_name,
        namespace=place,
        zone=_zone_name(cluster, place, zone, create_zone),
        values=parse_values(set_ or (), set_file or (), _read),
        secrets={**_generated(entry, given, stack_name), **given},
        resources=resources,
        expose=_ports(expose, sources),
        sources=sources,
        volumes=[parse_volume(text) for text in volume or ()],
    )
    stack = manifest.build_stack(entry, wish)
    if cluster is None or dry_run:
        print_structured(stack, output if output and output.structured else Output.YAML)
        return
    _require_namespace(cluster, place)
    _ensure_zone(cluster, wish.zone, place, create_zone)
    _ensure_passwords(cluster, stack_name, place, _generated(entry, given, stack_name))
    _hint_exposure(entry, stack)
    began = time.monotonic()
    applied = _apply(cluster, stack, force=force)
    final = _follow(cluster, stack_name, place, longest) if wait else Stack.parse(applied)
    _report(cluster, final, output, time.monotonic() - began if wait else None)


def _read(name: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--set-file {name}: {error}") from error


def _ports(texts: Sequence[str] | None, sources: Sequence[str]) -> list[Object] | None:
    if texts and not sources:
        raise UsageError(
            "--expose opens a port to nobody without --from", "Add --from CIDR; --from 0.0.0.0/0 is everyone."
        )
    return [parse_expose(text, sources) for text in texts] if texts else None


def _generated(entry: Entry, given: Mapping[str, SecretRef], stack: str) -> dict[str, SecretRef]:
    """Secret values that the template wants and the command line does not name."""
    return {n: SecretRef(manifest.secret_name(stack), n) for n in entry.secrets if n not in given}


def _zone_name(cluster: Cluster | None, namespace: str, named: str | None, create: str | None) -> str:
    if named or cluster is None:
        return named or DEFAULT_ZONE
    zones = [raw["metadata"]["name"] for raw in cluster.list(ZONE, namespace)]
    if len(zones) == 1:
        return str(zones[0])
    if not zones:
        if create:
            return DEFAULT_ZONE
        raise UsageError(
            f"namespace {namespace} has no network zone",
            "Add --create-zone CIDR, for example --create-zone 10.20.0.0/24.",
        )
    raise UsageError(f"namespace {namespace} has several zones: {', '.join(zones)}", "Name one with --zone.")


def _require_namespace(cluster: Cluster, namespace: str) -> None:
    if cluster.find(NAMESPACE, namespace) is None:
        raise NotFoundError(f"there is no namespace {namespace}", f"kubectl create namespace {namespace}")


def _ensure_zone(cluster: Cluster, name: str, namespace: str, cidr: str | None) -> None:
    if cluster.find(ZONE, name, namespace) is not None:
        return
    if cidr is None:
        raise NotFoundError(
            f"namespace {namespace} has no zone {name}", "Add --create-zone CIDR to create it."
        )
    cluster.create(manifest.zone(name, namespace, parse_network(cidr, "--create-zone")))
    note(f"network zone {name} created: {cidr}, nothing passes that is not exposed")


def _ensure_passwords(cluster: Cluster, stack: str, namespace: str, wanted: Mapping[str, SecretRef]) -> None:
    if not wanted:
        return
    live = cluster.find(SECRET, manifest.secret_name(stack), namespace)
    missing = [key for key in wanted if key not in ((live or {}).get("data") or {})]
    if not missing:
        return
    passwords = {key: secrets.token_urlsafe(PASSWORD_BYTES) for key in missing}
    if live is None:
        cluster.create(manifest.password_secret(stack, namespace, passwords))
    else:
        cluster.merge_patch(live, {"stringData": passwords})
    name = manifest.secret_name(stack)
    note(f"generated {', '.join(missing)} in Secret {name}; it stays when the stack is deleted")


def _hint_exposure(entry: Entry, stack: Object) -> None:
    if "expose" not in stack["spec"] and entry.expose:
        port = entry.expose[0]["port"]
        note(
            f"no port is exposed; --from 0.0.0.0/0 opens {port} of the guest,"
            f" --expose {port}:{port} --from 0.0.0.0/0 also {port} of the node"
        )


def _apply(cluster: Cluster, stack: Object, *, force: bool) -> Object:
    meta = stack["metadata"]
    live = cluster.find(STACK, meta["name"], meta["namespace"])
    try:
        applied = cluster.apply(stack, force=force)
    except ConflictError as error:
        raise ConflictError(
            error.message,
            "Change it where it is kept (a file, Git), or take those fields over with --force.",
            error.causes,
        ) from error
    if live is None:
        note(f"stack {meta['namespace']}/{meta['name']} created")
    else:
        found = changes(live, applied, Stack)
        note(f"stack {meta['namespace']}/{meta['name']} " + ("changed" if found else "is as asked already"))
        for line in change_lines(found):
            stderr().print(line)
    return applied


def _follow(cluster: Cluster, name: str, namespace: str, timeout: float) -> Stack:
    try:
        with progress_on(stderr()) as progress:
            return follow(cluster, name, namespace, timeout, progress.update)
    except KeyboardInterrupt:
        note(f"It goes on by itself: `dsecos status {name} -n {namespace} -w` follows it.")
        raise


def _report(cluster: Cluster, stack: Stack, output: Output | None, seconds: float | None) -> None:
    if output and output.structured:
        print_structured(cluster.get(STACK, stack.name, stack.namespace), output)
        return
    if seconds is not None:
        note(f"ready after {seconds:.1f} s")
    for endpoint in stack.status.endpoints:
        stdout().print(styled(endpoint))
