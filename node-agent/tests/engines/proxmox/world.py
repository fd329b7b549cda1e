"""An engine on the simulator of Proxmox VE, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from dsecos_agent.engines.model import GuestConfig, GuestKind, NetworkInterface, RootImage
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.templates import archive_name
from dsecos_agent.storage.protocol import Archive
from dsecos_proxmox_simulator import Faults, Guest, Simulator, World
from dsecos_proxmox_simulator.model import Kind

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-000000000002"
GIB = 1 << 30
VMIDS = range(20000, 20100)
STORAGE = "local-lvm"
IMAGE = "debian-13-docker"
PRIVILEGES = (
    *("Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"),
    *("SDN.Use", "Sys.Audit", "Sys.Console", "VM.Allocate", "VM.Audit", "VM.Clone", "VM.Config.CDROM"),
    *("VM.Config.CPU", "VM.Config.Cloudinit", "VM.Config.Disk", "VM.Config.HWType", "VM.Config.Memory"),
    *("VM.Config.Network", "VM.Config.Options", "VM.Migrate", "VM.Monitor", "VM.PowerMgmt", "VM.Snapshot"),
    "VM.Snapshot.Rollback",
)
TEMPLATE_VMID = 9000
TYPES: dict[GuestKind, Kind] = {GuestKind.CONTAINER: "lxc", GuestKind.VM: "qemu"}
THEIRS = {
    "tags": "ann;web",
    "description": "Ask Ann before you touch it.\n\nShe is in room 7.",
    "onboot": "1",
    "startup": "order=3,up=5,down=60",
    "memory": "1024",
    "cores": "2",
}
OF_KIND: dict[GuestKind, dict[str, str]] = {
    GuestKind.CONTAINER: {
        "hostname": "old-shop",
        "ostype": "ubuntu",
        "swap": "256",
        "features": "keyctl=1,fuse=1",
        "mp0": "/srv/shop,mp=/srv/shop",
        "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:F6:E6:00,ip=dhcp,type=veth",
    },
    GuestKind.VM: {
        "name": "old-shop",
        "agent": "1",
        "bios": "ovmf",
        "boot": "order=scsi0;net0",
        "sockets": "2",
        "balloon": "512",
        "net0": "e1000=BC:24:11:F6:E6:00,bridge=vmbr0,tag=7",
    },
}


def config(name: str, **changes: Any) -> GuestConfig:
    """A container that can be made and started."""
    number = sum(name.encode()) % 200
    made = GuestConfig(
        name=name,
        owner_uid=OWNER,
        root=RootImage(IMAGE, 4 * GIB),
        id_map=None,
        interfaces=(
            NetworkInterface(
                host_name="",
                bridge="vmbr0",
                mac=f"02:ab:00:00:00:{number:02x}",
                address=IPv4Interface(f"10.80.0.{number}/32"),
                gateway=IPv4Address("10.80.0.254"),
            ),
        ),
    )
    return replace(made, **changes)


class QuickClock(Clock):
    """Waits a tenth of what it is asked for: the simulator's tasks are quicker than that."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


class Lab:
    """One simulated cluster, and engines on it."""

    def __init__(self, simulator: Simulator, home: Path) -> None:
        """`home` holds the agent's state and its archives."""
        self.simulator = simulator
        self.world = simulator.world
        self.home = home
        archive = home / "template.tar.zst"
        archive.write_bytes(b"not much of a root file system")
        self.archive = Archive(archive, hashlib.sha256(archive.read_bytes()).hexdigest())
        self.secret = simulator.add_token("dsecos@pve", "agent", {"/": PRIVILEGES}, privsep=False)
        self.world.add_volume(f"local:vztmpl/{archive_name(IMAGE, self.archive)}", 1 << 20, "vztmpl")

    def settings(self, **changes: Any) -> ProxmoxSettings:
        """How an engine reaches the cluster."""
        made = ProxmoxSettings(
            url=self.simulator.url,
            node="pve1",
            token=f"dsecos@pve!agent={self.secret}",
            fingerprint=self.simulator.fingerprint,
            storage=STORAGE,
            vmids=VMIDS,
            settle_limit=0.3,
            watch_interval=0.05,
            lock_limit=5.0,
        )
        return replace(made, **changes)

    def engine(
        self, state: str = "state", point: Callable[[str], None] | None = None, **changes: Any
    ) -> ProxmoxEngine:
        """A fresh engine object on the same state, as after a restart of the agent."""
        return ProxmoxEngine(
            self.settings(**changes),
            state=self.home / state,
            images=lambda image: self.archive if image == IMAGE else None,
            clock=QuickClock(),
            point=point or (lambda _: None),
        )

    def add_foreign(
        self, vmid: int, kind: GuestKind, node: str = "pve1", *, running: bool = False, **config: str
    ) -> Guest:
        """A guest as an administrator makes one, with what he says of it."""
        theirs = THEIRS | OF_KIND[kind] | config
        guest = self.world.add_guest(vmid, node, TYPES[kind], storage=STORAGE, **theirs)
        if running:
            guest.status, guest.pid, guest.started_at = "running", 4711, 1_600_000_000.0
        return guest

    def add_machine_template(self, node: str = "pve1") -> None:
        """What VMs are cloned from."""
        guest = self.world.add_guest(
            TEMPLATE_VMID,
            node,
            "qemu",
            storage=STORAGE,
            disk="4G",
            name=f"dsecos-{IMAGE}",
            tags="dsecos-template",
        )
        guest.config["template"] = "1"


@contextmanager
def lab(home: Path, faults: Faults | None = None, **world: Any) -> Iterator[Lab]:
    """A cluster that ends with the block."""
    with Simulator(World(**world), faults=faults) as simulator:
        yield Lab(simulator, home)
