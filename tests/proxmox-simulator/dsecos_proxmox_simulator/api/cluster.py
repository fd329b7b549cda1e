"""/cluster: resources, status, the next free id."""

from __future__ import annotations

from dsecos_proxmox_simulator import guests
from dsecos_proxmox_simulator.api import nodes
from dsecos_proxmox_simulator.errors import bad_parameters, failure
from dsecos_proxmox_simulator.model import Guest
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.routing import Request, Routes

routes = Routes()


@routes.add("GET", "/cluster/resources", "type string =vm|storage|node|sdn")
def resources(request: Request) -> object:
    """Guests, nodes, storages and zones that one may see."""
    wanted = request.text("type")
    found: list[dict[str, object]] = []
    if wanted in ("", "vm"):
        found += [
            guest_row(request, guest)
            for guest in sorted(request.world.guests.values(), key=lambda g: g.vmid)
            if request.may(f"/vms/{guest.vmid}", "VM.Audit")
        ]
    if wanted in ("", "node"):
        found += [nodes.shown(request, node) for node in request.world.nodes.values()]
    if wanted in ("", "storage"):
        found += storage_rows(request)
    if wanted in ("", "sdn"):
        found += sdn_rows(request)
    return found


def guest_row(request: Request, guest: Guest) -> dict[str, object]:
    """A guest; on a node that is gone its status is unknown."""
    shown = guests.figures(request, guest)
    cpus = shown.pop("cpus")
    for name in ("pid", "swap", "maxswap"):
        shown.pop(name, None)
    shown |= {
        "id": f"{guest.kind}/{guest.vmid}",
        "type": guest.kind,
        "node": guest.node,
        "maxcpu": cpus,
        "template": int(guest.template),
    }
    if pool := request.world.pool_of(guest.vmid):
        shown["pool"] = pool
    if resource := request.world.ha.get(f"{'ct' if guest.kind == 'lxc' else 'vm'}:{guest.vmid}"):
        shown["hastate"] = resource.service_state
    if not request.world.nodes[guest.node].online:
        shown["status"] = "unknown"
    return shown


def storage_rows(request: Request) -> list[dict[str, object]]:
    """A row for each storage on each node."""
    found: list[dict[str, object]] = []
    for node in request.world.nodes.values():
        for storage in request.world.storages.values():
            path = f"/storage/{storage.name}"
            if not storage.on(node.name) or not request.may(
                path, "Datastore.Audit", "Datastore.AllocateSpace", any_of=True
            ):
                continue
            found.append(
                {
                    "id": f"storage/{node.name}/{storage.name}",
                    "type": "storage",
                    "storage": storage.name,
                    "node": node.name,
                    "status": "available" if node.online else "unknown",
                    "plugintype": storage.type,
                    "content": ",".join(sorted(storage.content)),
                    "shared": int(storage.shared),
                    "disk": storage.used(node.name),
                    "maxdisk": storage.total,
                }
            )
    return found


def sdn_rows(request: Request) -> list[dict[str, object]]:
    """A row for each zone on each node; `error` where the node's own reload failed."""
    zones = [
        "localnetwork",
        *(name for (kind, name), z in request.world.sdn.items() if kind == "zone" and z.running),
    ]
    return [
        {
            "id": f"sdn/{node.name}/{zone}",
            "type": "sdn",
            "sdn": zone,
            "node": node.name,
            "status": "ok" if zone == "localnetwork" or zone in node.zones else "error",
        }
        for node in request.world.nodes.values()
        for zone in zones
        if node.online and request.may(f"/sdn/zones/{zone}", "SDN.Audit")
    ]


@routes.add("GET", "/cluster/status", check=needs("/", "Sys.Audit"))
def status(request: Request) -> object:
    """The cluster, and each node with whether it is online."""
    world = request.world
    online = sum(node.online for node in world.nodes.values())
    rows: list[dict[str, object]] = [
        {
            "type": "cluster",
            "id": "cluster",
            "name": "simulator",
            "nodes": len(world.nodes),
            "quorate": int(online > len(world.nodes) // 2),
            "version": 1,
        }
    ]
    for number, node in enumerate(world.nodes.values(), 1):
        rows.append(
            {
                "type": "node",
                "id": f"node/{node.name}",
                "name": node.name,
                "nodeid": number,
                "ip": f"10.77.0.{number + 1}",
                "online": int(node.online),
                "local": int(number == 1),
                "level": "",
            }
        )
    return rows


@routes.add("GET", "/cluster/nextid", "vmid integer 100..999999999 format:pve-vmid")
def nextid(request: Request) -> object:
    """The lowest free id, or whether one is free. It reserves nothing."""
    taken = request.world.guests
    if request.has("vmid"):
        if request.vmid in taken:
            raise bad_parameters({"vmid": f"VM {request.vmid} already exists"})
        return str(request.vmid)
    for vmid in range(100, 1_000_000_000):
        if vmid not in taken:
            return str(vmid)
    raise failure("unable to get any free VMID")
