"""Storages: what each type can do, how volumes are named, and how full it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from dsecos_proxmox_simulator.errors import TaskError

GIB = 1 << 30

UPLOADED = "tmpfilename"
"""The parameter by which Proxmox hands an uploaded file on; here it carries the size."""

SNAPSHOTS = {"btrfs", "lvmthin", "rbd", "zfspool"}
"""Types that can snapshot a container's volume; raw files on a directory cannot."""

FULL_TEXTS = {
    "lvmthin": "lvcreate '{storage}/{volume}' error: Cannot create new thin volume, free space in thin pool "
    "{storage} reached threshold.",
    "rbd": "rbd create '{volume}' error: rbd: create error: (28) No space left on device",
}


@dataclass(slots=True)
class Volume:
    """A disk, template, image or backup. Sizes in bytes; `node` is empty on shared storage."""

    volid: str
    size: int
    content: str
    node: str = ""
    used: int = 0
    vmid: int = 0
    format: str = "raw"
    ctime: int = 0
    notes: str = ""
    protected: bool = False
    parent: str = ""
    data: dict[str, str] = field(default_factory=dict)
    """Of a backup: the guest's configuration."""


@dataclass(slots=True)
class Storage:
    """One storage. Without `shared` each node has one of its own under the same name."""

    name: str
    type: str
    content: set[str]
    total: int = 100 * GIB
    shared: bool = False
    nodes: tuple[str, ...] = ()
    enabled: bool = True
    ballast: dict[str, int] = field(default_factory=dict)
    volumes: dict[tuple[str, str], Volume] = field(default_factory=dict)

    @property
    def can_snapshot(self) -> bool:
        """Whether a disk on it can be snapshot, and so cloned by link."""
        return self.type in SNAPSHOTS

    @property
    def can_clone(self) -> bool:
        """Whether a disk can hang on a template's; files in a directory can too as qcow2, which is not
        simulated."""
        return self.type in SNAPSHOTS

    def place(self, node: str) -> str:
        """The key of that node's part: empty where all nodes share it."""
        return "" if self.shared else node

    def on(self, node: str) -> bool:
        """Whether that node has it."""
        return self.enabled and (not self.nodes or node in self.nodes)

    def used(self, node: str) -> int:
        """Bytes in use on that node."""
        place = self.place(node)
        return self.ballast.get(place, 0) + sum(v.used for v in self.volumes.values() if v.node == place)

    def free(self, node: str) -> int:
        """Bytes left on that node."""
        return max(0, self.total - self.used(node))

    def fill(self, node: str, leave: int) -> None:
        """Take all but `leave` bytes."""
        place = self.place(node)
        self.ballast[place] = 0
        self.ballast[place] = max(0, self.free(node) - leave)

    def put(self, volume: Volume) -> None:
        """Add or replace a volume."""
        self.volumes[volume.node, volume.volid] = volume

    def find(self, node: str, volid: str) -> Volume | None:
        """The volume as that node sees it."""
        return self.volumes.get((self.place(node), volid))

    def remove(self, volid: str, node: str | None = None) -> None:
        """Remove it from one node's part, or from all."""
        for place, name in list(self.volumes):
            if name == volid and (node is None or place == self.place(node)):
                del self.volumes[place, name]

    def remove_guest(self, node: str, vmid: int, kept: Collection[str] = ()) -> None:
        """Remove the guest's disks, but for those that are `kept`; backups stay."""
        for key, volume in list(self.volumes.items()):
            is_disk = volume.vmid == vmid and volume.content in ("rootdir", "images")
            if is_disk and volume.node in ("", node) and volume.volid not in kept:
                del self.volumes[key]

    def move_guest(self, vmid: int, source: str, target: str) -> None:
        """The guest's local disks change the node."""
        for key, volume in list(self.volumes.items()):
            if volume.vmid == vmid and volume.node == source and volume.content in ("rootdir", "images"):
                del self.volumes[key]
                volume.node = target
                self.put(volume)

    def disk_name(self, node: str, vmid: int, *, size: int, kind: str = "vm", suffix: str = "raw") -> str:
        """The next free name of a disk, in the manner of the type."""
        if self.type == "zfspool" and suffix == "raw":
            kind = "subvol" if kind == "vm" else kind
        number = 0
        while True:
            stem = f"{kind}-{vmid}-disk-{number}"
            if self.type in ("lvmthin", "rbd", "zfspool"):
                volid = f"{self.name}:{stem}"
            elif self.type == "btrfs" and size == 0:
                volid = f"{self.name}:{vmid}/subvol-{vmid}-disk-{number}.subvol"
            else:
                volid = f"{self.name}:{vmid}/{stem}.{suffix}"
            if self.find(node, volid) is None:
                return volid
            number += 1

    def allocate(
        self, node: str, vmid: int, size: int, *, payload: int = 0, content: str = "rootdir", parent: str = ""
    ) -> Volume:
        """A new disk with so many bytes written to it. Raises TaskError where the storage is full."""
        volid = self.disk_name(node, vmid, size=size)
        need = max(payload, 1 << 20)
        if need > self.free(node):
            text = FULL_TEXTS.get(self.type, "write error: No space left on device")
            raise TaskError(text.format(storage=self.name, volume=volid.split(":")[1]))
        volume = Volume(
            volid,
            size,
            content,
            node=self.place(node),
            used=need,
            vmid=vmid,
            format="subvol" if volid.endswith(".subvol") else "raw",
            parent=parent,
        )
        self.put(volume)
        return volume


def default_storages() -> list[Storage]:
    """One of each type that matters: directory, btrfs, thin LVM, and Ceph shared by all nodes."""
    return [
        Storage("local", "dir", {"iso", "vztmpl", "backup", "snippets", "rootdir", "images"}),
        Storage("btr", "btrfs", {"rootdir", "images", "backup"}),
        Storage("local-lvm", "lvmthin", {"rootdir", "images"}),
        Storage("ceph", "rbd", {"rootdir", "images"}, total=1000 * GIB, shared=True),
    ]
