"""Containers: who may set what, their disks, and their configuration as it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dsecos_proxmox_simulator import options_lxc, properties
from dsecos_proxmox_simulator.errors import TaskError, bad_parameters, failure, forbidden
from dsecos_proxmox_simulator.model import Guest
from dsecos_proxmox_simulator.parameters import Value, find
from dsecos_proxmox_simulator.routing import Request
from dsecos_proxmox_simulator.storages import Storage
from dsecos_proxmox_simulator.world import World

UNPACKED = 236_000_000
"""Bytes that the unpacked template takes, as measured."""

DEFAULT_DISK = "4"
NEW_VOLUME = re.compile(r"([A-Za-z][A-Za-z0-9\-_.]*):(\d+(?:\.\d+)?)")


def stem(key: str) -> str:
    """`net` of `net0`."""
    return key.rstrip("0123456789") if key not in options_lxc.OPTIONS else key


def check_rights(request: Request, options: Mapping[str, str], guest: Guest | None, path: str) -> None:
    """Raises ApiError 403 for what a token may not set (PVE::LXC::check_ct_modify_config_perm).

    A new guest that goes into a pool is judged by the pool's path.
    """
    if request.identity.is_root:
        return
    unprivileged = options.get("unprivileged", guest.config.get("unprivileged", "0") if guest else "0") == "1"
    for key, value in options.items():
        kind = stem(key)
        if kind == "dev":
            raise forbidden("configuring device passthrough is only allowed for root@pam")
        if kind == "features":
            _check_features(properties.split(value), guest, unprivileged=unprivileged)
        if kind == "mp" and volume_type(value) != "volume":
            raise forbidden(f"mount point type {volume_type(value)} is only allowed for root@pam")
        if kind == "hookscript":
            raise forbidden("changing the hookscript is only allowed for root@pam")
        request.require(path, options_lxc.PRIVILEGES.get(kind, "VM.Config.Options"))


def _check_features(features: Mapping[str, str], guest: Guest | None, *, unprivileged: bool) -> None:
    before = properties.split(guest.config.get("features", "")) if guest else {}
    changed = {key for key in {*features, *before} if features.get(key, "0") != before.get(key, "0")}
    if changed and not unprivileged:
        raise forbidden("changing feature flags for privileged container is only allowed for root@pam")
    if changed - {"nesting"}:
        raise forbidden("changing feature flags (except nesting) is only allowed for root@pam")


def volume_type(value: str) -> str:
    """volume, bind (a path) or device (below /dev), of a mount point."""
    volume = properties.split(value, "volume").get("volume", "")
    if volume.startswith("/dev/"):
        return "device"
    return "bind" if volume.startswith("/") else "volume"


def check_networks(request: Request, options: Mapping[str, str]) -> None:
    """Raises ApiError 403 where the bridges may not be used."""
    for key, value in options.items():
        if stem(key) == "net" and (bridge := properties.split(value).get("bridge")):
            zone = request.world.sdn.get(("vnet", bridge))
            name = (zone.wanted or zone.running or {}).get("zone", "") if zone else "localnetwork"
            path = f"/sdn/zones/{name}/{bridge}"
            if tag := properties.split(value).get("tag"):
                path += f"/{tag}"
            request.require(path, "SDN.Use")


def storage_for_disks(world: World, name: str, node: str, content: str = "rootdir") -> Storage:
    """The storage. Raises ApiError where it is missing, not on the node, or not for guests' disks."""
    storage = world.storages.get(name)
    if storage is None:
        raise failure(f"storage '{name}' does not exist")
    if not storage.on(node):
        raise failure(f"storage '{name}' is not available on node '{node}'")
    if content not in storage.content:
        what = "container directories" if content == "rootdir" else "vm images"
        raise bad_parameters({"storage": f"storage '{name}' does not support {what}"})
    return storage


def check_disks(request: Request, options: Mapping[str, str]) -> None:
    """Storages of new volumes: there, fit, and allowed."""
    for key, value in options.items():
        if stem(key) in ("rootfs", "mp") and volume_type(value) == "volume":
            name = properties.split(value, "volume")["volume"].split(":", 1)[0]
            storage_for_disks(request.world, name, request.node)
            request.require(f"/storage/{name}", "Datastore.AllocateSpace")


def make_disks(world: World, guest: Guest, options: dict[str, str], payload: int) -> list[str]:
    """Allocate `storage:GiB` of rootfs and mount points and write the volumes into the options.

    Returns the volumes made. Raises TaskError where a storage is full; what was made is removed again.
    """
    made: list[str] = []
    for key in list(options):
        kind = stem(key)
        if kind not in ("rootfs", "mp"):
            continue
        values = properties.split(options[key], "volume")
        match = NEW_VOLUME.fullmatch(values["volume"])
        if not match:
            continue
        storage = world.storages[match[1]]
        try:
            size = int(float(match[2]) * (1 << 30))
            volume = storage.allocate(
                guest.node, guest.vmid, size, payload=payload if kind == "rootfs" else 0
            )
        except TaskError:
            for volid in made:
                remove_volume(world, guest.node, volid)
            raise
        made.append(volume.volid)
        values |= {"volume": volume.volid, "size": properties.to_size(size) if size else "0T"}
        declared = find(options_lxc.OPTIONS, key)
        assert declared is not None
        options[key] = properties.text_of(values, declared)
    return made


def remove_volume(world: World, node: str, volid: str) -> None:
    """The volume is gone from the node's storage."""
    world.storages[volid.split(":", 1)[0]].remove(volid, node)


def normalize(world: World, options: Mapping[str, Value]) -> dict[str, str]:
    """Options as the configuration file has them: addresses given out, tags sorted, keys of a network in
    order."""
    found: dict[str, str] = {}
    for key, value in options.items():
        text = str(value)
        if stem(key) == "net":
            values = {"type": "veth"} | properties.split(text)
            values.setdefault("hwaddr", world.new_mac())
            declared = find(options_lxc.OPTIONS, key)
            assert declared is not None
            text = properties.text_of(values, declared)
        elif key == "tags":
            text = properties.unique_tags(text)
        elif key == "description" and text and not text.endswith("\n"):
            text += "\n"
        found[key] = text
    return found


def options_of(parameters: Mapping[str, Value], leave_out: Iterable[str] = ()) -> dict[str, Value]:
    """Those parameters that are options of the configuration."""
    return {
        key: value
        for key, value in parameters.items()
        if key not in leave_out and find(options_lxc.OPTIONS, key) is not None
    }


def missing_bridges(world: World, guest: Guest) -> list[str]:
    """Bridges that the guest's network devices name and its node lacks."""
    bridges = [
        properties.split(value).get("bridge", "")
        for key, value in guest.config.items()
        if re.fullmatch(r"net\d+", key)
    ]
    return [bridge for bridge in bridges if bridge and not world.bridge_exists(guest.node, bridge)]
