"""Objects that several tests make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dsecos_api

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
