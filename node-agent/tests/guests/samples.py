"""A Guest, its zone and a node to resolve them on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from dsecos_agent.engines.model import Capabilities, Capability, ConfigDigest, GuestConfig, GuestKind
from dsecos_agent.guests.config import Node
from dsecos_agent.guests.desired import Wanted, wanted
from dsecos_api import Guest, ZoneAttachment

UID = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-00000000000f"
ZONE_UID = "5e0f6b8e-0000-4000-8000-0000000000aa"
NAMESPACE = "dsecos-node-node-1"

LXC = Capabilities(
    "lxc 5",
    {
        GuestKind.CONTAINER: frozenset(
            {
                Capability.SUSPEND,
                Capability.LIVE_LIMITS,
                Capability.EXEC,
                Capability.HOST_MOUNTS,
                Capability.ADOPT,
            }
        )
    },
)
PROXMOX = Capabilities(
    "proxmox 9",
    {
        GuestKind.CONTAINER: frozenset(
            {
                Capability.SUSPEND,
                Capability.LIVE_LIMITS,
                Capability.EXEC,
                Capability.HOST_MOUNTS,
                Capability.OWN_DISKS,
                Capability.RESIZE_DISK,
                Capability.MIGRATE,
                Capability.ADOPT,
            }
        )
    },
)

NODE = Node(
    prefix="dt",
    trust=Path("/home/run/registry-trust"),
    run=Path("/home/run"),
    registry_port=5001,
    pids=1000,
    pools={"default": Path("/pools/default"), "fast": Path("/pools/fast")},
    named_pools=frozenset({"default", "fast"}),
    default_pool="default",
    templates={"debian-13-docker": "abc"},
    template_pools={"default": frozenset({"abc"}), "fast": frozenset({"abc"})},
    capabilities=LXC,
)
PVE = replace(
    NODE, capabilities=PROXMOX, engine_node="pve1", pools={}, named_pools=frozenset(), template_pools={}
)

DOCUMENT = json.dumps(
    {"services": {"web": {"image": "node:20", "restart": "unless-stopped"}, "db": {"image": "postgres:17"}}}
)


OURS = ("image", "idMap", "network", "volumes", "compose")
"""What a guest that is taken over has none of."""


def spec(**changes: Any) -> dict[str, Any]:
    found = _spec(**changes)
    return {key: found[key] for key in found if key not in OURS} if "adopt" in changes else found


def _spec(**changes: Any) -> dict[str, Any]:
    return {
        "stackRef": {"namespace": "acme", "name": "shop", "uid": UID},
        "type": "container",
        "hostname": "shop",
        "epoch": 1,
        "image": "debian-13-docker",
        "resources": {"cpu": "1", "memory": "512Mi", "disk": "10Gi"},
        "idMap": {"base": 1000000, "count": 65536},
        "network": {
            "attachment": "backend-1",
            "address": "10.20.0.2",
            "prefixLength": 24,
            "gateway": "10.20.0.1",
            "mac": "02:00:0a:14:00:02",
            "ports": [{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"], "hostPort": 3000}],
        },
        "volumes": [{"name": "pgdata", "size": "5Gi", "deletionPolicy": "Retain"}],
        "compose": {"document": DOCUMENT, "digest": "d1"},
        "runPolicy": "Running",
        "deletionPolicy": "Delete",
        **changes,
    }


def guest(*, name: str = "shop-12345678", deleting: bool = False, **changes: Any) -> Guest:
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": "g-" + name,
        "generation": 1,
        "finalizers": ["dsecos.io/agent"],
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-21T00:00:00Z"
    return Guest.parse({"metadata": metadata, "spec": spec(**changes)})


def attachment(*, name: str = "backend-1", uid: str = ZONE_UID, **changes: Any) -> ZoneAttachment:
    return ZoneAttachment.parse(
        {
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": "z-" + name, "generation": 1},
            "spec": {
                "zoneRef": {"namespace": "acme", "name": "backend", "uid": uid},
                "cidrs": ["10.20.0.0/24"],
                "gateway": "10.20.0.1",
                "prefixLength": 24,
                "encapsulation": {"type": "local"},
                "mtu": 1500,
                "egress": {"mode": "Deny"},
                **changes,
            },
        }
    )


def digest(config: GuestConfig) -> ConfigDigest:
    """As an engine would: limits and autostart are in `full` only."""
    boot = replace(config, limits=type(config.limits)(), startup=type(config.startup)())
    return ConfigDigest(full=repr(config), boot=repr(boot))


def wish(
    *,
    node: Node = NODE,
    zone: ZoneAttachment | None = None,
    deleting: bool = False,
    link: str | None = None,
    **changes: Any,
) -> Wanted:
    return wanted(guest(deleting=deleting, **changes), zone or attachment(), node, digest, link)
