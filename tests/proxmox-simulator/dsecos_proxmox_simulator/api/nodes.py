"""/nodes: the servers, their state and their network."""

from __future__ import annotations

from dsecos_proxmox_simulator.model import Node
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.storages import GIB

routes = Routes()
UPTIME = 864_000


def used_memory(request: Request, node: Node) -> int:
    """Bytes in use: the host's own, and a little for each guest that runs."""
    running = [g for g in request.world.guests.values() if g.node == node.name and g.status == "running"]
    return 2 * GIB + len(running) * 10_000_000


def shown(request: Request, node: Node) -> dict[str, object]:
    """A node as lists show it; its figures only to those with Sys.Audit."""
    data: dict[str, object] = {
        "node": node.name,
        "id": f"node/{node.name}",
        "type": "node",
        "status": "online" if node.online else "offline",
        "level": "",
        "ssl_fingerprint": request.cluster.fingerprint,
    }
    if node.online and request.may(f"/nodes/{node.name}", "Sys.Audit"):
        data |= {
            "cpu": 0.02,
            "maxcpu": node.cpus,
            "mem": used_memory(request, node),
            "maxmem": node.memory,
            "disk": 8 * GIB,
            "maxdisk": 100 * GIB,
            "uptime": UPTIME,
        }
    return data


@routes.add("GET", "/nodes")
def nodes(request: Request) -> object:
    """All nodes; everybody sees their names."""
    return [shown(request, node) for node in request.world.nodes.values()]


@routes.add("GET", "/nodes/{node}/status", check=needs("/nodes/{node}", "Sys.Audit"))
def status(request: Request) -> object:
    """Processors, memory, versions."""
    node, full = request.world.nodes[request.node], request.cluster.release[0]
    used = used_memory(request, node)
    return {
        "boot-info": {"mode": "efi", "secureboot": 0},
        "cpu": 0.02,
        "cpuinfo": {"cores": node.cpus // 2, "cpus": node.cpus, "model": "Simulated", "sockets": 1},
        "current-kernel": {
            "machine": "x86_64",
            "release": "6.8.12-15-pve",
            "sysname": "Linux",
            "version": "#1 SMP PREEMPT_DYNAMIC",
        },
        "kversion": "Linux 6.8.12-15-pve",
        "loadavg": ["0.10", "0.20", "0.30"],
        "memory": {
            "total": node.memory,
            "used": used,
            "free": node.memory - used,
            "available": node.memory - used,
        },
        "pveversion": f"pve-manager/{full}/{request.cluster.release[1]}",
        "rootfs": {"total": 100 * GIB, "used": 8 * GIB, "free": 92 * GIB, "avail": 92 * GIB},
        "swap": {"total": 8 * GIB, "used": 0, "free": 8 * GIB},
        "uptime": UPTIME,
        "wait": 0,
        "idle": 0,
    }


TYPES = "bridge|bond|eth|alias|vlan|OVSBridge|OVSBond|OVSPort|OVSIntPort|vnet|any_bridge|any_local_bridge"


@routes.add(
    "GET",
    "/nodes/{node}/network",
    f"type string ={TYPES}",
    changes_91=f"type string ={TYPES}|fabric|include_sdn",
)
def network(request: Request) -> object:
    """Bridges, and vnets where they are asked for."""
    wanted = request.text("type", "bridge")
    node = request.world.nodes[request.node]
    vnets = {name for (kind, name) in request.world.sdn if kind == "vnet"}
    found: list[dict[str, object]] = []
    if wanted in ("bridge", "any_bridge", "any_local_bridge", "include_sdn"):
        found += [_bridge(name) for name in sorted(node.bridges - vnets)]
    if wanted in ("vnet", "any_bridge", "include_sdn"):
        found += [
            {"iface": name, "type": "vnet", "active": "1", "vlanaware": 0, "ipam": 0, "comments": None}
            for (kind, name), vnet in sorted(request.world.sdn.items())
            if kind == "vnet"
            and request.may(f"/sdn/zones/{(vnet.wanted or {}).get('zone', '')}/{name}", "SDN.Audit")
        ]
    return found


def _bridge(name: str) -> dict[str, object]:
    return {
        "iface": name,
        "type": "bridge",
        "active": 1,
        "autostart": 1,
        "method": "manual",
        "method6": "manual",
        "bridge_ports": "",
        "bridge_stp": "off",
        "bridge_fd": "0",
        "families": ["inet"],
        "priority": 4,
    }
