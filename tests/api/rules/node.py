"""Rules of Node."""

from __future__ import annotations

from tests.api.objects import ABSENT
from tests.api.rules import (
    Pair,
    Rules,
    Table,
    below,
    between,
    cel,
    enum,
    fixed,
    max_items,
    max_length,
    minimum,
    pattern,
    required,
    unique,
)
from tests.api.rules.parts import (
    ADDRESS,
    HOST_FIREWALL,
    LABEL,
    PORT,
    SECRET_KEY_REF,
    STATUS,
    TIME,
    UPLINKS,
    quantity,
)

POOLS = [{"name": f"p{number}", "type": "dir", "path": "/srv"} for number in range(17)]
PROXMOX = {"url": "https://pve", "node": "pve1", "tokenSecretRef": {"name": "t", "key": "k"}}

STORAGE = (
    pattern(["local-zfs", "ab", "Ceph_1.x"], ["", "a", "1ab", "-ab", "ab-", "a b", "a/b", "ä1"]),
    max_length(100),
)
ADDRESSES: Rules = {".management": ADDRESS, ".tunnel": ADDRESS}
RESOURCE_COUNT: Rules = {
    "": required("cpu", "memory", "guests"),
    ".cpu": quantity(),
    ".memory": quantity(),
    ".guests": quantity(usual="100"),
    ".disk": quantity(),
}

TABLES = (
    Table(
        "Node",
        "rack1-a",
        {
            "": (
                *required("spec"),
                cel(
                    "the name of a Node is an RFC 1123 label (a-z, 0-9 and -) of at most 51 characters",
                    ["a", "a" * 51],
                    ["a" * 52, "rack1.example"],
                    field="metadata.name",
                ),
            ),
            "spec": required("engine"),
            "spec.engine": (
                *required("type"),
                cel(
                    "engine.proxmox goes with type proxmox, and only with it",
                    [{"type": "lxc"}, {"type": "proxmox", "proxmox": PROXMOX}],
                    [{"type": "lxc", "proxmox": PROXMOX}, {"type": "proxmox"}],
                ),
                fixed(
                    "engine.type cannot change; remove the Node and join it again",
                    [{"type": "lxc"}],
                    [{"type": "proxmox", "proxmox": PROXMOX}],
                ),
            ),
            "spec.engine.type": (Pair("enum", ("lxc",), ("LXC", "", "incus"), "Unsupported value"),),
            "spec.pools": (max_items(POOLS, 16), unique(POOLS[:2], [POOLS[0], POOLS[0]])),
            "spec.pools[]": required("name", "type", "path"),
            "spec.pools[].name": LABEL,
            "spec.pools[].type": (enum("dir", "btrfs", "zfs", "rbd"),),
            "spec.pools[].path": (pattern(["/", "/srv/pool"], ["", "srv", "./srv"]), max_length(1024, "/")),
            "spec.pools[].size": quantity(),
            **below("spec.addresses", ADDRESSES),
            "spec.reserved.cpu": quantity(),
            "spec.reserved.memory": quantity(),
            **below("spec.firewall", HOST_FIREWALL),
            **below("spec.uplinks", UPLINKS),
            "spec.hostPorts": (
                max_items([{"port": number} for number in range(1, 66)], 64),
                unique([{"port": 80}, {"port": 443}], [{"port": 80}, {"port": 80, "endPort": 81}]),
            ),
            "spec.hostPorts[]": (
                *required("port"),
                cel(
                    "port is above endPort",
                    [{"port": 80}, {"port": 80, "endPort": 80}, {"port": 80, "endPort": 81}],
                    [{"port": 81, "endPort": 80}],
                ),
            ),
            "spec.hostPorts[].port": PORT,
            "spec.hostPorts[].endPort": PORT,
            "spec.drain.policy": (enum("MoveOrStop", "Move", "Stop", "Stay"),),
            "spec.drain.maxUnavailable": between(1, 1000),
            **STATUS,
            "status.tunnelMtu": between(68, 65535),
            "status.engineCluster": (max_length(253),),
            "status.capabilities": (
                max_items([f"vm/{number}" for number in range(65)], 64),
                unique(["vm/Exec", "container/Exec"], ["vm/Exec", "vm/Exec"]),
            ),
            "status.drain": required("total", "stopped", "moving", "remaining"),
            "status.drain.total": (minimum(0),),
            "status.drain.stopped": (minimum(0),),
            "status.drain.moving": (minimum(0),),
            "status.drain.remaining": (minimum(0),),
            "status.drain.waiting": (
                max_items([f"acme/s{number}: paused" for number in range(17)], 16),
                unique(["a", "b"], ["a", "a"]),
            ),
            **below("status.addresses", ADDRESSES),
            **below("status.capacity", RESOURCE_COUNT),
            **below("status.allocatable", RESOURCE_COUNT),
            "status.nodeInfo.bootTime": TIME,
            "status.nodeInfo.securityModules": (max_items([f"m{number}" for number in range(33)], 32),),
            "status.guestImages": (max_items([f"i{number}" for number in range(65)], 64),),
        },
    ),
    Table(
        "Node",
        "rack2-a",
        {
            "spec.engine": (
                fixed(
                    "engine.type cannot change; remove the Node and join it again",
                    [{"type": "proxmox", "proxmox": PROXMOX}],
                    [{"type": "lxc"}],
                ),
            ),
            "spec.engine.proxmox": required("url", "node", "tokenSecretRef"),
            "spec.engine.proxmox.url": (
                pattern(["https://pve:8006"], ["http://pve", "pve", ""]),
                max_length(253, "https://"),
            ),
            "spec.engine.proxmox.node": LABEL,
            **below("spec.engine.proxmox.tokenSecretRef", SECRET_KEY_REF),
            "spec.engine.proxmox.fingerprint": (
                pattern(
                    [":".join(["0a"] * 32), ":".join(["F9"] * 32)],
                    ["", "0a", ":".join(["0a"] * 31), ":".join(["0g"] * 32), "0a" * 32],
                ),
            ),
            **{
                f"spec.engine.proxmox.{name}": STORAGE
                for name in ("storage", "templateStorage", "resourcePool")
            },
            "spec.engine.proxmox.vmids": (
                pattern(
                    ["100-200", ABSENT], ["", "200", "100-", "99-100", "012-100", "1000000000-1000000001"]
                ),
                cel(
                    "the range's first id is above its last", ["200-200", "200-1000"], ["200-199", "1000-999"]
                ),
            ),
        },
    ),
)
