"""Virtual machines: create, change, resize, destroy, cloud-init, guest agent."""

from __future__ import annotations

from collections.abc import Generator

from dsecos_proxmox_simulator import guests, lxc, options_qemu, properties, qemu
from dsecos_proxmox_simulator.api.common import (
    ask_to_start,
    check_new_id,
    check_not_ha,
    destroy,
    into_pool,
    path_of_new,
    plan_resize,
)
from dsecos_proxmox_simulator.api.power import check_skip_lock
from dsecos_proxmox_simulator.errors import ApiError, TaskError, bad_parameters, failure
from dsecos_proxmox_simulator.model import Guest, is_disk_key
from dsecos_proxmox_simulator.parameters import find
from dsecos_proxmox_simulator.privileges import needs, needs_any
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.tasks import Task

routes = Routes()
ONE = "/nodes/{node}/qemu/{vmid}"
CONFIG = needs_any(
    "/vms/{vmid}",
    "VM.Config.Disk",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.HWType",
    "VM.Config.Options",
    "VM.Config.Cloudinit",
)


@routes.add("POST", "/nodes/{node}/qemu", options_qemu.CREATE)
def create(request: Request) -> object:
    """From nothing, or from a backup with `archive`."""
    path = path_of_new(request)
    overwritten = check_new_id(request, "qemu", force=request.flag("force") and request.has("archive"))
    options = qemu.normalize(request.world, qemu.options_of(request.parameters))
    qemu.check_rights(request, options, path)
    restored = _restored(request)
    options = restored | options
    qemu.check_disks(request, options)
    lxc.check_networks(request, options)
    guest = Guest(request.vmid, "qemu", request.node, {"lock": "create"})
    if overwritten is not None:
        request.world.destroy_guest(request.vmid)
    request.world.guests[guest.vmid] = guest
    into_pool(request, guest.vmid)

    def work(_task: Task) -> Generator[float, None, None]:
        try:
            yield 0.2
            qemu.make_disks(request.world, guest, options)
            yield guests.DURATIONS["restore" if restored else "snapshot"]
            guests.still_there(request.world, guest)
        except TaskError as error:
            if request.world.guests.get(guest.vmid) is guest:
                request.world.destroy_guest(guest.vmid)
            what = "restore" if restored else "create"
            raise TaskError(f"unable to {what} VM {guest.vmid} - {error}") from error
        guest.config = {"memory": "512", "boot": "order=scsi0"} | options
        if request.flag("ha-managed"):
            request.cluster.ha.add(f"vm:{guest.vmid}", guest.vmid)
        if request.flag("start"):
            ask_to_start(request, guest)

    return request.spawn("qmrestore" if restored else "qmcreate", guest.vmid, work)


def _restored(request: Request) -> dict[str, str]:
    """The configuration in a backup, its disks as new ones."""
    if not request.has("archive"):
        return {}
    volid = request.text("archive")
    storage = request.world.storages.get(volid.split(":", 1)[0])
    archive = storage.find(request.node, volid) if storage else None
    if archive is None:
        raise failure(f"volume '{volid}' does not exist")
    kept = {k: v for k, v in archive.data.items() if k not in ("lock", "[kind]")}
    for key, value in kept.items():
        if is_disk_key(key) and "media=cdrom" not in value:
            name = request.text("storage") or value.split(":", 1)[0]
            gib = properties.to_bytes(properties.split(value).get("size", "0")) / (1 << 30)
            kept[key] = f"{name}:{gib:g}"
    return kept


def _change(request: Request) -> Guest:
    guest = request.guest("qemu")
    check_skip_lock(request)
    options = qemu.normalize(request.world, qemu.options_of(request.parameters))
    deleted = [name for name in request.text("delete").replace(";", ",").split(",") if name]
    for name in deleted:
        if find(options_qemu.OPTIONS, name) is None:
            raise bad_parameters({"delete": f"unknown option '{name}'"})
    if not options and not deleted and not request.has("revert"):
        raise failure("no options specified")
    qemu.check_rights(request, options | dict.fromkeys(deleted, ""), f"/vms/{request.vmid}")
    guests.check_digest(guest, request.text("digest"))
    if not request.flag("skiplock"):
        guests.check_lock(guest)
    _check_balloon(guest, options)
    lxc.check_networks(request, options)
    qemu.check_disks(request, options)
    try:
        qemu.make_disks(request.world, guest, options)
    except TaskError as error:
        raise failure(str(error)) from error
    _store(request, guest, options, deleted)
    return guest


def _check_balloon(guest: Guest, options: dict[str, str]) -> None:
    if not {"memory", "balloon"} & options.keys():
        return
    waiting = {key: text for key, text in guest.pending.items() if text}
    wanted = {"memory": "512", "balloon": "0"} | guest.config | waiting | options
    if int(wanted["balloon"]) > int(properties.split(wanted["memory"], "current")["current"]):
        raise failure("balloon value too large (must be smaller than assigned memory)")


COLD = {"memory", "cores", "sockets", "cpu", "machine", "bios", "scsihw", "vga", "agent", "numa", "boot"}
"""Options that a running virtual machine takes only at its next start."""


def _store(request: Request, guest: Guest, options: dict[str, str], deleted: list[str]) -> None:
    changes: dict[str, str | None] = dict(options) | dict.fromkeys(deleted)
    for name in filter(None, request.text("revert").split(",")):
        guest.pending.pop(name, None)
    # Without NUMA there is no place to plug memory into.
    plugs = guest.config.get("numa") == "1" and "memory" in guest.config.get("hotplug", "").split(",")
    for key, value in changes.items():
        is_cold = key in COLD and not (plugs and key == "memory")
        if guest.status == "running" and is_cold and guest.config.get(key) != value:
            guest.pending[key] = value
            continue
        if value is None and is_disk_key(key) and not key.startswith("unused") and key in guest.config:
            number = next(n for n in range(256) if f"unused{n}" not in guest.config)
            guest.config[f"unused{number}"] = guest.config[key].split(",")[0]
        request.world.set_options(guest, {key: value})
        guest.pending.pop(key, None)


@routes.add("PUT", f"{ONE}/config", options_qemu.UPDATE, check=CONFIG)
def change(request: Request) -> object:
    """At once, without a task."""
    _change(request)
    return None


@routes.add("POST", f"{ONE}/config", options_qemu.UPDATE, check=CONFIG)
def change_by_task(request: Request) -> object:
    """The same, with a task."""
    guest = _change(request)

    def work(_task: Task) -> Generator[float, None, None]:
        yield 0.1

    return request.spawn("qmconfig", guest.vmid, work)


@routes.add(
    "PUT",
    f"{ONE}/resize",
    f"disk! string ={options_qemu.DISKS}\n"
    "digest string len:..40\nsize! string /\\+?\\d+(\\.\\d+)?[KMGT]?/\nskiplock boolean",
    check=needs("/vms/{vmid}", "VM.Config.Disk"),
)
def resize(request: Request) -> object:
    """Only growing; `+1G` or a size."""
    guest = request.guest("qemu")
    check_skip_lock(request)
    guests.check_digest(guest, request.text("digest"))
    guests.check_lock(guest)
    disk, volume, size = plan_resize(request, guest, "shrinking disks is not supported")

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["snapshot"]
        guests.still_there(request.world, guest)
        volume.size = size
        volid, *rest = guest.config[disk].split(",")
        others = [part for part in rest if not part.startswith("size=")]
        guest.config[disk] = ",".join((volid, *others, f"size={properties.to_size(size)}"))

    return request.spawn("resize", guest.vmid, work)


@routes.add(
    "DELETE",
    ONE,
    "destroy-unreferenced-disks boolean\npurge boolean\nskiplock boolean",
    check=needs("/vms/{vmid}", "VM.Allocate"),
)
def delete(request: Request) -> object:
    """A running or protected one is refused at once; a locked one fails in the task."""
    guest = request.guest("qemu")
    check_skip_lock(request)
    if guest.config.get("protection") == "1":
        raise failure(f"can't remove VM {guest.vmid} - protection mode enabled")
    check_not_ha(request, f"vm:{guest.vmid}", "VM")
    if guest.status == "running":
        raise failure(f"VM {guest.vmid} is running - destroy failed")
    return request.spawn("qmdestroy", guest.vmid, destroy(request, guest, ""))


@routes.add(
    "POST",
    f"{ONE}/termproxy",
    "serial string =serial0|serial1|serial2|serial3",
    check=needs("/vms/{vmid}", "VM.Console"),
)
def termproxy(request: Request) -> object:
    """Opens no terminal: it fails as on a node whose port is not served."""
    request.guest("qemu")
    raise ApiError(500, "Timeout while waiting for port '5900' to get ready!")
