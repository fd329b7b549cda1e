"""`dsecos adopt`: a container or VM that is there already becomes a Stack, as it is."""

from __future__ import annotations

from typing import Annotated

import typer
from dsecos_api import API_VERSION, Node, Stack
from dsecos_api.lifecycle import LifecycleState
from dsecos_api.types import DeletionPolicy, EngineId, GuestType, RunPolicy
from pydantic import TypeAdapter, ValidationError

from dsecos_cli.cluster import Cluster
from dsecos_cli.commands.orders import Timeout, Wait
from dsecos_cli.completion import complete_node
from dsecos_cli.conduct import follow_all
from dsecos_cli.context import Kubeconfig, Namespace, open_cluster
from dsecos_cli.errors import CliError, DeniedError, NotFoundError, UsageError
from dsecos_cli.options import parse_duration, parse_name, parse_quantity
from dsecos_cli.orders import arrived
from dsecos_cli.resources import NODE, STACK, Object
from dsecos_cli.terminal import Output, note, print_structured

ADOPT = "Adopt"


def adopt(
    stack: Annotated[str, typer.Argument(help="Name of the Stack that it becomes.")],
    *,
    node: Annotated[
        str, typer.Option(metavar="NODE", help="Node that it is on.", autocompletion=complete_node)
    ],
    id_: Annotated[
        str,
        typer.Option("--id", metavar="ID", help="Its VMID (Proxmox VE), or its name in lxc-ls (LXC)."),
    ],
    cpu: Annotated[str, typer.Option(help="CPU cores that it may use, for example 2 or 500m.")],
    memory: Annotated[str, typer.Option(help="Memory that it may use, for example 2Gi.")],
    disk: Annotated[str, typer.Option(help="Size of its root disk; one that is smaller is made larger.")],
    type_: Annotated[GuestType, typer.Option("--type", help="What it is.")] = GuestType.CONTAINER,
    stopped: Annotated[
        bool, typer.Option("--stopped", help="Stop it, or leave it stopped. Default: it is to run.")
    ] = False,
    namespace: Namespace = None,
    wait: Wait = True,
    timeout: Timeout = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; print the Stack.")] = False,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Take over a container or VM as it is; `kubectl delete stack` gives it back."""
    longest = parse_duration(timeout, "--timeout")
    resources = {
        name: parse_quantity(value, f"--{name}")
        for name, value in (("cpu", cpu), ("memory", memory), ("disk", disk))
    }
    spec: Object = {
        "adopt": {"node": parse_name(node, "--node"), "id": _engine_id(id_)},
        "type": type_.value,
        "resources": resources,
        "runPolicy": (RunPolicy.STOPPED if stopped else RunPolicy.RUNNING).value,
        "deletionPolicy": DeletionPolicy.ORPHAN.value,
    }
    name = parse_name(stack, "STACK")
    cluster = None if dry_run and namespace else open_cluster(kubeconfig)
    metadata = {"name": name, "namespace": namespace or (cluster.namespace if cluster else "default")}
    wanted: Object = {"apiVersion": API_VERSION, "kind": "Stack", "metadata": metadata, "spec": spec}
    if cluster is None or dry_run:
        print_structured(wanted, Output.YAML)
        return
    check_node(cluster, node, type_)
    made = Stack.parse(_create(cluster, wanted))
    note(f"stack {made.namespace}/{made.name} takes over {type_.value} {id_} of node {node}")
    if wait:
        target = LifecycleState.STOPPED if stopped else LifecycleState.RUNNING
        follow_all(cluster, [(made, lambda now: arrived(now, target))], longest)


def check_node(cluster: Cluster, name: str, kind: GuestType) -> None:
    """Raise CliError where what the Node reports rules it out. Who may not read Nodes is not kept."""
    try:
        found = cluster.find(NODE, name)
    except DeniedError:
        note("this user may not read Nodes: whether it can be taken over is found out by trying")
        return
    if found is None:
        raise NotFoundError(f"there is no node {name}", "`kubectl get nodes.dsecos.io` shows those that are.")
    node = Node.parse(found)
    if f"{kind.value}/{ADOPT}" not in node.status.capabilities:
        raise CliError(
            f"the engine of node {name} ({node.spec.engine.type.value}) does not offer {kind.value}/{ADOPT}",
            f"`kubectl get nodes.dsecos.io {name} -o yaml` shows its capabilities.",
        )


def _create(cluster: Cluster, wanted: Object) -> Object:
    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    if cluster.find(STACK, name, namespace) is not None:
        raise CliError(
            f"there is a stack {namespace}/{name} already",
            "Choose another name: what a Stack has taken over cannot be changed.",
        )
    return cluster.create(wanted)


def _engine_id(text: str) -> str:
    try:
        return str(TypeAdapter(EngineId).validate_python(text))
    except ValidationError as error:
        raise UsageError(
            f"--id {text!r} is no id of an engine", "Give a VMID such as 105, or the name that lxc-ls shows."
        ) from error
