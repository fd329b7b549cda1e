"""vzdump, what is in a backup, and pruning."""

from __future__ import annotations

import time
from collections.abc import Generator

from dsecos_proxmox_simulator import guests, properties
from dsecos_proxmox_simulator.api.snapshots import take
from dsecos_proxmox_simulator.api.storage import READ, find_storage
from dsecos_proxmox_simulator.errors import ApiError, TaskError, bad_parameters, failure
from dsecos_proxmox_simulator.model import Guest
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.storages import Storage, Volume
from dsecos_proxmox_simulator.tasks import Task

routes = Routes()
PACKED = 71_000_000
PRUNE = "/nodes/{node}/storage/{storage}/prunebackups"
PRUNE_OPTIONS = """
    prune-backups string
    type          string =qemu|lxc
    vmid          integer 100..999999999 format:pve-vmid
"""
EXTENSION = {"lxc": "tar.zst", "qemu": "vma.zst"}


@routes.add(
    "POST",
    "/nodes/{node}/vzdump",
    """
    all            boolean
    bwlimit        integer 0..
    compress       string =0|1|gzip|lzo|zstd
    mailnotification string =always|failure
    mode           string =snapshot|suspend|stop
    notes-template string len:..1024 requires:storage
    notification-mode string =auto|legacy-sendmail|notification-system
    pool           string
    protected      boolean requires:storage
    prune-backups  string
    quiet          boolean
    remove         boolean
    storage        string format:pve-storage-id
    vmid           string format:pve-vmid-list
    """,
)
def vzdump(request: Request) -> object:
    """One task for one or several guests; several that fail end with "job errors"."""
    storage = request.world.storages.get(request.text("storage", "local"))
    if storage is None:
        raise failure(f"storage '{request.text('storage')}' does not exist")
    if "backup" not in storage.content:
        raise bad_parameters({"storage": f"storage '{storage.name}' does not support backups"})
    vmids = _guests(request)
    for vmid in vmids:
        request.require(f"/vms/{vmid}", "VM.Backup")
    request.require(f"/storage/{storage.name}", "Datastore.AllocateSpace")

    def work(task: Task) -> Generator[float, None, None]:
        task.log.append("INFO: starting new backup job: vzdump " + " ".join(map(str, vmids)))
        failed = False
        for vmid in vmids:
            try:
                yield from _dump(request, storage, vmid, task)
            except (TaskError, ApiError) as error:
                text = error.message if isinstance(error, ApiError) else str(error)
                task.log.append(f"ERROR: Backup of VM {vmid} failed - {text}")
                failed = True
        if failed:
            raise TaskError("job errors")

    return request.spawn("vzdump", vmids[0] if len(vmids) == 1 else "", work)


def _guests(request: Request) -> list[int]:
    present = request.world.guests.values()
    if request.flag("all"):
        return sorted(g.vmid for g in present if g.node == request.node)
    if request.has("pool"):
        pool = request.world.pools.get(request.text("pool"))
        return sorted(pool.guests) if pool else []
    vmids = [int(part) for part in request.text("vmid").split(",") if part.isdigit()]
    if not vmids:
        raise bad_parameters({"vmid": "property is missing and it is not optional"})
    return vmids


def _dump(request: Request, storage: Storage, vmid: int, task: Task) -> Generator[float, None, None]:
    guest = request.world.guests.get(vmid)
    if guest is None or guest.node != request.node:
        raise TaskError(f"Configuration file 'nodes/{request.node}/lxc/{vmid}.conf' does not exist")
    mode = request.text("mode", "snapshot")
    with guests.held(guest, "backup"):
        config = {k: v for k, v in guest.config.items() if k != "lock"}
        task.log.append(f"INFO: Starting Backup of VM {vmid} ({guest.kind})")
        if mode == "snapshot" and any(".subvol" in value for _key, value in guest.owned_disks()):
            # As on a real node: the try leaves its snapshot behind.
            take(guest, "vzdump", "vzdump backup snapshot", request.cluster.now())
            raise TaskError("cannot mount subvol snapshots for storage type 'btrfs'")
        running = guest.status == "running"
        if mode == "stop" and running:
            guests.end(guest)
        yield guests.DURATIONS["backup"]
        guests.still_there(request.world, guest)
        if storage.free(guest.node) < PACKED:
            raise TaskError("write error: No space left on device")
        _keep(request, storage, guest, config, task)
        if mode == "stop" and running:
            guests.begin(request.world, guest, request.cluster.clock())


def _keep(request: Request, storage: Storage, guest: Guest, config: dict[str, str], task: Task) -> None:
    now = request.cluster.now()
    notes = (
        request.text("notes-template")
        # A single line, where a line feed is written as \\n (description of the parameter).
        .replace("\\n", "\n")
        .replace("{{guestname}}", guest.name)
        .replace("{{vmid}}", str(guest.vmid))
    )
    form = EXTENSION[guest.kind]
    while True:
        stamp = time.strftime("%Y_%m_%d-%H_%M_%S", time.gmtime(now))
        volid = f"{storage.name}:backup/vzdump-{guest.kind}-{guest.vmid}-{stamp}.{form}"
        if storage.find(guest.node, volid) is None:
            break
        now += 1
    storage.put(
        Volume(
            volid,
            PACKED,
            "backup",
            storage.place(guest.node),
            PACKED,
            guest.vmid,
            form,
            now,
            notes,
            request.flag("protected"),
            data=config | {"[kind]": guest.kind},
        )
    )
    task.log.append(f"INFO: creating vzdump archive '/var/lib/vz/dump/{volid.rsplit('/', 1)[-1]}'")
    task.log.append(f"INFO: Finished Backup of VM {guest.vmid} (00:00:05)")


@routes.add("GET", "/nodes/{node}/vzdump/extractconfig", "volume! string")
def extract_config(request: Request) -> object:
    """The guest's configuration as text."""
    volid = request.text("volume")
    storage = request.world.storages.get(volid.split(":", 1)[0])
    backup = storage.find(request.node, volid) if storage else None
    if backup is None:
        raise failure(f"volume '{volid}' does not exist")
    request.require(f"/vms/{backup.vmid}", "VM.Backup")
    return "".join(f"{key}: {value}\n" for key, value in sorted(backup.data.items()) if key != "[kind]")


def _marks(request: Request) -> list[dict[str, object]]:
    storage = find_storage(request)
    keep = int(properties.split(request.text("prune-backups", "keep-last=1")).get("keep-last", "1"))
    place = storage.place(request.node)
    by_guest: dict[int, list[Volume]] = {}
    for volume in storage.volumes.values():
        kind = volume.data.get("[kind]", "lxc")
        fits = volume.node == place and volume.content == "backup"
        if (
            fits
            and request.text("type", kind) == kind
            and request.parameters.get("vmid", volume.vmid) == volume.vmid
        ):
            by_guest.setdefault(volume.vmid, []).append(volume)
    rows: list[dict[str, object]] = []
    for backups in by_guest.values():
        for age, volume in enumerate(sorted(backups, key=lambda v: v.ctime, reverse=True)):
            mark = "protected" if volume.protected else "keep" if age < keep else "remove"
            rows.append(
                {
                    "volid": volume.volid,
                    "ctime": volume.ctime,
                    "vmid": volume.vmid,
                    "type": volume.data.get("[kind]", "lxc"),
                    "mark": mark,
                }
            )
    return rows


@routes.add("GET", PRUNE, PRUNE_OPTIONS, check=READ)
def prune_dry(request: Request) -> object:
    """What would be removed."""
    return _marks(request)


@routes.add("DELETE", PRUNE, PRUNE_OPTIONS)
def prune(request: Request) -> object:
    """Remove by a task."""
    storage, node = find_storage(request), request.node
    if request.has("vmid"):
        request.require(f"/vms/{request.vmid}", "VM.Backup")
    request.require(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    marked = [str(row["volid"]) for row in _marks(request) if row["mark"] == "remove"]

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["destroy"]
        for volid in marked:
            storage.remove(volid, node)

    vmid = str(request.vmid) if request.has("vmid") else ""
    return request.spawn("prunebackups", f"{vmid}@{storage.name}", work)
