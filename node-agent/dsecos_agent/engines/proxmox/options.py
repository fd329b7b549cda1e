"""What the configurations of containers and VMs have in common: names, limits, start order, marks, digests.

A configuration is what `GET .../config` tells: option -> value, numbers as numbers or as text, options at
their default mostly absent. It is compared as settings: canonical texts by name, of what is ours to say and
of nothing else. So what an administrator adds beside is left alone, and what Proxmox VE fills in is no
change.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import (
    ConfigDigest,
    GuestConfig,
    Limits,
    NetworkInterface,
    RootImage,
    Startup,
)
from dsecos_agent.engines.proxmox import properties
from dsecos_agent.engines.proxmox.properties import Marks, Ownership

Raw = Mapping[str, object]
"""A configuration as Proxmox VE tells it."""
Changes = tuple[dict[str, str], tuple[str, ...]]
"""Options to set, and names of options to delete."""

BRIDGE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
TARGET = re.compile(r"/[A-Za-z0-9._/-]*[A-Za-z0-9._-]")
STORAGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]")

DEFAULT_MEMORY_MIB = 512
"""Proxmox VE knows no guest without a limit of memory; this is what it takes when none is asked for."""

LAST_DEVICE = 31
"""Number of the last interface, and of the last disk that is ours."""

IN_NET_LEFT_ALONE = frozenset({"rate", "queues", "host-managed"})
"""Properties of an interface that are an administrator's; any other that we do not write is taken away, since
it may lead the guest into another network.
"""


def check_words(config: GuestConfig) -> None:
    """Raise UnsafeConfigError for what Proxmox VE could read otherwise than we mean it."""
    properties.checked("name", config.name, properties.NAME)
    properties.checked("hostname", config.hostname or config.name, properties.NAME)
    for interface in config.interfaces:
        properties.checked("interface", interface.name, properties.NAME)
        properties.checked("bridge", interface.bridge, BRIDGE)
        properties.checked("MAC", interface.mac, MAC)
    for target in (*(disk.target for disk in config.disks), *(mount.target for mount in config.mounts)):
        properties.checked("mount target", target, TARGET)
        if {".", ".."} & set(PurePosixPath(target).parts):
            raise UnsafeConfigError(f"guest {config.name}: mount target {target!r} leads elsewhere")
    for storage in (*(disk.storage for disk in config.disks), root_image(config).storage):
        if storage:
            properties.checked("storage", storage, STORAGE)


def check_init(config: GuestConfig) -> None:
    """Raise UnsupportedError for an init of its own or an environment of it: its template has both."""
    if config.environment or config.init != ("/sbin/init",):
        raise UnsupportedError(
            f"guest {config.name}: Proxmox VE starts what its template has as init, with no environment"
        )


def root_image(config: GuestConfig) -> RootImage:
    """What the root disk is made from. Raises UnsafeConfigError."""
    if not isinstance(config.root, RootImage):
        raise UnsafeConfigError(f"guest {config.name}: Proxmox VE takes an image, not a root directory")
    return config.root


def ownership(config: GuestConfig) -> Ownership:
    """Whose it is to be."""
    return Ownership(config.name, config.owner_uid)


def owner_of(raw: Raw) -> Ownership | None:
    """Whose a guest is; None when it is nobody's, also when its tags and its description disagree."""
    return properties.ownership_of(str(raw.get("tags", "")), str(raw.get("description", "")))


def claim_of(raw: Raw) -> Ownership | None:
    """Whose its description alone says that it is.

    For a clone: it is born with the description that was asked for and with its template's tags, so until
    these are set it is claimed and not yet owned.
    """
    return marks_of(raw).ownership


def marks_of(raw: Raw) -> Marks:
    """Our marks in its description."""
    return properties.parse_description(str(raw.get("description", "")))


def cores(limits: Limits) -> str:
    """CPUs that the guest sees: as many as its limit touches; empty: all."""
    return "" if limits.cpu_millis is None else f"{max(1, -(-limits.cpu_millis // 1000))}"


def cpulimit(limits: Limits) -> str:
    """CPUs that it may use at a time, to a thousandth; 0 is no limit."""
    return number(Decimal(limits.cpu_millis or 0) / 1000)


def memory_mib(limits: Limits) -> str:
    """MiB, rounded up: a limit that is no multiple of a MiB becomes up to one MiB larger. At least 16."""
    if limits.memory_bytes is None:
        return f"{DEFAULT_MEMORY_MIB}"
    return f"{max(16, properties.mebibytes(limits.memory_bytes))}"


def number(value: object) -> str:
    """A number however it is written: 1, 1.0 and "1" are the same. What is none stays as it is."""
    try:
        return f"{Decimal(str(value)).normalize():f}"
    except InvalidOperation:
        return str(value)


def truth(value: object) -> str:
    """1 or 0."""
    return f"{int(properties.is_true(value))}"


def startup(wanted: Startup, found: object = "") -> str:
    """Order of the start, and the seconds until the next; `down` is an administrator's and stays."""
    down = properties.parse(str(found), "order").get("down")
    delay = {"up": f"{wanted.delay}"} if wanted.delay else {}
    return properties.render({"order": f"{wanted.order}", **delay, **({"down": down} if down else {})})


def canonical_startup(found: object) -> str:
    """Our part of a start order: 5, order=5 and order=5,up=0,down=60 are the same."""
    parts = properties.parse(str(found or ""), "order")
    order, up = parts.get("order", ""), number(parts.get("up", "0"))
    return properties.render({"order": order, **({"up": up} if up != "0" else {})}) if order else ""


def net(wanted: Mapping[str, str], found: object, *, default_key: str = "") -> str:
    """An interface as it has to be written: ours, and what is left alone of what is there."""
    there = properties.parse(str(found or ""), default_key)
    kept = {key: value for key, value in there.items() if key in IN_NET_LEFT_ALONE}
    return properties.render({**wanted, **kept})


def canonical_net(found: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    """An interface, comparable: without defaults and what is left alone, MAC in upper case, sorted."""
    return ",".join(
        f"{key}={value.upper() if ':' in value else value}"
        for key, value in sorted(found.items())
        if key not in IN_NET_LEFT_ALONE and defaults.get(key) != value
    )


def assign(
    prefix: str, names: Iterable[str], marks: Marks, raw: Raw, there: Mapping[str, str]
) -> dict[str, str]:
    """Our names -> device: the one that we have given it already, the one that is `there`, or a free one.

    So a number once given stays, whatever comes or goes beside it. Raises UnsupportedError.
    """
    wanted = list(names)
    held = {name: device for device, name in marks.devices.items() if _kind(device) == prefix}
    found = {name: held[name] for name in wanted if name in held}
    for name in (name for name in wanted if name not in held):
        taken = {*raw, *marks.devices, *found.values()}
        free = (f"{prefix}{n}" for n in range(LAST_DEVICE + 1) if f"{prefix}{n}" not in taken)
        place = there.get(name, "")
        place = place if place and place not in found.values() else next(free, "")
        if not place:
            raise UnsupportedError(f"there is no number left for {prefix} {name}")
        found[name] = place
    return found


def _kind(device: str) -> str:
    return device.rstrip("0123456789")


def is_disk(device: str) -> bool:
    """Whether a device is a mount point of a container."""
    return _kind(device) == "mp"


def disk_bytes(raw: Raw, device: str) -> int | None:
    """Size of a disk; None when Proxmox VE tells none."""
    size = properties.parse(str(raw.get(device, "")), "volume").get("size", "")
    return (properties.parse_size(size) or None) if size else None


def number_of(device: str) -> int:
    """The number in a device's name: 3 in mp3."""
    return int(device.removeprefix(_kind(device)))


def interfaces_of(config: GuestConfig) -> dict[str, NetworkInterface]:
    """By name in the guest."""
    return {interface.name: interface for interface in config.interfaces}


def way6(interface: NetworkInterface) -> dict[str, str]:
    """An interface's IPv6 address and gateway, as net[n] of a container and ipconfig[n] of a VM have them."""
    ways = {"ip6": interface.address6, "gw6": interface.gateway6}
    return {name: f"{value}" for name, value in ways.items() if value is not None}


def digest(settings: Mapping[str, str], owner: Ownership | None, boot: Collection[str]) -> ConfigDigest:
    """Fingerprints of settings; `boot` names those that only a restart changes."""
    whole = [settings, owner.guest if owner else "", owner.owner_uid if owner else ""]
    return ConfigDigest(full=_hash(whole), boot=_hash({key: settings.get(key, "") for key in boot}))


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def marked(config: GuestConfig, raw: Raw, full: str, devices: Mapping[str, str]) -> dict[str, str]:
    """Tags and description as they have to be; `devices` by device. The `boot` mark stays."""
    owner = ownership(config)
    asked = {disk.name: properties.mebibytes(disk.size) for disk in config.disks}
    sizes = {device: asked[name] for device, name in devices.items() if is_disk(device)}
    marks = Marks(config.name, config.owner_uid, full, marks_of(raw).boot, devices, sizes)
    return {
        "tags": properties.render_tags(str(raw.get("tags", "")), owner),
        "description": properties.render_description(str(raw.get("description", "")), marks),
    }


def changes(wanted: Mapping[str, str], unwanted: Iterable[str], raw: Raw) -> Changes:
    """What of it is not there yet, and what is there and has to go."""
    to_set = {key: value for key, value in wanted.items() if not _same(key, value, raw.get(key))}
    return to_set, tuple(sorted(key for key in unwanted if key in raw))


def _same(key: str, wanted: str, found: object) -> bool:
    if found is None:
        return False
    if key == "description":
        return wanted.strip() == str(found).strip()
    if key == "tags":
        return properties.parse_tags(wanted.lower()) == properties.parse_tags(str(found).lower())
    return wanted == str(found)


def booted(raw: Raw, boot: str) -> dict[str, str]:
    """What to set, before a start, so that it is known what the guest was started with."""
    marks = replace(marks_of(raw), boot=boot)
    return {"description": properties.render_description(str(raw.get("description", "")), marks)}


def unmarked(raw: Raw) -> Changes:
    """What to set and to delete so that nothing says any more that the guest is ours."""
    tags, description = properties.without_marks(str(raw.get("tags", "")), str(raw.get("description", "")))
    options = {"tags": tags, "description": description}
    to_set, _ = changes({key: text for key, text in options.items() if text}, (), raw)
    return to_set, tuple(sorted(key for key, text in options.items() if not text and raw.get(key)))
