"""Clones and templates of containers and virtual machines."""

from __future__ import annotations

import re
from collections.abc import Generator

from dsecos_proxmox_simulator import guests, options_qemu, properties
from dsecos_proxmox_simulator.api.common import check_new_id, check_pool, into_pool
from dsecos_proxmox_simulator.errors import TaskError, bad_parameters, failure
from dsecos_proxmox_simulator.model import SHORT, Guest, Kind
from dsecos_proxmox_simulator.privileges import Check, needs
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.tasks import Task, Work
from dsecos_proxmox_simulator.world import World

routes = Routes()
CLONE: Check = [
    "and",
    ["perm", "/vms/{vmid}", ["VM.Clone"]],
    [
        "or",
        ["perm", "/vms/{newid}", ["VM.Allocate"]],
        ["perm", "/pool/{pool}", ["VM.Allocate"], "require_param", "pool"],
    ],
]
COMMON = """
    newid!      integer 100..999999999 format:pve-vmid
    bwlimit     {limit} 0..
    description string
    full        boolean
    pool        string format:pve-poolid
    snapname    string len:..40 format:pve-configid
    storage     string format:pve-storage-id
    target      string format:pve-node
"""
CLONE_PARAMETERS = {
    "lxc": COMMON.format(limit="number") + "hostname string format:dns-name",
    "qemu": COMMON.format(limit="integer") + "name string format:dns-name\nformat string =raw|qcow2|vmdk",
}
SOURCE_LOCK = {"lxc": "disk", "qemu": "clone"}


def _declare_clone(kind: Kind) -> None:
    @routes.add("POST", f"/nodes/{{node}}/{kind}/{{vmid}}/clone", CLONE_PARAMETERS[kind], check=CLONE)
    def clone(request: Request) -> object:
        """A linked clone of a template unless `full`; a container in the making locks its source."""
        source = request.guest(kind)
        full = request.flag("full", default=not source.template)
        config = _source_config(request, source)
        _check_clone(request, source, config, full=full)
        check_pool(request)
        check_new_id(request, "lxc", name="newid")
        guests.check_lock(source)
        target = request.text("target", source.node)
        copy = Guest(request.number("newid"), kind, target, {"lock": "create" if kind == "lxc" else "clone"})
        request.world.guests[copy.vmid] = copy
        into_pool(request, copy.vmid)
        if kind == "lxc":
            source.config["lock"] = SOURCE_LOCK[kind]
        return request.spawn(
            f"{guests.PREFIX[kind]}clone", source.vmid, _clone_work(request, source, copy, config, full)
        )


_declare_clone("lxc")
_declare_clone("qemu")


def _source_config(request: Request, source: Guest) -> dict[str, str]:
    name = request.text("snapname")
    if not name or name == "current":
        return dict(source.config)
    if name not in source.snapshots:
        raise failure(f"snapshot '{name}' does not exist")
    return dict(source.snapshots[name].config)


def _check_clone(request: Request, source: Guest, config: dict[str, str], *, full: bool) -> None:
    if full and source.kind == "lxc" and source.status == "running" and not request.has("snapname"):
        raise failure("Cannot do full clones on a running container without snapshots")
    if request.has("storage"):
        if not full:
            raise bad_parameters({"storage": "parameter 'storage' not allowed for linked clones"})
        request.require(f"/storage/{request.text('storage')}", "Datastore.AllocateSpace")
    for _key, value in disks(config):
        storage = request.world.storages[value.split(":", 1)[0]]
        request.require(f"/storage/{storage.name}", "Datastore.AllocateSpace")
        if not full and (not storage.can_clone or not (source.template or request.has("snapname"))):
            raise failure(f"Linked clone feature for '{value.split(',')[0]}' is not available")
        if request.text("target", source.node) != source.node and not storage.shared:
            raise failure(f"Can't clone to non-shared storage '{storage.name}'")


def disks(config: dict[str, str]) -> list[tuple[str, str]]:
    """Key and value of each volume of a configuration."""
    return list(Guest(0, "lxc", "", config).owned_disks())


def _clone_work(request: Request, source: Guest, copy: Guest, config: dict[str, str], full: bool) -> Work:
    world = request.world

    def work(task: Task) -> Generator[float, None, None]:
        made: list[str] = []
        try:
            yield guests.DURATIONS["full clone" if full else "clone"]
            guests.still_there(world, source)
            guests.still_there(world, copy)
            final = {k: v for k, v in config.items() if k not in ("lock", "template", "protection", "parent")}
            for key, value in disks(config):
                final[key] = _copy_disk(request, copy, value, made, full=full)
                how = "full" if full else "linked"
                task.log.append(f"create {how} clone of mount point {key} ({value.split(',')[0]})")
        except TaskError as error:
            if world.guests.get(copy.vmid) is copy:
                world.destroy_guest(copy.vmid)
            _release(source)
            raise TaskError(f"clone failed: {error}") from error
        _release(source)
        copy.config = _renamed(request, copy, final)

    return work


def _release(source: Guest) -> None:
    if source.kind == "lxc" and source.lock == SOURCE_LOCK["lxc"]:
        del source.config["lock"]


def _copy_disk(request: Request, copy: Guest, value: str, made: list[str], *, full: bool) -> str:
    volid, _, options = value.partition(",")
    source = request.world.storages[volid.split(":", 1)[0]]
    storage = request.world.storages[request.text("storage", source.name)]
    present = source.find(request.node, volid)
    size = properties.to_bytes(properties.split(value).get("size", "0"))
    payload = present.used if present and full else 0
    content = "rootdir" if copy.kind == "lxc" else "images"
    volume = storage.allocate(
        copy.node, copy.vmid, size, payload=payload, content=content, parent="" if full else volid
    )
    made.append(volume.volid)
    return f"{volume.volid},{options}" if options else volume.volid


def _renamed(request: Request, copy: Guest, config: dict[str, str]) -> dict[str, str]:
    """New addresses, the new name and description."""
    name = "hostname" if copy.kind == "lxc" else "name"
    if request.has(name):
        config[name] = request.text(name)
    elif copy.kind == "qemu":
        config[name] = f"Copy-of-VM-{config.get('name', request.vmid)}"
    if request.has("description"):
        config["description"] = request.text("description").rstrip("\n") + "\n"
    for key in list(config):
        if re.fullmatch(r"net\d+", key):
            pattern = r"(hwaddr=|virtio=|e1000=|macaddr=)[0-9A-Fa-f:]{17}"
            config[key] = re.sub(pattern, lambda match: match[1] + request.world.new_mac(), config[key])
    return config


# Templates.


@routes.add("POST", "/nodes/{node}/lxc/{vmid}/template", check=needs("/vms/{vmid}", "VM.Allocate"))
def make_container_template(request: Request) -> object:
    """At once, without a task."""
    guest = _check_template(request, "lxc")
    become_template(request.world, guest)
    return None


@routes.add(
    "POST",
    "/nodes/{node}/qemu/{vmid}/template",
    f"disk string ={options_qemu.DISKS}",
    check=needs("/vms/{vmid}", "VM.Allocate"),
)
def make_machine_template(request: Request) -> object:
    """By a task."""
    guest = _check_template(request, "qemu")

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["snapshot"]
        guests.still_there(request.world, guest)
        become_template(request.world, guest)

    return request.spawn("qmtemplate", guest.vmid, work)


def _check_template(request: Request, kind: Kind) -> Guest:
    guest = request.guest(kind)
    guests.check_lock(guest)
    word = SHORT[kind]
    if guest.snapshots:
        raise failure(f"unable to create template, because {word} contains snapshots")
    if guest.template:
        raise failure("you can't convert a template to a template")
    if guest.status == "running":
        raise failure(f"you can't convert a {word} to template if the {word} is running")
    return guest


def become_template(world: World, guest: Guest) -> None:
    """Its disks are base images from now on."""
    for key, value in list(guest.owned_disks()):
        volid, _, options = value.partition(",")
        storage = world.storages[volid.split(":", 1)[0]]
        volume = storage.find(guest.node, volid)
        base = re.sub(r"(vm|subvol)-(\d+-disk)", r"base-\2", volid)
        if volume is not None:
            storage.remove(volid, guest.node)
            volume.volid = base
            storage.put(volume)
        guest.config[key] = f"{base},{options}" if options else base
    guest.config["template"] = "1"
