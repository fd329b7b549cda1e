"""A QEMU guest of Proxmox VE as options of its API: a clone of a VM template, and what to set on it then.

Pure. Options are those of `POST /nodes/{node}/qemu/{vmid}/clone` and `PUT .../config`. The template brings
the system: a disk at scsi0, cloud-init and the guest agent in it, and whatever its maker set beside (user,
SSH keys, name servers, cicustom), which is left alone. Address and gateway reach the guest by cloud-init;
whether its cloud-init takes a /32 with a gateway outside of it depends on its version.

Refused: disks and directories beside the root, which nobody would mount in the guest. `privileged` and
`nesting` say nothing about a VM.
"""

from collections.abc import Mapping

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import ConfigDigest, GuestConfig, NetworkInterface
from dsecos_agent.engines.proxmox import options, properties
from dsecos_agent.engines.proxmox.options import Changes, Raw, claim_of, owner_of
from dsecos_agent.engines.proxmox.properties import Marks

__all__ = [
    "claim_of",
    "clone_parameters",
    "config_changes",
    "digests",
    "disk_bytes",
    "found_digests",
    "found_settings",
    "growing",
    "owner_of",
    "ports",
    "settings",
]

ROOT = "scsi0"
CPU = "x86-64-v2-AES"
"""Every server since 2010 has it, so guests can be moved while they run; the default of the web interface."""

PLAIN: Mapping[str, str] = {
    "agent": "enabled",
    "boot": "legacy",
    "cpu": "cputype",
    "memory": "current",
    "vga": "type",
}
"""Options that are property strings -> their default key."""

FIXED: Mapping[str, Mapping[str, str]] = {
    "agent": {"enabled": "1"},
    "boot": {"order": ROOT},
    "cpu": {"cputype": CPU},
    "vga": {"type": "serial0"},
}
"""What each VM is given; other properties of these options are left alone. Its console is its serial port."""

LIVE = frozenset({"cpulimit", "onboot", "startup"})
"""Settings that a running VM takes over; interfaces are plugged while it runs, too."""

NET_DEFAULTS = {"firewall": "0", "link_down": "0"}
CLOUD_INIT_DEVICE = "ide2"


def clone_parameters(
    config: GuestConfig, *, vmid: int, storage: str, resource_pool: str | None, linked: bool = False
) -> dict[str, str | int]:
    """Parameters of `POST /nodes/{node}/qemu/{template}/clone`.

    The clone has our description from its first moment, our tags only once `config_changes` was applied:
    until then `claim_of` knows it and `owner_of` does not. A linked clone lies on its template's storage.
    Raises UnsafeConfigError, UnsupportedError.
    """
    _check(config)
    root = options.root_image(config)
    place = properties.checked("storage", root.storage or storage, options.STORAGE)
    return {
        "newid": vmid,
        "name": config.hostname or config.name,
        "full": int(not linked),
        "description": properties.render_description("", Marks(config.name, config.owner_uid)),
        **({"pool": resource_pool} if resource_pool else {}),
        **({} if linked else {"storage": place}),
    }


def config_changes(config: GuestConfig, current: Raw) -> Changes:
    """What to set and to delete with `PUT .../config`; the disk's size is `growing`'s business.

    Raises UnsafeConfigError, UnsupportedError.
    """
    wanted, found = settings(config), found_settings(current)
    if ROOT not in current:
        raise UnsupportedError(f"the template of guest {config.name} has no disk at {ROOT}")
    simple = ("name", "cores", "cpulimit", "balloon", "onboot", "serial0")
    to_set = {key: wanted[key] for key in simple if wanted[key] != found[key]}
    unwanted = [key for key, value in to_set.items() if not value]
    to_set = {key: value for key, value in to_set.items() if value}
    if wanted["memory"] != found["memory"]:
        to_set["memory"] = wanted["memory"]
    if wanted["startup"] != found["startup"]:
        to_set["startup"] = options.startup(config.startup, current.get("startup", ""))
    for option, ours in FIXED.items():
        if wanted[option] != found[option]:
            there = properties.parse(str(current.get(option, "")), PLAIN[option])
            to_set[option] = properties.render({**there, **ours}, PLAIN[option])
    if not found["cloud-init drive"]:
        place = properties.parse(str(current[ROOT]), "file")["file"].partition(":")[0]
        to_set[CLOUD_INIT_DEVICE] = f"{place}:cloudinit"

    marks = options.marks_of(current)
    # What we have not configured yet has somebody's interfaces, which become ours in their order. Those of a
    # fresh clone are its template's, so what is too much of them goes; of a guest that is adopted it stays.
    inherited = {} if marks.config else _inherited(config, current)
    too_many = inherited.values() if marks.ownership is not None else ()
    nets = options.assign("net", options.interfaces_of(config), marks, current, inherited)
    for interface in config.interfaces:
        slot = nets[interface.name]
        if _canonical_net(current.get(slot, "")) != wanted[f"interface {interface.name}"]:
            to_set[slot] = options.net(_net(interface), current.get(slot))
        address = _address_option(slot)
        if _canonical_address(current.get(address, "")) != wanted[f"address {interface.name}"]:
            to_set[address] = _address(interface)
    devices = {device: name for name, device in nets.items()}
    marked = options.marked(config, current, digests(config).full, devices)
    gone = [name for name in (*marks.devices, *too_many) if name not in devices]
    unwanted += [*gone, *(_address_option(name) for name in gone)]
    to_set |= options.changes(marked, (), current)[0]
    return to_set, options.changes({}, unwanted, current)[1]


def settings(config: GuestConfig) -> dict[str, str]:
    """All that is ours to say, canonical. Raises UnsafeConfigError, UnsupportedError."""
    _check(config)
    found = {
        "name": config.hostname or config.name,
        "cores": options.cores(config.limits),
        "cpulimit": options.cpulimit(config.limits),
        "memory": options.memory_mib(config.limits),
        "balloon": "0",
        "onboot": f"{int(config.startup.autostart)}",
        "startup": options.canonical_startup(options.startup(config.startup)),
        "serial0": "socket",
        "cloud-init drive": "1",
        **{option: _only(ours, ours) for option, ours in FIXED.items()},
    }
    for interface in config.interfaces:
        found[f"interface {interface.name}"] = _canonical_net(properties.render(_net(interface)))
        found[f"address {interface.name}"] = _canonical_address(_address(interface))
    return found


def found_settings(raw: Raw) -> dict[str, str]:
    """The same of a VM as it is; interfaces that we have not given it are left out."""
    memory = properties.parse(str(raw.get("memory", "")), "current").get("current", "")
    found = {
        "name": str(raw.get("name", "")),
        "cores": options.number(raw.get("cores") or ""),
        "cpulimit": options.number(raw.get("cpulimit", 0)),
        "memory": options.number(memory or options.DEFAULT_MEMORY_MIB),
        "balloon": options.number(raw.get("balloon", "")),
        "onboot": options.truth(raw.get("onboot", 0)),
        "startup": options.canonical_startup(raw.get("startup", "")),
        "serial0": str(raw.get("serial0", "")),
        "cloud-init drive": "1" if any(_is_cloud_init(name, value) for name, value in raw.items()) else "",
    }
    for option, ours in FIXED.items():
        found[option] = _only(properties.parse(str(raw.get(option, "")), PLAIN[option]), ours)
    for device, name in options.marks_of(raw).devices.items():
        if device in raw:
            found[f"interface {name}"] = _canonical_net(raw[device])
            found[f"address {name}"] = _canonical_address(raw.get(_address_option(device), ""))
    return found


def digests(config: GuestConfig) -> ConfigDigest:
    """Fingerprints of what it is to be; equal to `found_digests` of what it is once it is so."""
    wanted = settings(config)
    return options.digest(wanted, options.ownership(config), _boot(wanted))


def found_digests(raw: Raw) -> ConfigDigest:
    """Fingerprints of what it is."""
    found = found_settings(raw)
    return options.digest(found, owner_of(raw), _boot(found))


def disk_bytes(raw: Raw) -> int | None:
    """Size of the root disk."""
    return options.disk_bytes(raw, ROOT)


def growing(config: GuestConfig, raw: Raw) -> dict[str, int]:
    """The root disk -> bytes when it is smaller than wanted, for `PUT .../resize`; never to be smaller."""
    wanted, found = options.root_image(config).size, disk_bytes(raw)
    if found is None or found >= wanted:
        return {}
    return {ROOT: properties.mebibytes(wanted) * properties.MIB}


def ports(vmid: int, raw: Raw) -> tuple[str, ...]:
    """Host's ends of the interfaces that we have given it, in order."""
    ours = (device for device in options.marks_of(raw).devices if device in raw)
    return tuple(f"tap{vmid}i{n}" for n in sorted(options.number_of(device) for device in ours))


def _check(config: GuestConfig) -> None:
    options.check_words(config)
    options.check_init(config)
    if config.disks or config.mounts:
        raise UnsupportedError(f"guest {config.name}: a VM has one disk, and no directory of the host")
    names = [interface.name for interface in config.interfaces]
    if len(set(names)) != len(names):
        raise UnsafeConfigError(f"guest {config.name} has two interfaces of one name")


def _boot(found: Mapping[str, str]) -> list[str]:
    return [key for key in found if key not in LIVE and not key.startswith("interface ")]


def _only(found: Mapping[str, str], ours: Mapping[str, str]) -> str:
    return properties.render({key: found[key] for key in ours if found.get(key)})


def _inherited(config: GuestConfig, current: Raw) -> dict[str, str]:
    """Names of the interfaces -> the template's devices; those beyond by a name that nobody has."""
    there = sorted(
        (name for name in current if name.startswith("net") and name[3:].isdigit()), key=options.number_of
    )
    names = [interface.name for interface in config.interfaces]
    names += [f"{number} of the template" for number in range(len(names), len(there))]
    return dict(zip(names, there, strict=False))


def _net(interface: NetworkInterface) -> dict[str, str]:
    found = {"virtio": interface.mac.upper(), "bridge": interface.bridge, "firewall": "0"}
    return found | ({"mtu": f"{interface.mtu}"} if interface.mtu is not None else {})


def _canonical_net(value: object) -> str:
    """`virtio=MAC` and `model=virtio,macaddr=MAC` are the same (aliases in the format of net[n])."""
    there = properties.parse(str(value or ""), "model")
    model, mac = there.pop("model", ""), there.pop("macaddr", "")
    return options.canonical_net({**there, **({model: mac} if model else {})}, NET_DEFAULTS)


def _address_option(device: str) -> str:
    return f"ipconfig{options.number_of(device)}"


def _address(interface: NetworkInterface) -> str:
    gateway = {"gw": f"{interface.gateway}"} if interface.gateway is not None else {}
    return properties.render({**gateway, "ip": f"{interface.address}", **options.way6(interface)})


def _canonical_address(value: object) -> str:
    return ",".join(f"{key}={text}" for key, text in sorted(properties.parse(str(value or "")).items()))


def _is_cloud_init(device: str, value: object) -> bool:
    on_a_bus = device.rstrip("0123456789") in {"ide", "sata", "scsi"}
    return on_a_bus and "cloudinit" in properties.parse(str(value), "file").get("file", "")
