"""Containers: create, restore, change, resize, destroy."""

from __future__ import annotations

from collections.abc import Generator

from dsecos_proxmox_simulator import guests, lxc, options_lxc, properties
from dsecos_proxmox_simulator.api.common import (
    ask_to_start,
    check_new_id,
    check_not_ha,
    destroy,
    into_pool,
    path_of_new,
    plan_resize,
)
from dsecos_proxmox_simulator.errors import ApiError, TaskError, bad_parameters, failure
from dsecos_proxmox_simulator.model import Guest
from dsecos_proxmox_simulator.parameters import find
from dsecos_proxmox_simulator.privileges import needs, needs_any
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.storages import Storage, Volume
from dsecos_proxmox_simulator.tasks import Task

routes = Routes()
ONE = "/nodes/{node}/lxc/{vmid}"
DEFAULTS = {"arch": "amd64", "memory": "512", "swap": "512"}


def _archive(request: Request) -> Volume:
    """The template or backup. Raises ApiError for one that is not there, or not to be read."""
    volid = request.text("ostemplate")
    storage = request.world.storages.get(volid.split(":", 1)[0])
    if storage is None:
        raise failure(f"storage '{volid.split(':', 1)[0]}' does not exist")
    if request.flag("restore"):
        request.require(f"/storage/{storage.name}", "Datastore.Audit")
    else:
        request.require_any(f"/storage/{storage.name}", "Datastore.AllocateSpace", "Datastore.Audit")
    volume = storage.find(request.node, volid)
    if volume is None:
        raise failure(f"volume '{volid}' does not exist")
    return volume


@routes.add("POST", "/nodes/{node}/lxc", options_lxc.CREATE)
def create(request: Request) -> object:
    """What is wrong with the request comes at once; what goes wrong in the making comes in the task."""
    path = path_of_new(request)
    overwritten = check_new_id(request, "lxc", force=request.flag("force") and request.flag("restore"))
    options = lxc.normalize(request.world, lxc.options_of(request.parameters, ("vmid",)))
    restore = request.flag("restore")
    lxc.check_rights(request, {k: v for k, v in options.items() if k not in ("arch", "ostype")}, None, path)
    archive = _archive(request)
    storage = request.text("storage", "local")
    options.setdefault(
        "rootfs", archive.data.get("rootfs", "") if restore else f"{storage}:{lxc.DEFAULT_DISK}"
    )
    if restore:
        options["rootfs"] = _disk_again(options["rootfs"], request.text("storage"))
    lxc.check_disks(request, options)
    lxc.check_networks(request, options)
    guest = Guest(request.vmid, "lxc", request.node, {"lock": "create"})
    if overwritten is not None:
        request.world.destroy_guest(request.vmid)
    request.world.guests[guest.vmid] = guest
    into_pool(request, guest.vmid)

    def work(task: Task) -> Generator[float, None, None]:
        name = request.text("ostemplate")
        final = _final_options(archive, options, guest.vmid, restore=restore)
        try:
            yield 0.2
            lxc.make_disks(request.world, guest, final, lxc.UNPACKED)
            task.log.append(f"extracting archive '/var/lib/vz/template/cache/{name.rsplit('/', 1)[-1]}'")
            yield guests.DURATIONS["restore" if restore else "create"]
            guests.still_there(request.world, guest)
        except TaskError as error:
            if request.world.guests.get(guest.vmid) is guest:
                request.world.destroy_guest(guest.vmid)
            what = "restore" if restore else "create"
            raise TaskError(f"unable to {what} CT {guest.vmid} - {error}") from error
        guest.config = final
        if request.flag("ha-managed"):
            request.cluster.ha.add(f"ct:{guest.vmid}", guest.vmid)
        if request.flag("start"):
            guests.check_bridges(request.world, guest)
            ask_to_start(request, guest)

    return request.spawn("vzrestore" if restore else "vzcreate", guest.vmid, work)


def _disk_again(rootfs: str, storage: str) -> str:
    """The disk of a backup as a new one of the same size, on the storage that is asked for."""
    values = properties.split(rootfs, "volume")
    name = storage or values["volume"].split(":", 1)[0]
    gib = properties.to_bytes(values.get("size", "4G")) / (1 << 30)
    return f"{name}:{gib:g}"


def _final_options(archive: Volume, options: dict[str, str], vmid: int, *, restore: bool) -> dict[str, str]:
    if restore:
        kept = {
            k: v for k, v in archive.data.items() if lxc.stem(k) not in ("mp", "unused", "lock", "[kind]")
        }
        return kept | options
    final = DEFAULTS | {"hostname": f"CT{vmid}", "ostype": "debian"} | options
    if final.get("unprivileged") == "0":
        del final["unprivileged"]
    return final


@routes.add(
    "PUT",
    f"{ONE}/config",
    options_lxc.UPDATE,
    check=needs_any(
        "/vms/{vmid}",
        "VM.Config.Disk",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",
    ),
)
def change(request: Request) -> object:
    """At once and whole, or not at all; what a running container cannot take waits as pending."""
    guest = request.guest("lxc")
    leave_out = ("vmid", "digest", "delete", "revert")
    options = lxc.normalize(request.world, lxc.options_of(request.parameters, leave_out))
    deleted = [name for name in request.text("delete").replace(";", ",").split(",") if name]
    _check_names(deleted)
    if not options and not deleted and not request.has("revert"):
        raise bad_parameters({})
    lxc.check_rights(
        request, options | {key: "" for key in deleted if lxc.stem(key) != "mp"}, guest, _path(request)
    )
    guests.check_digest(guest, request.text("digest"))
    guests.check_lock(guest)
    for key in (*options, *deleted):
        if key in options_lxc.READ_ONLY and options.get(key) != guest.config.get(key, "0"):
            raise failure(f"unable to modify read-only option: '{key}'")
    lxc.check_networks(request, options)
    lxc.check_disks(request, {k: v for k, v in options.items() if lxc.NEW_VOLUME.match(v)})
    try:
        lxc.make_disks(request.world, guest, options, 0)
    except TaskError as error:
        raise failure(str(error)) from error
    if guest.status == "running":
        _check_hotplug(request, guest, options)
    _store(request, guest, options, deleted)
    return None


def _path(request: Request) -> str:
    return f"/vms/{request.vmid}"


def _check_names(deleted: list[str]) -> None:
    for name in deleted:
        if find(options_lxc.OPTIONS, name) is None:
            raise bad_parameters({"delete": f"unknown option '{name}'"})
        if name == "rootfs":
            raise failure("unable to delete required option 'rootfs'")


def _check_hotplug(request: Request, guest: Guest, options: dict[str, str]) -> None:
    """A running container is plugged into the bridge at once, and cannot be into one that is not there."""
    changed = Guest(guest.vmid, "lxc", guest.node, {k: v for k, v in options.items() if lxc.stem(k) == "net"})
    guests.check_bridges(request.world, changed)


def _store(request: Request, guest: Guest, options: dict[str, str], deleted: list[str]) -> None:
    changes: dict[str, str | None] = dict(options) | dict.fromkeys(deleted)
    for name in filter(None, request.text("revert").split(",")):
        guest.pending.pop(name, None)
    for key, value in changes.items():
        hot = (
            key in options_lxc.HOT or lxc.stem(key) == "net" or (lxc.stem(key) == "mp" and value is not None)
        )
        if guest.status == "stopped" or hot:
            _settle_volume(request, guest, key, value)
            request.world.set_options(guest, {key: value or None})
            guest.pending.pop(key, None)
        elif guest.config.get(key) != value:
            guest.pending[key] = value


def _settle_volume(request: Request, guest: Guest, key: str, value: str | None) -> None:
    """A volume taken off is kept as unused; put on again it is not; deleted as unused it is gone."""
    kind = lxc.stem(key)
    if kind == "mp" and value is None and key in guest.config:
        _detach(guest, guest.config[key])
    elif kind == "mp" and value is not None:
        volume = properties.split(value, "volume").get("volume", "")
        for name in [k for k, v in guest.config.items() if lxc.stem(k) == "unused" and v == volume]:
            del guest.config[name]
    elif kind == "unused" and value is None and key in guest.config:
        lxc.remove_volume(request.world, guest.node, guest.config[key])


def _detach(guest: Guest, value: str) -> None:
    volume = properties.split(value, "volume")["volume"]
    if volume.startswith("/"):
        return
    number = next(n for n in range(256) if f"unused{n}" not in guest.config)
    guest.config[f"unused{number}"] = volume


@routes.add(
    "PUT",
    f"{ONE}/resize",
    f"disk! string ={options_lxc.DISKS}\ndigest string len:..40\nsize! string /\\+?\\d+(\\.\\d+)?[KMGT]?/",
    check=needs_any("/vms/{vmid}", "VM.Config.Disk"),
)
def resize(request: Request) -> object:
    """Only growing."""
    guest = request.guest("lxc")
    guests.check_digest(guest, request.text("digest"))
    guests.check_lock(guest)
    disk, volume, size = plan_resize(request, guest, "unable to shrink disk size")

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["resize"]
        guests.still_there(request.world, guest)
        volume.size = size
        values = properties.split(guest.config[disk], "volume") | {"size": properties.to_size(size)}
        declared = find(options_lxc.OPTIONS, disk)
        assert declared is not None
        guest.config[disk] = properties.text_of(values, declared)

    return request.spawn("resize", guest.vmid, work)


@routes.add(
    "DELETE",
    ONE,
    "destroy-unreferenced-disks boolean\nforce boolean\npurge boolean",
    check=needs("/vms/{vmid}", "VM.Allocate"),
)
def delete(request: Request) -> object:
    """A running, locked or protected one is refused at once, and one that HA manages unless purged."""
    guest = request.guest("lxc")
    if guest.config.get("protection") == "1":
        raise failure(f"can't remove CT {guest.vmid} - protection mode enabled")
    check_not_ha(request, f"ct:{guest.vmid}", "CT")
    if guest.status == "running" and not request.flag("force"):
        raise failure(f"unable to destroy CT {guest.vmid} - container is running")
    guests.check_lock(guest)
    return request.spawn("vzdestroy", guest.vmid, destroy(request, guest, "destroyed"))


@routes.add("POST", f"{ONE}/termproxy", check=needs("/vms/{vmid}", "VM.Console"))
def termproxy(request: Request) -> object:
    """Opens no terminal: it fails as on a node whose port is not served."""
    request.guest("lxc")
    raise ApiError(500, "Timeout while waiting for port '5900' to get ready!")


def storage_of(request: Request, volid: str) -> Storage:
    """The storage that a volume lies on."""
    return request.world.storages[volid.split(":", 1)[0]]
