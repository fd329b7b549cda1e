"""An LXC guest of Proxmox VE as options of its API: what to create it with, what to change, what is there.

Pure. Options are those of `POST /nodes/{node}/lxc` and `PUT .../config`. What they cannot say is refused or
named here: no limit of processes, no id map of its own (Proxmox VE maps every unprivileged container's ids to
100000 and above), and directories of the host are mounted by root on the node alone (`local`).

A /32 with a gateway is fine (format CIDRv4 allows /8 to /32): Proxmox VE writes a route to the gateway into
the guest's /etc/network/interfaces at each start, and ifupdown of our template sets it.
"""

from collections.abc import Mapping

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.model import ConfigDigest, DiskMount, GuestConfig, NetworkInterface
from dsecos_agent.engines.proxmox import options, properties
from dsecos_agent.engines.proxmox.options import Changes, Raw, claim_of, owner_of

__all__ = [
    "claim_of",
    "config_changes",
    "create_parameters",
    "digests",
    "disk_bytes",
    "found_digests",
    "found_settings",
    "growing",
    "host_mounts",
    "owner_of",
    "ports",
    "settings",
]

ROOT = "rootfs"
BOOT = ("hostname", "nesting", "unprivileged")
"""Settings that a running container takes over at its next start (vmconfig_hotplug_pending of pve-container
applies limits, interfaces and new mount points at once).
"""

NET_DEFAULTS = {"firewall": "0", "type": "veth", "link_down": "0"}
HOST_MOUNTS_FROM = 128
"""Mount points from this number on are directories of the host, set by `local`; those below are disks."""
LAST_MOUNT_POINT = 255


def create_parameters(
    config: GuestConfig,
    *,
    vmid: int,
    template_volid: str,
    storage: str,
    resource_pool: str | None,
) -> dict[str, str | int]:
    """Parameters of `POST /nodes/{node}/lxc`; the guest is not started by it.

    Raises UnsafeConfigError, UnsupportedError.
    """
    root = options.root_image(config)
    place = properties.checked("storage", root.storage or storage, options.STORAGE)
    to_set, _ = _changes(config, {}, place)
    return {
        "vmid": vmid,
        "ostemplate": template_volid,
        ROOT: f"{place}:{properties.gibibytes(root.size)}",
        "unprivileged": f"{int(not config.privileged)}",
        **({"pool": resource_pool} if resource_pool else {}),
        **to_set,
    }


def config_changes(config: GuestConfig, current: Raw) -> Changes:
    """What to set and to delete with `PUT .../config`; a disk's size is `growing`'s business.

    A disk that is no longer wanted is detached: it stays with the guest as unusedN. Raises UnsafeConfigError,
    and UnsupportedError when the guest would have to be made anew.
    """
    if options.truth(current.get("unprivileged", 0)) != f"{int(not config.privileged)}":
        raise UnsupportedError(
            f"guest {config.name} is {'un' if config.privileged else ''}privileged, which Proxmox VE never"
            " changes: it has to be made anew"
        )
    return _changes(config, current, _storage_of(current))


def _changes(config: GuestConfig, current: Raw, storage: str) -> Changes:
    _check(config)
    wanted = settings(config)
    found = found_settings(current) if current else {}
    marks = options.marks_of(current)
    to_set = {key: wanted[key] for key in ("hostname", "cores", "cpulimit", "memory", "swap", "onboot")}
    to_set = {key: value for key, value in to_set.items() if value != found.get(key)}
    if wanted["startup"] != found.get("startup"):
        to_set["startup"] = options.startup(config.startup, current.get("startup", ""))
    if wanted["nesting"] != found.get("nesting", "0"):
        to_set["features"] = _features(current, nesting=config.nesting)
    unwanted = [key for key, value in to_set.items() if not value]
    to_set = {key: value for key, value in to_set.items() if value}

    nets = options.assign(
        "net", options.interfaces_of(config), marks, current, _there(current, "net", "name")
    )
    for interface in config.interfaces:
        slot = nets[interface.name]
        if _canonical_net(current.get(slot, "")) != wanted[f"interface {interface.name}"]:
            to_set[slot] = options.net(_net(interface), current.get(slot))
    disks = {disk.name: disk for disk in sorted(config.disks, key=lambda disk: disk.name)}
    by_target = _there(current, "mp", "mp")
    at_target = {name: by_target[disk.target] for name, disk in disks.items() if disk.target in by_target}
    places = options.assign("mp", disks, marks, current, at_target)
    for name, disk in disks.items():
        text = _disk(disk, there := current.get(places[name]), storage)
        if there is None or properties.parse(text, "volume") != properties.parse(str(there), "volume"):
            to_set[places[name]] = text
    devices = {device: name for slots in (nets, places) for name, device in slots.items()}
    full = digests(config).full
    marked, _ = options.changes(options.marked(config, current, full, devices), (), current)
    gone = [device for device in marks.devices if device not in devices]
    return {**to_set, **marked}, options.changes({}, [*unwanted, *gone], current)[1]


def settings(config: GuestConfig) -> dict[str, str]:
    """All that is ours to say, canonical. Raises UnsafeConfigError, UnsupportedError."""
    _check(config)
    found = {
        "hostname": config.hostname or config.name,
        "unprivileged": f"{int(not config.privileged)}",
        "nesting": f"{int(config.nesting)}",
        "cores": options.cores(config.limits),
        "cpulimit": options.cpulimit(config.limits),
        "memory": options.memory_mib(config.limits),
        "swap": "0",
        "onboot": f"{int(config.startup.autostart)}",
        "startup": options.canonical_startup(options.startup(config.startup)),
    }
    for interface in config.interfaces:
        text = properties.render(_net(interface))
        found[f"interface {interface.name}"] = _canonical_net(text)
    for disk in config.disks:
        found[f"disk {disk.name}"] = f"mp={disk.target},backup=1,size={properties.mebibytes(disk.size)}M"
    for text in host_mounts(config).values():
        found[f"mount {properties.parse(text)['mp']}"] = _canonical_mount(text)
    return found


def found_settings(raw: Raw) -> dict[str, str]:
    """The same of a guest as it is; interfaces and disks that we have not given it are left out."""
    features = properties.parse(str(raw.get("features", "")))
    found = {
        "hostname": str(raw.get("hostname", "")),
        "unprivileged": options.truth(raw.get("unprivileged", 0)),
        "nesting": options.truth(features.get("nesting", 0)),
        "cores": options.number(raw.get("cores") or ""),
        "cpulimit": options.number(raw.get("cpulimit", 0)),
        "memory": options.number(raw.get("memory", options.DEFAULT_MEMORY_MIB)),
        "swap": options.number(raw.get("swap", 512)),
        "onboot": options.truth(raw.get("onboot", 0)),
        "startup": options.canonical_startup(raw.get("startup", "")),
    }
    marks = options.marks_of(raw)
    for device, name in marks.devices.items():
        if device in raw and options.is_disk(device):
            found[f"disk {name}"] = _canonical_disk(raw[device], marks.sizes.get(device, 0))
        elif device in raw:
            found[f"interface {name}"] = _canonical_net(raw[device])
    for device, value in raw.items():
        if is_host_mount(device):
            found[f"mount {properties.parse(str(value)).get('mp', '')}"] = _canonical_mount(str(value))
    return found


def digests(config: GuestConfig) -> ConfigDigest:
    """Fingerprints of what it is to be; equal to `found_digests` of what it is once it is so."""
    return options.digest(settings(config), options.ownership(config), BOOT)


def found_digests(raw: Raw) -> ConfigDigest:
    """Fingerprints of what it is."""
    return options.digest(found_settings(raw), owner_of(raw), BOOT)


def disk_bytes(raw: Raw) -> int | None:
    """Size of the root disk; None when Proxmox VE knows none (a subvolume without a quota)."""
    return options.disk_bytes(raw, ROOT)


def growing(config: GuestConfig, raw: Raw) -> dict[str, int]:
    """Disks that are smaller than wanted -> bytes, for `PUT .../resize`. Disks are never made smaller."""
    wanted = {ROOT: options.root_image(config).size}
    sizes = {disk.name: disk.size for disk in config.disks}
    wanted |= {device: sizes[name] for device, name in options.marks_of(raw).devices.items() if name in sizes}
    found = {}
    for device, size in wanted.items():
        text = properties.parse(str(raw.get(device, "")), "volume").get("size", "")
        if text and 0 < properties.parse_size(text) < size:
            found[device] = properties.mebibytes(size) * properties.MIB
    return found


def ports(vmid: int, raw: Raw) -> tuple[str, ...]:
    """Host's ends of the interfaces that we have given it, in order."""
    ours = (device for device in options.marks_of(raw).devices if device.startswith("net") and device in raw)
    return tuple(f"veth{vmid}i{n}" for n in sorted(options.number_of(device) for device in ours))


def host_mounts(config: GuestConfig) -> dict[str, str]:
    """Directories of the host as mount points, which only root on the node may set: mp128 and above.

    Proxmox VE mounts them unshifted: in an unprivileged guest an owner below 100000 is nobody; and it moves
    only what says that it is on all nodes (`shared`, pct.conf(5)), as these are: each node's agent makes
    them. Raises UnsupportedError for a mount whose ids would have to be mapped.
    """
    found = {}
    for slot, mount in enumerate(sorted(config.mounts, key=lambda mount: mount.target), HOST_MOUNTS_FROM):
        if mount.idmapped and not config.privileged:
            raise UnsupportedError(
                f"guest {config.name}: Proxmox VE cannot map the ids of {mount.source} for {mount.target}"
            )
        if slot > LAST_MOUNT_POINT:
            raise UnsupportedError(f"guest {config.name} has more directories than there are mount points")
        parts = {"volume": f"{mount.source}", "mp": mount.target, "shared": "1"}
        parts |= {"ro": "1"} if mount.read_only else {}
        parts |= {} if mount.executable else {"mountoptions": "nosuid;noexec"}
        found[f"mp{slot}"] = properties.render(parts, "volume")
    return found


def is_host_mount(device: str) -> bool:
    """Whether a mount point is one that `local` sets."""
    return device.startswith("mp") and device[2:].isdigit() and int(device[2:]) >= HOST_MOUNTS_FROM


def _check(config: GuestConfig) -> None:
    options.check_words(config)
    options.check_init(config)
    if config.privileged and config.nesting:
        raise UnsupportedError(
            f"guest {config.name}: no token may set features of a privileged container, nesting neither"
        )


def _features(current: Raw, *, nesting: bool) -> str:
    """`nesting` and whatever else is set: a token may change no other feature."""
    features = properties.parse(str(current.get("features", "")))
    return properties.render({**features, "nesting": f"{int(nesting)}"})


def _net(interface: NetworkInterface) -> dict[str, str]:
    found = {
        "name": interface.name,
        "bridge": interface.bridge,
        "firewall": "0",
        "hwaddr": interface.mac.upper(),
        "ip": f"{interface.address}",
        "type": "veth",
    }
    found |= options.way6(interface)
    found |= {"gw": f"{interface.gateway}"} if interface.gateway is not None else {}
    return found | ({"mtu": f"{interface.mtu}"} if interface.mtu is not None else {})


def _canonical_net(value: object) -> str:
    return options.canonical_net(properties.parse(str(value or "")), NET_DEFAULTS)


def _disk(disk: DiskMount, found: object, storage: str) -> str:
    there = properties.parse(str(found or ""), "volume")
    volume = there or {"volume": f"{disk.storage or storage}:{properties.gibibytes(disk.size)}"}
    return properties.render({**volume, "mp": disk.target, "backup": "1"}, "volume")


def _canonical_disk(value: object, asked: int) -> str:
    """`asked` are the MiB that were asked for: a disk that has as much or more has that."""
    there = properties.parse(str(value), "volume")
    size = properties.mebibytes(properties.parse_size(there.get("size", "0")))
    shown = asked if size >= asked or not size else size
    return f"mp={there.get('mp', '')},backup={options.truth(there.get('backup', 0))},size={shown}M"


def _canonical_mount(value: str) -> str:
    there = properties.parse(value, "volume")
    read_only = options.truth(there.get("ro", 0))
    shared = options.truth(there.get("shared", 0))
    wishes = ";".join(sorted(filter(None, there.get("mountoptions", "").split(";"))))
    return f"{there.get('volume', '')} ro={read_only} shared={shared} {wishes}".strip()


def _there(current: Raw, prefix: str, key: str) -> dict[str, str]:
    """Value of a property -> device of that kind, leaving out directories of the host."""
    devices = (name for name in current if name.startswith(prefix) and name[len(prefix) :].isdigit())
    found: Mapping[str, str] = {
        properties.parse(str(current[device]), "volume").get(key, ""): device
        for device in sorted(devices, key=options.number_of)
        if not is_host_mount(device)
    }
    return dict(found)


def _storage_of(current: Raw) -> str:
    volume = properties.parse(str(current.get(ROOT, "")), "volume").get("volume", "")
    return volume.partition(":")[0]
