"""Guests, nodes, pools, networks and HA resources, as the world holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from dsecos_proxmox_simulator.properties import digest
from dsecos_proxmox_simulator.storages import GIB

Kind = Literal["lxc", "qemu"]
Status = Literal["running", "stopped"]

CONFIG_FOLDER = {"lxc": "lxc", "qemu": "qemu-server"}
SHORT = {"lxc": "CT", "qemu": "VM"}


@dataclass(slots=True)
class Snapshot:
    """One snapshot: the configuration of that moment, and the disks as far as the simulator keeps any."""

    name: str
    config: dict[str, str]
    time: int
    description: str = ""
    parent: str = ""
    vmstate: bool = False


@dataclass(slots=True)
class Guest:
    """A container or virtual machine.

    `config` holds the texts of its configuration file, the lock among them.
    """

    vmid: int
    kind: Kind
    node: str
    config: dict[str, str] = field(default_factory=dict)
    status: Status = "stopped"
    paused: bool = False
    pending: dict[str, str | None] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    current_parent: str = ""
    started_at: float = 0.0
    pid: int = 0
    agent_running: bool = True
    executions: dict[int, tuple[int, str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Host name of a container, name of a virtual machine."""
        if self.kind == "lxc":
            return self.config.get("hostname", f"CT{self.vmid}")
        return self.config.get("name", f"VM {self.vmid}")

    @property
    def lock(self) -> str:
        """What holds it, empty when nothing does."""
        return self.config.get("lock", "")

    @property
    def template(self) -> bool:
        """Whether it can only be cloned."""
        return self.config.get("template") == "1"

    @property
    def digest(self) -> str:
        """Changes with the configuration."""
        return digest(
            self.config | {f"[{s.name}] {k}": v for s in self.snapshots.values() for k, v in s.config.items()}
        )

    def owned_disks(self) -> Iterator[tuple[str, str]]:
        """Key and property string of each volume of its own, bind mounts and CD images left out."""
        for key, value in self.config.items():
            if is_disk_key(key) and ":" in value.split(",")[0] and "media=cdrom" not in value:
                yield key, value

    def volumes_named(self) -> set[str]:
        """What its configuration, or that of a snapshot, has at the place of a volume."""
        configs = [self.config, *(snapshot.config for snapshot in self.snapshots.values())]
        texts = {text for config in configs for key, text in config.items() if is_disk_key(key)}
        return {text.split(",")[0].removeprefix("file=").removeprefix("volume=") for text in texts}


@dataclass(slots=True)
class Node:
    """A server of the cluster."""

    name: str
    online: bool = True
    bridges: set[str] = field(default_factory=lambda: {"vmbr0"})
    cpus: int = 16
    memory: int = 64 * GIB
    zones: set[str] = field(default_factory=set)
    vnets: set[str] = field(default_factory=set)
    reload_fails: bool = False
    """The node's own reload of the network fails, which the cluster's apply does not tell."""


@dataclass(slots=True)
class Pool:
    """A resource pool; guests and storages are its members."""

    name: str
    comment: str = ""
    guests: set[int] = field(default_factory=set)
    storages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class SdnObject:
    """A zone, vnet or subnet: what runs, and what waits for the next apply (`None`: to be deleted)."""

    kind: Literal["zone", "vnet", "subnet"]
    name: str
    running: dict[str, str] | None = None
    wanted: dict[str, str] | None = None

    @property
    def state(self) -> str:
        """Empty, or what the next apply does: new, changed, deleted."""
        if self.running == self.wanted:
            return ""
        if self.running is None:
            return "new"
        return "deleted" if self.wanted is None else "changed"


@dataclass(slots=True)
class HaResource:
    """What the HA manager keeps up. `node` follows its guest."""

    sid: str
    vmid: int
    state: str = "started"
    group: str = ""
    comment: str = ""
    max_restart: int = 1
    max_relocate: int = 1
    failback: bool = True
    target: str = ""
    attempts: int = 0
    service_state: str = "queued"


def is_disk_key(key: str) -> bool:
    """Whether the option names a volume: rootfs, mp0, scsi1 and so on."""
    stem = key.rstrip("0123456789")
    return key == "rootfs" or (stem != key and stem in DISK_STEMS)


DISK_STEMS = {"mp", "unused", "ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"}
