"""Moves between nodes and between storages, for containers and virtual machines."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from dsecos_proxmox_simulator import guests, options_lxc, options_qemu, properties
from dsecos_proxmox_simulator.errors import ApiError, TaskError, bad_parameters, failure
from dsecos_proxmox_simulator.model import Kind
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.storages import Storage
from dsecos_proxmox_simulator.tasks import Task
from dsecos_proxmox_simulator.world import World

routes = Routes()

# Moves between nodes.


def _check_target(request: Request) -> str:
    target = request.text("target")
    if target == request.node:
        raise bad_parameters({"target": "target is local node."})
    if target not in request.world.nodes:
        raise failure(f"no such cluster node '{target}'")
    return target


def _by_ha(request: Request, sid: str, target: str) -> str:
    """Two steps: this task asks, the manager migrates later by a task of its own."""

    def work(task: Task) -> Generator[float, None, None]:
        task.log.append(f"Requesting HA migration for {sid} to node {target}")
        yield guests.DURATIONS["ha"]
        request.cluster.ha.request_move(sid, target)

    return request.spawn("hamigrate", request.vmid, work)


@routes.add(
    "POST",
    "/nodes/{node}/lxc/{vmid}/migrate",
    """
    target!        string format:pve-node
    bwlimit        number 0..
    online         boolean
    restart        boolean
    target-storage string format:storage-pair-list
    timeout        integer
    """,
    check=needs("/vms/{vmid}", "VM.Migrate"),
)
def migrate_container(request: Request) -> object:
    """A running one only with restart."""
    target, guest = _check_target(request), request.guest("lxc")
    running = guest.status == "running"
    if running and not request.flag("online") and not request.flag("restart"):
        raise failure("Can't migrate running container without --online or --restart")
    if f"ct:{guest.vmid}" in request.world.ha:
        return _by_ha(request, f"ct:{guest.vmid}", target)
    if running and not request.flag("restart"):

        def never(_task: Task) -> Generator[float, None, None]:
            yield 0.3
            raise TaskError("migration aborted: lxc live migration is currently not implemented")

        return request.spawn("vzmigrate", guest.vmid, never)
    return request.spawn(
        "vzmigrate", guest.vmid, guests.move_work(request.cluster, guest, target, restart=True)
    )


@routes.add(
    "POST",
    "/nodes/{node}/qemu/{vmid}/migrate",
    """
    target!              string format:pve-node
    bwlimit              integer 0..
    online               boolean
    targetstorage        string format:storage-pair-list
    with-conntrack-state boolean since:9.1
    with-local-disks     boolean
    """,
    check=needs("/vms/{vmid}", "VM.Migrate"),
)
def migrate_machine(request: Request) -> object:
    """A running one only online, and its local disks only when that is asked for."""
    target, guest = _check_target(request), request.guest("qemu")
    running = guest.status == "running"
    if running and not request.flag("online"):
        raise failure(f"VM {guest.vmid} is running - can't migrate running VM without --online")
    if f"vm:{guest.vmid}" in request.world.ha:
        return _by_ha(request, f"vm:{guest.vmid}", target)
    local = [v.split(",")[0] for _key, v in guest.owned_disks() if not _storage(request.world, v).shared]
    if running and local and not request.flag("with-local-disks"):

        def refused(task: Task) -> Generator[float, None, None]:
            yield 0.3
            task.log.append(
                f"can't live migrate attached local disks without with-local-disks option: {local}"
            )
            raise TaskError("migration aborted")

        return request.spawn("qmigrate", guest.vmid, refused)
    return request.spawn(
        "qmigrate", guest.vmid, guests.move_work(request.cluster, guest, target, restart=False)
    )


def _storage(world: World, value: str) -> Storage:
    return world.storages[value.split(":", 1)[0]]


@routes.add(
    "GET",
    "/nodes/{node}/lxc/{vmid}/migrate",
    "target string format:pve-node",
    check=needs("/vms/{vmid}", "VM.Migrate"),
    since="9.1",
)
def may_migrate_container(request: Request) -> object:
    """Where to, as version 9.1 tells for containers too."""
    guest = request.guest("lxc")
    others = [name for name, node in request.world.nodes.items() if node.online and name != guest.node]
    return {"running": int(guest.status == "running"), "allowed-nodes": others}


@routes.add(
    "GET",
    "/nodes/{node}/qemu/{vmid}/migrate",
    "target string format:pve-node",
    check=needs("/vms/{vmid}", "VM.Migrate"),
)
def may_migrate_machine(request: Request) -> object:
    """Where to, and which local disks are in the way."""
    guest = request.guest("qemu")
    others = [name for name, node in request.world.nodes.items() if node.online and name != guest.node]
    local = [
        {
            "volid": v.split(",")[0],
            "size": properties.to_bytes(properties.split(v).get("size", "0")),
            "cdrom": int("media=cdrom" in v),
            "is_unused": int(key.startswith("unused")),
        }
        for key, v in guest.owned_disks()
        if not _storage(request.world, v).shared
    ]
    return {
        "running": int(guest.status == "running"),
        "allowed_nodes": others,
        "local_disks": local,
        "local_resources": [],
        "mapped-resources": [],
        "mapped-resource-info": {},
        "has-dbus-vmstate": 0,
    }


# Moves between storages.


@dataclass(frozen=True, slots=True)
class _Move:
    key: str
    kind: Kind
    task_type: str


@routes.add(
    "POST",
    "/nodes/{node}/lxc/{vmid}/move_volume",
    f"""
    volume! string ={options_lxc.VOLUMES}
    bwlimit number 0..
    delete  boolean
    digest  string len:..40
    storage string format:pve-storage-id
    """,
    check=needs("/vms/{vmid}", "VM.Config.Disk"),
)
def move_volume(request: Request) -> object:
    """Only of a stopped container."""
    return _move(request, _Move("volume", "lxc", "move_volume"))


@routes.add(
    "POST",
    "/nodes/{node}/qemu/{vmid}/move_disk",
    f"""
    disk!   string ={options_qemu.VOLUMES}
    bwlimit integer 0..
    delete  boolean
    digest  string len:..40
    format  string =raw|qcow2|vmdk
    storage string format:pve-storage-id
    """,
    check=needs("/vms/{vmid}", "VM.Config.Disk"),
)
def move_disk(request: Request) -> object:
    """Of a running virtual machine too."""
    return _move(request, _Move("disk", "qemu", "qmmove"))


def _move(request: Request, move: _Move) -> str:
    guest, key = request.guest(move.kind), request.text(move.key)
    guests.check_digest(guest, request.text("digest"))
    guests.check_lock(guest)
    if move.kind == "lxc" and guest.status == "running":
        raise failure("cannot move volumes of a running container")
    if key not in guest.config:
        raise failure(f"{move.key} '{key}' does not exist")
    name = request.text("storage")
    storage = request.world.storages.get(name)
    if storage is None:
        raise failure(f"storage '{name}' does not exist")
    request.require(f"/storage/{name}", "Datastore.AllocateSpace")
    volid, _, options = guest.config[key].partition(",")
    source = _storage(request.world, volid)
    if source is storage:
        raise ApiError(500, "you can't move to the same storage with same format")

    def work(_task: Task) -> Generator[float, None, None]:
        with guests.held(guest, "disk" if move.kind == "lxc" else "clone"):
            yield guests.DURATIONS["move"]
            guests.still_there(request.world, guest)
            present = source.find(guest.node, volid)
            size = properties.to_bytes(properties.split(options).get("size", "0"))
            made = storage.allocate(
                guest.node,
                guest.vmid,
                size,
                payload=present.used if present else 0,
                content="rootdir" if move.kind == "lxc" else "images",
            )
            guest.config[key] = f"{made.volid},{options}"
            if request.flag("delete"):
                source.remove(volid, guest.node)
            else:
                number = next(n for n in range(256) if f"unused{n}" not in guest.config)
                guest.config[f"unused{number}"] = volid

    return request.spawn(move.task_type, guest.vmid, work)
