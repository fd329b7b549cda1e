"""Objects that several tests make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dsecos_api
from dsecos_api.names import node_namespace

CHECKOUT = Path(dsecos_api.__file__).parents[2]
CATALOG = CHECKOUT / "manifests" / "catalog"

Object = dict[str, Any]


def api_object(kind: str, name: str, spec: Object, **metadata: Any) -> Object:
    """An object of dsecos.io."""
    metadata = {"name": name, **metadata}
    return {"apiVersion": dsecos_api.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def stack_object(name: str = "shop", **spec: Any) -> Object:
    """A Stack of the catalog's first template, with fields replaced."""
    wanted = {
        "template": {"name": "node-postgres", "values": {"env": "dev"}},
        "zone": "backend",
        "resources": {"cpu": "1", "memory": "1Gi", "disk": "2Gi"},
    }
    return api_object("Stack", name, {**wanted, **spec})


def zone_object(name: str = "backend", cidr: str = "10.20.0.0/24") -> Object:
    """A network zone."""
    return api_object("NetworkZone", name, {"cidrs": [cidr]})


def condition(type_: str, status: str, reason: str, message: str = "") -> Object:
    """A condition as a controller writes it."""
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-20T10:00:00Z",
    }


def guest_object(name: str, node: str, namespace: str, stack: str = "shop") -> Object:
    """The Guest of a Stack on a node, as the operator writes it."""
    wanted = {
        "stackRef": {"namespace": namespace, "name": stack, "uid": "6f1f9c0e-8d3f-4f43-9f7a-0a1a2a3a4a5a"},
        "type": "container",
        "hostname": stack,
        "epoch": 1,
        "image": "debian-13-docker",
        "resources": {"cpu": "1", "memory": "1Gi", "disk": "2Gi"},
        "idMap": {"base": 1_000_000, "count": 65_536},
        "network": {
            "attachment": "backend-9f8e7d6c",
            "address": "10.20.0.2",
            "prefixLength": 24,
            "gateway": "10.20.0.1",
            "mac": "02:1a:2b:3c:4d:5e",
        },
        "compose": {"document": "services: {}", "digest": "sha256:0"},
        "runPolicy": "Running",
        "deletionPolicy": "Delete",
    }
    return api_object("Guest", name, wanted, namespace=node_namespace(node))


def lifecycle(state: str, cause: str, *past: tuple[str | None, str, str]) -> Object:
    """Where a guest is, and (from, to, cause) of what it went through, the newest first."""
    time = "2026-11-20T10:00:00Z"
    transitions = [
        {
            **({"from": before} if before else {}),
            "to": after,
            "cause": why,
            "message": f"{why}!",
            "time": time,
        }
        for before, after, why in past
    ]
    return {"state": state, "since": time, "cause": cause, "transitions": transitions}
