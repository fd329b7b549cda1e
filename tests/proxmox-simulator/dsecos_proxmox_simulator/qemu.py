"""Virtual machines: who may set what, their disks, and their configuration as it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dsecos_proxmox_simulator import lxc, options_qemu, properties
from dsecos_proxmox_simulator.errors import TaskError, failure, forbidden
from dsecos_proxmox_simulator.model import Guest, is_disk_key
from dsecos_proxmox_simulator.parameters import Value, find
from dsecos_proxmox_simulator.routing import Request
from dsecos_proxmox_simulator.storages import Volume
from dsecos_proxmox_simulator.world import World

CLOUD_INIT_SIZE = 4 << 20
ROOT_ONLY = {"args": "only root can set 'args' config", "hookscript": "only root can set 'hookscript' config"}


def stem(key: str) -> str:
    """`net` of `net0`, `efidisk` of `efidisk0`."""
    return key.rstrip("0123456789")


def options_of(parameters: Mapping[str, Value]) -> dict[str, Value]:
    """Those parameters that are options of the configuration."""
    own = {"vmid", "digest", "delete", "revert", "force", "skiplock"}
    return {k: v for k, v in parameters.items() if k not in own and find(options_qemu.OPTIONS, k)}


def check_rights(request: Request, options: Mapping[str, str], path: str) -> None:
    """Raises ApiError 403 for what one may not set."""
    if request.identity.is_root:
        return
    for key, value in options.items():
        if key in ROOT_ONLY:
            raise forbidden(ROOT_ONLY[key])
        kind = stem(key)
        if kind == "serial" and value != "socket":
            raise forbidden(f"only root can set '{key}' config for real devices")
        if kind == "ide" and "media=cdrom" in value and ":cloudinit" not in value:
            request.require(path, "VM.Config.CDROM")
        elif kind == "ide" and ":cloudinit" in value:
            request.require(path, "VM.Config.Cloudinit")
        else:
            privilege = options_qemu.PRIVILEGES.get(key) or options_qemu.PRIVILEGES.get(
                kind, "VM.Config.Options"
            )
            request.require(path, privilege)


def check_disks(request: Request, options: Mapping[str, str]) -> None:
    """Storages of new disks: there, fit, and allowed."""
    for key, value in options.items():
        volume = file_of(value)
        if (
            not is_disk_key(key)
            or volume in ("none", "cdrom")
            or ":" not in volume
            or key.startswith("unused")
        ):
            continue
        name = volume.split(":", 1)[0]
        if name not in request.world.storages:
            raise failure(f"storage '{name}' does not exist")
        if lxc.NEW_VOLUME.fullmatch(volume) or volume.endswith(":cloudinit"):
            lxc.storage_for_disks(request.world, name, request.node, "images")
            request.require(f"/storage/{name}", "Datastore.AllocateSpace")
        elif request.world.storages[name].find(request.node, volume) is None:
            raise failure(f"volume '{volume}' does not exist")


def file_of(value: str) -> str:
    """The volume of a disk's value."""
    values = properties.split(value, "file")
    return values.get("file") or values.get("volume", "")


def make_disks(world: World, guest: Guest, options: dict[str, str]) -> list[str]:
    """Allocate `storage:GiB` disks and cloud-init drives, and write the volumes into the options.

    Raises TaskError where a storage is full; what was made is removed again.
    """
    made: list[str] = []
    try:
        for key in list(options):
            if is_disk_key(key):
                options[key] = _made(world, guest, options[key], made)
    except TaskError:
        for volid in made:
            lxc.remove_volume(world, guest.node, volid)
        raise
    return made


def _made(world: World, guest: Guest, value: str, made: list[str]) -> str:
    values = properties.split(value, "file")
    volume = file_of(value)
    if volume.endswith(":cloudinit"):
        storage = world.storages[volume.split(":")[0]]
        volid = f"{storage.name}:vm-{guest.vmid}-cloudinit"
        place = storage.place(guest.node)
        storage.put(Volume(volid, CLOUD_INIT_SIZE, "images", place, CLOUD_INIT_SIZE, guest.vmid))
        made.append(volid)
        return f"{volid},media=cdrom,size={properties.to_size(CLOUD_INIT_SIZE)}"
    match = lxc.NEW_VOLUME.fullmatch(volume)
    if not match:
        return value
    storage = world.storages[match[1]]
    source = values.pop("import-from", "")
    size, payload = int(float(match[2]) * (1 << 30)), 0
    if source:
        present = world.storages[source.split(":", 1)[0]].find(guest.node, source)
        if present is None:
            raise TaskError(f"volume '{source}' does not exist")
        size, payload = present.size, present.used
    allocated = storage.allocate(guest.node, guest.vmid, size, payload=payload, content="images")
    made.append(allocated.volid)
    rest = {k: v for k, v in values.items() if k not in ("file", "volume", "size", "format")}
    text = ",".join(f"{k}={v}" for k, v in sorted((rest | {"size": properties.to_size(size)}).items()))
    return f"{allocated.volid},{text}"


def normalize(world: World, options: Mapping[str, Value]) -> dict[str, str]:
    """Options as the configuration file has them: `virtio=<address>,bridge=...`, tags sorted."""
    found: dict[str, str] = {}
    for key, value in options.items():
        text = str(value)
        if re.fullmatch(r"net\d+", key):
            text = _network(world, text)
        elif key == "tags":
            text = properties.unique_tags(text)
        elif key == "description" and text and not text.endswith("\n"):
            text += "\n"
        elif key == "cipassword":
            text = "**********"
        found[key] = text
    return found


def _network(world: World, text: str) -> str:
    values = properties.split(text, "model")
    model = values.pop("model", "")
    address = values.pop("macaddr", "")
    for name in options_qemu.MODELS:
        if name in values:
            model, address = name, values.pop(name)
    rest = "".join(f",{key}={value}" for key, value in sorted(values.items()))
    return f"{model}={address or world.new_mac()}{rest}"
