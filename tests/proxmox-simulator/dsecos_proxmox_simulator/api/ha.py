"""/cluster/ha: resources, moves, status."""

from __future__ import annotations

from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.model import HaResource
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.properties import digest
from dsecos_proxmox_simulator.routing import Request, Routes

routes = Routes()
AUDIT = needs("/", "Sys.Audit")
MANAGE = needs("/", "Sys.Console")
OPTIONS = """
    comment      string len:..4096
    failback     boolean since:9.1
    group        string format:pve-configid
    max_relocate integer 0..
    max_restart  integer 0..
    state        string =started|stopped|enabled|disabled|ignored
"""
ONE = "/cluster/ha/resources/{sid}"


def shown(resource: HaResource) -> dict[str, object]:
    """A resource as it is configured."""
    row: dict[str, object] = {
        "sid": resource.sid,
        "type": resource.sid.split(":", maxsplit=1)[0],
        "state": resource.state,
        "max_restart": resource.max_restart,
        "max_relocate": resource.max_relocate,
    }
    row |= {
        name: value for name, value in (("group", resource.group), ("comment", resource.comment)) if value
    }
    return row | {"digest": digest(row)}


@routes.add("GET", "/cluster/ha/resources", "type string =ct|vm", check=AUDIT)
def resources(request: Request) -> object:
    """All, or those of one type."""
    wanted = request.text("type")
    return [shown(r) for sid, r in sorted(request.world.ha.items()) if sid.startswith(wanted)]


@routes.add("GET", ONE, check=AUDIT)
def resource(request: Request) -> object:
    """One resource."""
    return shown(request.cluster.ha.resource(request.text("sid")))


@routes.add(
    "POST",
    "/cluster/ha/resources",
    "sid! string format:pve-ha-resource-or-vm-id\ntype string =ct|vm\n" + OPTIONS,
    check=MANAGE,
)
def add(request: Request) -> object:
    """The manager takes the guest over, and starts it if that is the state."""
    sid = request.cluster.ha.full_sid(request.text("sid"))
    if sid in request.world.ha:
        raise failure(f"resource ID '{sid}' already defined")
    vmid = int(sid.split(":")[1])
    guest = request.world.guests.get(vmid)
    if guest is None or ("ct" if guest.kind == "lxc" else "vm") != sid.split(":", maxsplit=1)[0]:
        raise failure(f"unable to find {'CT' if sid.startswith('ct') else 'VM'} {vmid}")
    _check_group(request)
    request.cluster.ha.add(sid, vmid, request.text("state", "started"))
    _store(request, request.world.ha[sid])
    return None


def _check_group(request: Request) -> None:
    if request.has("group") and request.cluster.version >= "9":
        raise failure("invalid parameter 'group': ha groups have been migrated to rules")


def _store(request: Request, found: HaResource) -> None:
    found.group = request.text("group", found.group)
    found.comment = request.text("comment", found.comment)
    found.max_restart = request.number("max_restart", found.max_restart)
    found.max_relocate = request.number("max_relocate", found.max_relocate)
    found.failback = request.flag("failback", default=found.failback)


@routes.add(
    "PUT",
    ONE,
    "delete string len:..4096 format:pve-configid-list\ndigest string len:..64\n" + OPTIONS,
    check=MANAGE,
)
def change(request: Request) -> object:
    """Another state is reached some time later."""
    found = request.cluster.ha.resource(request.text("sid"))
    _check_group(request)
    _store(request, found)
    if request.has("state"):
        request.cluster.ha.set_state(found.sid, request.text("state"))
    return None


@routes.add("DELETE", ONE, "purge boolean since:9.1", check=MANAGE)
def remove(request: Request) -> object:
    """The guest stays as it is."""
    del request.world.ha[request.cluster.ha.resource(request.text("sid")).sid]
    return None


def _declare_move(action: str) -> None:
    @routes.add("POST", f"{ONE}/{action}", "node! string format:pve-node", check=MANAGE)
    def move(request: Request) -> object:
        """Asked for here, done by the manager later. Version 9.1 answers with what will happen."""
        found, target = request.cluster.ha.resource(request.text("sid")), request.text("node")
        if target not in request.world.nodes:
            raise failure(f"no such cluster node '{target}'")
        request.cluster.ha.request_move(found.sid, target)
        return None if request.cluster.version < "9" else {"sid": found.sid, "requested-node": target}


_declare_move("migrate")
_declare_move("relocate")


@routes.add("GET", "/cluster/ha/status/current", check=AUDIT)
def status(request: Request) -> object:
    """Quorum, and what the manager makes of each resource."""
    world = request.world
    first = next(iter(world.nodes))
    online = sum(node.online for node in world.nodes.values())
    quorate = int(online > len(world.nodes) // 2)
    quorum = "OK" if quorate else "No quorum on node"
    rows: list[dict[str, object]] = [
        {"id": "quorum", "type": "quorum", "node": first, "status": quorum, "quorate": quorate}
    ]
    for sid, found in sorted(world.ha.items()):
        guest = world.guests.get(found.vmid)
        node = guest.node if guest else first
        rows.append(
            {
                "id": f"service:{sid}",
                "type": "service",
                "sid": sid,
                "node": node,
                "state": found.service_state,
                "request_state": found.state,
                "max_restart": found.max_restart,
                "max_relocate": found.max_relocate,
                "status": f"{sid} ({node}, {found.service_state})",
            }
        )
    return rows
