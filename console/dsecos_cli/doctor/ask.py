"""Looks at the cluster."""

from __future__ import annotations

from pathlib import Path

from dsecos_api import License, Node, Type
from dsecos_api.base import KubeObject
from dsecos_api.conditions import Condition, ConditionStatus

from dsecos_cli.cluster import connect
from dsecos_cli.doctor.model import ClusterFacts
from dsecos_cli.doctor.proxmox import look_at
from dsecos_cli.errors import UnreachableError
from dsecos_cli.resources import LICENSE, NODE
from dsecos_cli.settings import Settings


def ask(settings: Settings, kubeconfig: Path | None) -> ClusterFacts:
    """Everything that the API server tells. Raises nothing: `error` says that it was not reached."""
    try:
        cluster = connect(settings, kubeconfig)
        version = cluster.version()
        missing = cluster.missing_kinds()
        if missing:
            return ClusterFacts(cluster.address, version, missing_kinds=missing)
        licenses = [_ready(License.parse(raw)) for raw in cluster.list(LICENSE)]
        nodes = [Node.parse(raw) for raw in cluster.list(NODE)]
    except UnreachableError as error:
        return ClusterFacts(error=error.message, hint=error.hint)
    best = max(licenses, default=None)
    return ClusterFacts(
        address=cluster.address,
        version=version,
        license_reason=best[1] if best else None,
        licensed=bool(best and best[0]),
        nodes={node.name: _ready(node) for node in nodes},
        proxmox=tuple(facts for node in nodes if (facts := look_at(cluster, node)) is not None),
    )


def _ready(obj: KubeObject) -> tuple[bool, str]:
    conditions: list[Condition] = getattr(getattr(obj, "status", None), "conditions", [])
    ready = next((c for c in conditions if c.type == Type.READY), None)
    if ready is None:
        return False, ""
    return ready.status is ConditionStatus.TRUE, ready.reason
