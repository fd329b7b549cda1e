"""A guest that somebody else has made, as options of its API: what of it is ours to say once it is adopted.

Pure. Ours are how much CPU it may use, its memory, and its start order. How many cores and sockets it sees,
swap, disks, interfaces, features and the rest are its own. A limit that is not asked for stays as it is, so
the guest's marks say which options are ours, and what start order it had before.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.model import Adopted, ConfigDigest, GuestConfig, GuestKind, Limits
from dsecos_agent.engines.proxmox import container, options, properties
from dsecos_agent.engines.proxmox.options import Changes, Raw
from dsecos_agent.engines.proxmox.properties import Marks

START = ("onboot", "startup")
"""What a release gives back as it was; limits stay."""
BOOT = {GuestKind.CONTAINER: (), GuestKind.VM: ("memory",)}
"""Settings that a running guest takes over at its next start."""
DISK_BUSES = frozenset({"ide", "sata", "scsi", "virtio"})


def limits(asked: Limits) -> dict[str, str]:
    """Options for the limits that are asked for."""
    cpu = {} if asked.cpu_millis is None else {"cpulimit": options.cpulimit(asked)}
    return cpu | ({} if asked.memory_bytes is None else {"memory": options.memory_mib(asked)})


def takes_memory_live(raw: Raw) -> bool:
    """Whether a running VM may take more memory at once (qm(1), hotplug), which ours never do."""
    return "memory" in str(raw.get("hotplug", "")).replace(";", ",").split(",")


def released(raw: Raw) -> Changes:
    """What to set and to delete so that it is as it was, but for its limits."""
    to_set, unwanted = options.unmarked(raw)
    before = options.marks_of(raw).before
    to_set |= options.changes(before, (), raw)[0]
    return to_set, (*unwanted, *(option for option in START if option in raw and option not in before))


def root_disk(kind: GuestKind, raw: Raw) -> str:
    """The disk that it starts from; empty when that cannot be told of a VM."""
    if kind is GuestKind.CONTAINER:
        return container.ROOT
    order = properties.parse(str(raw.get("boot", "")), "legacy").get("order", "")
    devices = order.split(";") if order else [str(raw.get("bootdisk", ""))]
    disks = [device for device in devices if _is_disk(raw, device)]
    return disks[0] if len(disks) == 1 else ""


@dataclass(frozen=True, slots=True)
class AdoptedForm:
    """A `forms.Form`."""

    kind: GuestKind

    def settings(self, config: GuestConfig) -> dict[str, str]:
        """All that is ours to say, canonical. Raises UnsafeConfigError, UnsupportedError."""
        properties.checked("name", config.name, properties.NAME)
        if config.interfaces or config.mounts or config.disks:
            raise UnsupportedError(f"guest {config.name} was adopted: its network and disks are its own")
        return limits(config.limits) | {
            "onboot": f"{int(config.startup.autostart)}",
            "startup": options.canonical_startup(options.startup(config.startup)),
        }

    def found_settings(self, raw: Raw) -> dict[str, str]:
        """The same of a guest as it is."""
        return _found(raw, options.marks_of(raw).adopted)

    def digests(self, config: GuestConfig) -> ConfigDigest:
        """Fingerprints of what it is to be; equal to `found_digests` of what it is once it is so."""
        return options.digest(self.settings(config), options.ownership(config), BOOT[self.kind])

    def found_digests(self, raw: Raw) -> ConfigDigest:
        """Fingerprints of what it is."""
        return options.digest(self.found_settings(raw), options.owner_of(raw), BOOT[self.kind])

    def config_changes(self, config: GuestConfig, current: Raw) -> Changes:
        """What to set, to adopt it or to keep it as it should be. Raises UnsafeConfigError."""
        wanted = self.settings(config)
        found = _found(current, wanted)
        to_set = {option: value for option, value in wanted.items() if value != found[option]}
        if "startup" in to_set:
            to_set["startup"] = options.startup(config.startup, current.get("startup", ""))
        balloon = options.number(current.get("balloon") or "0")
        if balloon.isdecimal() and int(balloon) > int(to_set.get("memory", balloon)):
            # A balloon may not hold more than there is (PVE::API2::Qemu, update_vm_api).
            to_set["balloon"] = to_set["memory"]
        marks = options.marks_of(current)
        marks = Marks(
            config.name,
            config.owner_uid,
            self.digests(config).full,
            marks.boot,
            adopted=tuple(sorted(wanted)),
            before=marks.before if marks.adopted else _before(current),
        )
        marked = {
            "tags": properties.render_tags(str(current.get("tags", "")), options.ownership(config)),
            "description": properties.render_description(str(current.get("description", "")), marks),
        }
        return to_set | options.changes(marked, (), current)[0], ()

    def disk_bytes(self, raw: Raw) -> int | None:
        """Size of the root disk; None when it cannot be told."""
        return options.disk_bytes(raw, root_disk(self.kind, raw))

    def growing(self, config: GuestConfig, raw: Raw) -> dict[str, int]:
        """The root disk -> bytes when it is smaller than wanted; never to be smaller."""
        wanted = config.root.size if isinstance(config.root, Adopted) else 0
        found = self.disk_bytes(raw)
        if found is None or found >= wanted:
            return {}
        return {root_disk(self.kind, raw): properties.mebibytes(wanted) * properties.MIB}

    def ports(self, _vmid: int, _raw: Raw, /) -> tuple[str, ...]:
        """None is ours."""
        return ()


def _found(raw: Raw, names: Iterable[str]) -> dict[str, str]:
    memory = properties.parse(str(raw.get("memory", "")), "current").get("current", "")
    found = {
        "cpulimit": options.number(raw.get("cpulimit", 0)),
        "memory": options.number(memory or options.DEFAULT_MEMORY_MIB),
        "onboot": options.truth(raw.get("onboot", 0)),
        "startup": options.canonical_startup(raw.get("startup", "")),
    }
    return {name: found[name] for name in names if name in found}


def _before(raw: Raw) -> dict[str, str]:
    return {option: str(raw[option]) for option in START if raw.get(option) is not None}


def _is_disk(raw: Raw, device: str) -> bool:
    is_there = device in raw and device.rstrip("0123456789") in DISK_BUSES
    return is_there and properties.parse(str(raw[device]), "file").get("media", "disk") != "cdrom"
