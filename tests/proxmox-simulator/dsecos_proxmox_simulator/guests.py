"""What containers and virtual machines have in common: reading, locking, starting and stopping."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dsecos_proxmox_simulator import lxc, options_lxc, options_qemu, properties
from dsecos_proxmox_simulator.errors import TaskError, WorkerLostError, failure
from dsecos_proxmox_simulator.model import SHORT, Guest, Kind
from dsecos_proxmox_simulator.parameters import Table, find
from dsecos_proxmox_simulator.routing import Request
from dsecos_proxmox_simulator.tasks import Task, Work
from dsecos_proxmox_simulator.world import World

if TYPE_CHECKING:
    from dsecos_proxmox_simulator.cluster import Cluster

PREFIX = {"lxc": "vz", "qemu": "qm"}
OPTIONS: dict[str, Table] = {"lxc": options_lxc.OPTIONS, "qemu": options_qemu.OPTIONS}

DURATIONS = {
    "create": 4.0,
    "restore": 3.8,
    "clone": 1.2,
    "full clone": 5.9,
    "start": 3.7,
    "stop": 2.3,
    "shutdown": 2.6,
    "reboot": 5.8,
    "destroy": 1.2,
    "snapshot": 1.2,
    "delete snapshot": 1.0,
    "rollback": 2.3,
    "resize": 3.0,
    "migrate": 8.0,
    "backup": 6.0,
    "suspend": 0.6,
    "ha": 0.5,
    "move": 5.0,
    "network": 3.1,
    "image": 2.0,
}
"""Seconds as measured on a real node, or close to what its users report; the world's pace scales them."""


def word(guest: Guest) -> str:
    """CT or VM, as errors begin."""
    return SHORT[guest.kind]


def check_lock(guest: Guest, *allowed: str) -> None:
    """Raises ApiError 500 if something holds the guest."""
    if guest.lock and guest.lock not in allowed:
        raise failure(f"{word(guest)} is locked ({guest.lock})")


def check_digest(guest: Guest, digest: str) -> None:
    """Raises ApiError 500 if the configuration is not the one that was read."""
    if digest and digest != guest.digest:
        raise failure("detected modified configuration - file changed by other user? Try again.")


@contextmanager
def held(guest: Guest, lock: str) -> Iterator[None]:
    """The guest's configuration shows this lock meanwhile, and for good if the worker is lost.

    Raises TaskError if it is locked already.
    """
    if guest.lock:
        raise TaskError(f"{word(guest)} is locked ({guest.lock})")
    guest.config["lock"] = lock
    try:
        yield
    except WorkerLostError:
        raise
    except BaseException:
        guest.config.pop("lock", None)
        raise
    guest.config.pop("lock", None)


def still_there(world: World, guest: Guest) -> None:
    """Raises TaskError if the guest vanished, or moved, under a task."""
    if world.guests.get(guest.vmid) is not guest:
        folder = "lxc" if guest.kind == "lxc" else "qemu-server"
        raise TaskError(f"Configuration file 'nodes/{guest.node}/{folder}/{guest.vmid}.conf' does not exist")


# Reading.


def typed(kind: Kind, key: str, text: str) -> str | int | float:
    """A configuration's value as JSON has it."""
    declared = find(OPTIONS[kind], key)
    if declared and declared.type in ("integer", "boolean"):
        return int(text)
    if declared and declared.type == "number":
        return float(text) if "." in text else int(text)
    return text


def shown_config(guest: Guest, *, with_pending: bool) -> dict[str, object]:
    """The configuration as GET config answers, with the values that the next start brings unless told
    otherwise."""
    config = dict(guest.config)
    if with_pending:
        World.set_options(Guest(0, guest.kind, "", config), guest.pending)
    shown: dict[str, object] = {key: typed(guest.kind, key, text) for key, text in config.items()}
    if guest.current_parent:
        shown["parent"] = guest.current_parent
    return shown | {"digest": guest.digest}


def cpus(guest: Guest) -> int:
    """Cores that the guest has."""
    if guest.kind == "lxc":
        return int(guest.config.get("cores", "2"))
    return int(guest.config.get("cores", "1")) * int(guest.config.get("sockets", "1"))


def memory(guest: Guest) -> int:
    """Bytes of memory that the guest has."""
    return int(properties.split(guest.config.get("memory", "512"), "current")["current"]) << 20


def disk_size(guest: Guest) -> int:
    """Bytes of the root disk."""
    for key in ("rootfs", "scsi0", "virtio0", "sata0", "ide0"):
        if size := properties.split(guest.config.get(key, "")).get("size"):
            return properties.to_bytes(size)
    return 0


def figures(request: Request, guest: Guest) -> dict[str, object]:
    """What lists and status/current have in common."""
    running = guest.status == "running"
    shown: dict[str, object] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": guest.status,
        "cpus": cpus(guest),
        "cpu": 0,
        "maxmem": memory(guest),
        "mem": 9_465_856 if running else 0,
        "maxdisk": disk_size(guest),
        "disk": lxc.UNPACKED if running and guest.kind == "lxc" else 0,
        "diskread": 0,
        "diskwrite": 0,
        "netin": 0,
        "netout": 0,
        "uptime": max(0, int(request.cluster.clock() - guest.started_at)) if running else 0,
    }
    if guest.kind == "lxc":
        swap = int(guest.config.get("swap", "512")) << 20
        shown |= {"type": "lxc", "swap": 0, "maxswap": swap}
    if running:
        shown["pid"] = guest.pid
    if guest.lock:
        shown["lock"] = guest.lock
    if guest.config.get("tags"):
        shown["tags"] = guest.config["tags"]
    if guest.template:
        shown["template"] = 1
    return shown


# Starting and stopping.


def begin(world: World, guest: Guest, now: float) -> None:
    """It runs; what waited for the next start is in force."""
    World.set_options(guest, guest.pending)
    guest.pending.clear()
    guest.status, guest.paused, guest.started_at = "running", False, now
    guest.pid = world.random.randrange(2000, 32000)


def end(guest: Guest) -> None:
    """It stops; what waited for the next start is in force."""
    World.set_options(guest, guest.pending)
    guest.pending.clear()
    guest.status, guest.paused, guest.pid = "stopped", False, 0
    guest.executions.clear()


def start_work(cluster: Cluster, node: str, kind: Kind, vmid: int, *, skip_lock: bool = False) -> Work:
    """The task that starts a guest. A missing or locked one fails in the task."""

    def work(_task: Task) -> Generator[float, None, None]:
        yield 0.3
        guest = cluster.world.guest_at(node, kind, vmid)
        if not skip_lock:
            check_lock(guest)
        if guest.template:
            raise TaskError("you can't start a vm if it's a template")
        if guest.status == "running":
            raise TaskError(f"{word(guest)} {vmid} already running")
        check_bridges(cluster.world, guest)
        yield DURATIONS["start"]
        still_there(cluster.world, guest)
        begin(cluster.world, guest, cluster.clock())

    return work


def check_bridges(world: World, guest: Guest) -> None:
    """Raises ApiError 500 for a network device without its bridge."""
    for bridge in lxc.missing_bridges(world, guest):
        raise failure(f"bridge '{bridge}' does not exist")


def stop_work(
    cluster: Cluster, guest: Guest, seconds: float, *, skip_lock: bool = False, needed: bool = True
) -> Work:
    """The task that stops a guest, whatever the way. `needed`: it is an error if it does not run."""

    def work(_task: Task) -> Generator[float, None, None]:
        yield 0.3
        still_there(cluster.world, guest)
        if not skip_lock:
            check_lock(guest)
        if guest.status != "running":
            if needed:
                raise TaskError(f"{word(guest)} {guest.vmid} not running")
            return
        yield seconds
        still_there(cluster.world, guest)
        end(guest)

    return work


def reboot_work(cluster: Cluster, guest: Guest) -> Work:
    """The task that stops a guest and starts it again."""

    def work(_task: Task) -> Generator[float, None, None]:
        yield 0.3
        still_there(cluster.world, guest)
        check_lock(guest)
        if guest.status != "running":
            raise TaskError(f"VM {guest.vmid} not running")
        yield DURATIONS["reboot"]
        still_there(cluster.world, guest)
        end(guest)
        check_bridges(cluster.world, guest)
        begin(cluster.world, guest, cluster.clock())

    return work


def move_work(cluster: Cluster, guest: Guest, target: str, *, restart: bool) -> Work:
    """The task that moves a guest and its local disks.

    With `restart` a running one is stopped and started again.
    """
    world = cluster.world

    def work(task: Task) -> Generator[float, None, None]:
        yield 0.3
        still_there(world, guest)
        check_lock(guest)
        running = guest.status == "running"
        _check_mounts(guest, task)
        _check_storages(world, guest, target)
        with held(guest, "migrate"):
            if running and restart:
                yield DURATIONS["shutdown"]
                end(guest)
            yield DURATIONS["migrate"]
            still_there(world, guest)
            if not world.nodes[target].online:
                raise TaskError(f"migration aborted: node '{target}' is not online")
            task.log.append(f"starting migration of {word(guest)} {guest.vmid} to node '{target}'")
            world.move_guest(guest.vmid, target)
        if running and restart:
            begin(world, guest, cluster.clock())

    return work


def _check_mounts(guest: Guest, task: Task) -> None:
    """A directory of the node keeps a container there, unless it is said to be everywhere (pct.conf(5))."""
    for key, value in guest.config.items():
        if lxc.stem(key) != "mp" or (kind := lxc.volume_type(value)) == "volume":
            continue
        if properties.split(value, "volume").get("shared", "0") != "1":
            task.log.append(f"cannot migrate local {kind} mount point '{key}'")
            raise TaskError("migration aborted")


def _check_storages(world: World, guest: Guest, target: str) -> None:
    for _key, value in guest.owned_disks():
        name = value.split(":", 1)[0]
        if not world.storages[name].on(target):
            raise TaskError(f"migration aborted: storage '{name}' is not available on node '{target}'")
