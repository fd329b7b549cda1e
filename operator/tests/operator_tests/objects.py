"""Objects as the API server gives them, for tests of pure parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dsecos_api import Guest, NetworkZone, Node, Stack
from dsecos_api.names import OPERATOR_FINALIZER, guest_name
from dsecos_operator.scheduling import Occupant
from dsecos_operator.stacks import desired
from dsecos_operator.stacks.claim import claim_of


def node(
    name: str = "node-1",
    *,
    memory: str = "8Gi",
    cpu: str = "4",
    guests: str = "10",
    ready: bool = True,
    labels: dict[str, str] | None = None,
    capabilities: Sequence[str] = (),
    tunnel: str | None = None,
    tunnel_mtu: int | None = None,
    **spec: Any,
) -> Node:
    """A server that reports."""
    condition = {"type": "Ready", "status": "True", "reason": "AgentReporting"}
    if not ready:
        condition = {"type": "Ready", "status": "Unknown", "reason": "AgentLost"}
    count = {"cpu": cpu, "memory": memory, "guests": guests}
    return Node.parse(
        {
            "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1, "labels": labels or {}},
            "spec": {
                "engine": {"type": "lxc"},
                "pools": [{"name": "default", "type": "dir", "path": "/p"}],
                **spec,
            },
            "status": {
                "conditions": [condition],
                "capacity": count,
                "allocatable": count,
                "addresses": {"management": "192.0.2.1", "tunnel": tunnel},
                "tunnelMtu": tunnel_mtu,
                "capabilities": list(capabilities),
            },
        }
    )


def peer(number: int, **more: Any) -> Node:
    """Node `node-<number>` of a cluster whose nodes can take every zone."""
    values: dict[str, Any] = {
        "capabilities": ["container/Adopt", "zone/vxlan", "zone/vlan", "zone/ipv6"],
        "tunnel": f"192.0.2.{number}",
        "tunnel_mtu": 1500,
    }
    return node(f"node-{number}", **{**values, **more})


def zone(
    cidr: str = "10.20.0.0/24",
    cidr6: str | None = None,
    *,
    name: str = "backend",
    namespace: str = "acme",
    **more: Any,
) -> NetworkZone:
    """A zone that was judged, if it is local and has no IPv6 network."""
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}", "generation": 1}
    gateway = cidr.rpartition(".")[0] + ".1"
    return NetworkZone.parse(
        {
            "metadata": {**metadata, **more.pop("metadata", {})},
            "status": more.pop("status", {"gateway": gateway}),
            "spec": {"cidrs": [cidr, *([cidr6] if cidr6 else [])], **more},
        }
    )


def naming(*zones: str, **more: Any) -> dict[str, Any]:
    """`spec.peers` that names zones of namespace acme."""
    return {"peers": [{"namespace": "acme", "zone": each, **more} for each in zones]}


def placed(name: str, on: str, address: str, *, zone: str = "backend", **status: Any) -> Stack:
    """A Stack that has a place."""
    claim = {"node": on, "guest": guest_name("acme", name, f"uid-{name}"), "epoch": 1, "address": address}
    return stack(name, zone=zone, status={**claim, **status})


def guest(of: Stack, on: str, document: str = "{}") -> Guest:
    """The Guest of a placed Stack on a node."""
    claim = claim_of(of)
    assert claim is not None
    home = zone(name=of.spec.zone or "")
    return desired.guest(
        of, home, replace(claim, node=on), document=document, secret_digest=None, id_base=1_000_000
    )


def stack(name: str = "shop", **more: Any) -> Stack:
    """A Stack of namespace acme."""
    metadata = {"name": name, "namespace": "acme", "uid": f"uid-{name}", "generation": 1}
    metadata["finalizers"] = [OPERATOR_FINALIZER] if more.pop("finalizer", False) else []
    return Stack.parse(
        {
            "metadata": {**metadata, **more.pop("metadata", {})},
            "status": more.pop("status", {}),
            "spec": {
                "compose": {"inline": "services: {web: {image: a}}"},
                "zone": "backend",
                "resources": {"cpu": "500m", "memory": "1Gi", "disk": "1Gi"},
                **more,
            },
        }
    )


def adopting(name: str = "old", *, on: str = "node-1", engine_id: str = "105", **more: Any) -> Stack:
    """A Stack that takes over what is there."""
    raw = stack(name, **more).to_dict()
    spec = {key: value for key, value in raw["spec"].items() if key not in ("compose", "zone")}
    raw["spec"] = {**spec, "adopt": {"node": on, "id": engine_id}}
    return Stack.parse(raw)


def occupant(name: str, **more: Any) -> Occupant:
    """Somebody who has a place on node-1."""
    values: dict[str, Any] = {
        "namespace": "acme",
        "stack": name,
        "uid": f"uid-{name}",
        "node": "node-1",
        "zone": "backend",
        "address": "10.20.0.2",
        "cpu": 500,
        "memory": 2**30,
        "host_ports": frozenset(),
        "id_base": 1_000_000,
    }
    return Occupant(**{**values, **more})
