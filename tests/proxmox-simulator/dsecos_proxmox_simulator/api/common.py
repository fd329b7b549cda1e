"""What creating, resizing and destroying have in common for containers and virtual machines."""

from __future__ import annotations

from collections.abc import Generator

from dsecos_proxmox_simulator import guests, properties
from dsecos_proxmox_simulator.errors import TaskError, failure, forbidden
from dsecos_proxmox_simulator.model import SHORT, Guest, Kind
from dsecos_proxmox_simulator.routing import Request
from dsecos_proxmox_simulator.storages import Volume
from dsecos_proxmox_simulator.tasks import Task, Work


def check_new_id(request: Request, kind: Kind, *, force: bool = False, name: str = "vmid") -> Guest | None:
    """The guest that is to be overwritten. Raises ApiError 500 if the id is taken otherwise."""
    present = request.world.guests.get(request.number(name))
    if present is None:
        return None
    if force and present.kind == kind and present.node == request.node:
        if present.status == "running":
            raise failure(f"can't overwrite running {'container' if kind == 'lxc' else 'VM'}")
        return present
    prefix = f"unable to create VM {present.vmid} - " if kind == "qemu" else ""
    raise failure(f"{prefix}{SHORT[present.kind]} {present.vmid} already exists on node '{present.node}'")


def check_pool(request: Request) -> None:
    """Raises ApiError 500 for a pool that is not there."""
    if (pool := request.text("pool")) and pool not in request.world.pools:
        raise failure(f"pool '{pool}' does not exist")


def path_of_new(request: Request) -> str:
    """The path by which a new guest's options are judged: its pool's, or its own. Raises ApiError."""
    if pool := request.text("pool"):
        request.require(f"/pool/{pool}", "VM.Allocate")
        check_pool(request)
        return f"/pool/{pool}"
    if request.may(f"/vms/{request.vmid}", "VM.Allocate"):
        return f"/vms/{request.vmid}"
    raise forbidden()


def into_pool(request: Request, vmid: int) -> None:
    """The guest joins the pool that was asked for."""
    if pool := request.text("pool"):
        request.world.pools[pool].guests.add(vmid)


def ask_to_start(request: Request, guest: Guest) -> None:
    """A task of its own starts the guest after what made it."""
    work = guests.start_work(request.cluster, guest.node, guest.kind, guest.vmid)
    type_ = f"{guests.PREFIX[guest.kind]}start"
    request.cluster.tasks.spawn(guest.node, type_, str(guest.vmid), request.identity, work)


def check_not_ha(request: Request, sid: str, word: str) -> None:
    """Raises ApiError 500 for a guest that HA manages, unless it is purged there as well."""
    if sid in request.world.ha and not request.flag("purge"):
        raise failure(
            f"unable to remove {word} {request.vmid} - used in HA resources and purge parameter not set."
        )


def plan_resize(request: Request, guest: Guest, shrinks: str) -> tuple[str, Volume, int]:
    """The disk, its volume and its size to be.

    Raises ApiError 500 with the text `shrinks` for a smaller one.
    """
    disk = request.text("disk")
    if disk not in guest.config:
        raise failure(f"disk '{disk}' does not exist")
    volid = guest.config[disk].split(",")[0]
    volume = request.world.storages[volid.split(":", 1)[0]].find(guest.node, volid)
    if volume is None:
        raise failure(f"volume '{volid}' does not exist")
    text = request.text("size")
    size = properties.to_bytes(text.lstrip("+")) + (volume.size if text.startswith("+") else 0)
    if size < volume.size:
        raise failure(shrinks)
    return disk, volume, size


def destroy(request: Request, guest: Guest, lock: str) -> Work:
    """The task that removes guest, disks and what refers to it."""
    world = request.world

    def work(task: Task) -> Generator[float, None, None]:
        guests.still_there(world, guest)
        guests.check_lock(guest)
        _check_no_clones(request, guest)
        if lock:
            guest.config["lock"] = lock
        guests.end(guest)
        yield guests.DURATIONS["destroy"]
        guests.still_there(world, guest)
        if request.flag("purge"):
            task.log.append(f"purging {guests.word(guest)} {guest.vmid} from related configurations..")
            world.ha.pop(f"{'ct' if guest.kind == 'lxc' else 'vm'}:{guest.vmid}", None)
        world.destroy_guest(guest.vmid, all_disks=request.flag("destroy-unreferenced-disks"))

    return work


def _check_no_clones(request: Request, guest: Guest) -> None:
    """Raises TaskError where another guest's disk hangs on this one's."""
    own = {value.split(",")[0] for _key, value in guest.owned_disks()}
    for volume in request.world.volumes():
        if volume.parent in own and volume.vmid != guest.vmid:
            raise TaskError(f"base volume '{volume.parent}' is still in use by linked cloned")
