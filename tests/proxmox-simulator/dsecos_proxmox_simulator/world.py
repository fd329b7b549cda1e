"""What the simulated cluster consists of, and how a test changes it behind everybody's back."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping

from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.model import (
    CONFIG_FOLDER,
    Guest,
    HaResource,
    Kind,
    Node,
    Pool,
    SdnObject,
    Status,
)
from dsecos_proxmox_simulator.properties import to_bytes
from dsecos_proxmox_simulator.storages import Storage, Volume, default_storages

DEFAULT_TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
TEMPLATE_SIZE = 71_000_000
"""Bytes of a template archive, as measured for a Debian container."""

RunInGuest = Callable[[Guest, list[str], str], tuple[int, str, str]]


def nothing_said(_guest: Guest, _command: list[str], _input: str) -> tuple[int, str, str]:
    """A command that ends well and says nothing."""
    return 0, "", ""


class World:
    """The cluster's state. Each public method takes the lock, so a test may call it while requests run.

    `pace` is how long one measured second of a task takes here; 0.002 keeps suites quick, 1.0 is lifelike.
    """

    def __init__(
        self,
        nodes: Iterable[str] = ("pve1",),
        storages: Iterable[Storage] | None = None,
        bridges: Iterable[str] = ("vmbr0",),
        templates: Iterable[str] = (DEFAULT_TEMPLATE,),
        *,
        root_password: str = "secret",  # of a cluster that does not exist
        pace: float = 0.002,
        seed: int = 0,
    ) -> None:
        self.mutex = threading.RLock()
        self.random = random.Random(seed)  # reproducible addresses, not secrets
        self.pace = pace
        self.root_password = root_password
        self.nodes = {name: Node(name, bridges=set(bridges)) for name in nodes}
        self.storages = {s.name: s for s in (default_storages() if storages is None else storages)}
        self.guests: dict[int, Guest] = {}
        self.pools: dict[str, Pool] = {}
        self.sdn: dict[tuple[str, str], SdnObject] = {}
        self.sdn_lock_token = ""
        self.ha: dict[str, HaResource] = {}
        self.run_in_guest: RunInGuest = nothing_said
        """What a command inside a virtual machine does: exit code, output, errors."""
        self.downloads: dict[str, int] = {}
        """What download-url can reach: size in bytes by address."""
        self.deaf: set[int] = set()
        """Guests that do not react to being asked to shut down."""
        self.on_node_change: list[Callable[[str], None]] = []
        for volid in templates:
            self.add_volume(volid, TEMPLATE_SIZE, "vztmpl")

    # What a test looks at.

    def guest(self, vmid: int) -> Guest | None:
        """The guest with this id, or None."""
        with self.mutex:
            return self.guests.get(vmid)

    def guest_at(self, node: str, kind: Kind, vmid: int) -> Guest:
        """The guest as that node sees it. Raises ApiError 500 in Proxmox's words if it is not there."""
        found = self.guests.get(vmid)
        if found is None or found.kind != kind or found.node != node:
            raise failure(
                f"Configuration file 'nodes/{node}/{CONFIG_FOLDER[kind]}/{vmid}.conf' does not exist"
            )
        return found

    def pool_of(self, vmid: int) -> str:
        """The pool that the guest is in, empty if in none."""
        return next((name for name, pool in self.pools.items() if vmid in pool.guests), "")

    def volumes(self) -> list[Volume]:
        """All volumes of all storages."""
        with self.mutex:
            return [volume for storage in self.storages.values() for volume in storage.volumes.values()]

    def bridge_exists(self, node: str, bridge: str) -> bool:
        """Whether a guest on that node can be plugged into this bridge or applied vnet."""
        return bridge in self.nodes[node].bridges

    def new_mac(self) -> str:
        """An address with Proxmox's prefix."""
        return "BC:24:11:" + ":".join(f"{self.random.randrange(256):02X}" for _ in range(3))

    # What a test does behind everybody's back.

    def add_guest(
        self,
        vmid: int,
        node: str | None = None,
        kind: Kind = "lxc",
        *,
        status: Status = "stopped",
        storage: str = "",
        disk: str = "4G",
        **config: str,
    ) -> Guest:
        """A guest that somebody else made. `storage` gives it a root disk there."""
        with self.mutex:
            guest = Guest(vmid, kind, node or next(iter(self.nodes)), dict(config), status)
            self.guests[vmid] = guest
            if storage:
                volume = self.storages[storage].allocate(guest.node, vmid, to_bytes(disk))
                guest.config["rootfs" if kind == "lxc" else "scsi0"] = f"{volume.volid},size={disk}"
            return guest

    def take_vmid(self, vmid: int) -> Guest:
        """A foreign guest takes the id."""
        return self.add_guest(vmid, hostname="foreign")

    def destroy_guest(self, vmid: int, *, all_disks: bool = True) -> None:
        """The guest and its disks are gone; without `all_disks` only those that its configuration names."""
        with self.mutex:
            guest = self.guests.pop(vmid, None)
            if guest is None:
                return
            named = guest.volumes_named()
            kept = {volume.volid for volume in self.volumes()} - named if not all_disks else set[str]()
            for storage in self.storages.values():
                storage.remove_guest(guest.node, vmid, kept)
            for pool in self.pools.values():
                pool.guests.discard(vmid)

    def change_config(self, vmid: int, **changes: str | None) -> None:
        """Options set, or removed by None."""
        with self.mutex:
            self.set_options(self.guests[vmid], changes)

    @staticmethod
    def set_options(guest: Guest, changes: Mapping[str, str | None]) -> None:
        """Options set, or removed by None."""
        for key, value in changes.items():
            if value is None:
                guest.config.pop(key, None)
            else:
                guest.config[key] = value

    def set_status(self, vmid: int, status: Status) -> None:
        """It starts or stops without a task, as after a crash."""
        with self.mutex:
            self.guests[vmid].status = status

    def set_lock(self, vmid: int, lock: str) -> None:
        """Lock the guest; an empty text unlocks."""
        self.change_config(vmid, lock=lock or None)

    def move_guest(self, vmid: int, node: str) -> None:
        """It appears on another node as it is, as after a move by HA. Its local volumes go with it."""
        with self.mutex:
            guest = self.guests[vmid]
            for storage in self.storages.values():
                storage.move_guest(vmid, guest.node, node)
            guest.node = node

    def node_down(self, node: str) -> None:
        """The node is gone: its paths answer 595, its guests are unknown, HA takes over what lies on
        shared storage."""
        self._set_node(node, online=False)

    def node_up(self, node: str) -> None:
        """The node is back; its guests are stopped, as after a boot."""
        self._set_node(node, online=True)

    def _set_node(self, node: str, *, online: bool) -> None:
        with self.mutex:
            self.nodes[node].online = online
            if online:
                for guest in self.guests.values():
                    if guest.node == node:
                        guest.status = "stopped"
            for tell in self.on_node_change:
                tell(node)

    def fill(self, storage: str, node: str | None = None, *, leave: int = 0) -> None:
        """Leave so many bytes on the storage."""
        with self.mutex:
            for name in [node] if node else list(self.nodes):
                self.storages[storage].fill(name, leave)

    def remove_bridge(self, bridge: str, node: str | None = None) -> None:
        """The bridge vanishes from one node, or from all."""
        with self.mutex:
            for name in [node] if node else self.nodes:
                self.nodes[name].bridges.discard(bridge)

    def add_bridge(self, bridge: str, node: str | None = None) -> None:
        """The bridge appears on one node, or on all."""
        with self.mutex:
            for name in [node] if node else self.nodes:
                self.nodes[name].bridges.add(bridge)

    def add_volume(self, volid: str, size: int, content: str, node: str | None = None) -> None:
        """A file on a storage: a template, an ISO image. On local storage it lies on one node, or on all."""
        with self.mutex:
            storage = self.storages[volid.split(":", 1)[0]]
            for name in [node] if node else list(self.nodes):
                storage.put(Volume(volid, size, content, node=storage.place(name), used=size))

    def remove_volume(self, volid: str) -> None:
        """The file is gone on all nodes."""
        with self.mutex:
            self.storages[volid.split(":", 1)[0]].remove(volid)

    def add_pool(self, name: str, comment: str = "") -> None:
        """A pool without members."""
        with self.mutex:
            self.pools[name] = Pool(name, comment)
