"""Storages, their content, uploads and downloads."""

from __future__ import annotations

import re
from collections.abc import Generator

from dsecos_proxmox_simulator import guests
from dsecos_proxmox_simulator.errors import TaskError, bad_parameters, failure, forbidden
from dsecos_proxmox_simulator.privileges import Check, needs, needs_any
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.storages import UPLOADED, Storage, Volume
from dsecos_proxmox_simulator.tasks import Task, Work

routes = Routes()
ONE = "/nodes/{node}/storage/{storage}"
READ = needs_any("/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace")
FOLDERS = {"vztmpl": "vztmpl", "iso": "iso", "import": "import"}
CHECKSUMS = "=md5|sha1|sha224|sha256|sha384|sha512"
TYPES = "btrfs|cephfs|cifs|dir|esxi|iscsi|iscsidirect|lvm|lvmthin|nfs|pbs|rbd|zfs|zfspool"


def find_storage(request: Request) -> Storage:
    """The storage of the path. Raises ApiError 500 if it is not there, or not on this node."""
    name = request.text("storage")
    storage = request.world.storages.get(name)
    if storage is None:
        raise failure(f"storage '{name}' does not exist")
    if not storage.on(request.node):
        raise failure(f"storage '{name}' is not available on node '{request.node}'")
    return storage


def shown(storage: Storage, node: str) -> dict[str, object]:
    """A storage with its use on a node."""
    used = storage.used(node)
    return {
        "type": storage.type,
        "content": ",".join(sorted(storage.content)),
        "enabled": int(storage.enabled),
        "active": int(storage.enabled),
        "shared": int(storage.shared),
        "total": storage.total,
        "used": used,
        "avail": max(0, storage.total - used),
    }


def visible(request: Request, storage: Storage) -> bool:
    """Whether one may see it."""
    return request.may(f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)


@routes.add("GET", "/storage", f"type string ={TYPES}|glusterfs", changes_91=f"type string ={TYPES}")
def configured(request: Request) -> object:
    """The storages of the cluster's configuration."""
    return [
        _configuration(storage)
        for storage in request.world.storages.values()
        if visible(request, storage) and request.text("type", storage.type) == storage.type
    ]


def _configuration(storage: Storage) -> dict[str, object]:
    row: dict[str, object] = {
        "storage": storage.name,
        "type": storage.type,
        "content": ",".join(sorted(storage.content)),
        "shared": int(storage.shared),
        "digest": "0" * 40,
    }
    return row | ({"nodes": ",".join(storage.nodes)} if storage.nodes else {})


@routes.add("GET", "/storage/{storage}", check=needs("/storage/{storage}", "Datastore.Allocate"))
def one_configured(request: Request) -> object:
    """One storage of the cluster's configuration."""
    storage = request.world.storages.get(request.text("storage"))
    if storage is None:
        raise failure(f"storage '{request.text('storage')}' does not exist")
    return _configuration(storage)


@routes.add(
    "GET",
    "/nodes/{node}/storage",
    """
    content string format:pve-storage-content-list
    enabled boolean
    format  boolean
    storage string format:pve-storage-id
    target  string format:pve-node
    """,
)
def of_node(request: Request) -> object:
    """The storages of a node with their use."""
    wanted = {part for part in request.text("content").split(",") if part}
    return [
        {"storage": s.name, "used_fraction": round(s.used(request.node) / s.total, 4)}
        | shown(s, request.node)
        for s in request.world.storages.values()
        if s.on(request.node)
        and visible(request, s)
        and (not wanted or wanted & s.content)
        and request.text("storage", s.name) == s.name
        and (not request.has("target") or s.on(request.text("target")))
    ]


@routes.add("GET", f"{ONE}/status", check=READ)
def status(request: Request) -> object:
    """Size and use."""
    return shown(find_storage(request), request.node)


def volume_row(volume: Volume) -> dict[str, object]:
    """A volume as the content shows it."""
    row: dict[str, object] = {
        "volid": volume.volid,
        "content": volume.content,
        "format": volume.format,
        "size": volume.size,
        "used": volume.used,
    }
    optional = {
        "vmid": volume.vmid,
        "ctime": volume.ctime,
        "notes": volume.notes,
        "protected": int(volume.protected),
        "parent": volume.parent,
    }
    if volume.content == "backup":
        optional["subtype"] = volume.data.get("[kind]", "lxc")
    return row | {key: value for key, value in optional.items() if value}


@routes.add(
    "GET",
    f"{ONE}/content",
    "content string format:pve-storage-content\nvmid integer 100..999999999 format:pve-vmid",
    check=READ,
)
def content(request: Request) -> object:
    """Volumes, all or of one kind or guest; guests' only with rights on them."""
    storage = find_storage(request)
    place = storage.place(request.node)
    return [
        volume_row(volume)
        for volume in storage.volumes.values()
        if volume.node == place
        and request.text("content", volume.content) == volume.content
        and (not request.has("vmid") or volume.vmid == request.vmid)
        and _may_see(request, storage, volume)
    ]


def _may_see(request: Request, storage: Storage, volume: Volume) -> bool:
    if not volume.vmid or request.may(f"/storage/{storage.name}", "Datastore.Allocate"):
        return True
    return request.may(f"/vms/{volume.vmid}", "VM.Audit" if volume.content != "backup" else "VM.Backup")


def find_volume(request: Request) -> tuple[Storage, Volume]:
    """The volume of the path, with or without the storage's name before it."""
    storage, name = find_storage(request), request.text("volume")
    volid = name if name.startswith(f"{storage.name}:") else f"{storage.name}:{name}"
    volume = storage.find(request.node, volid)
    if volume is None:
        raise failure(f"volume '{volid}' does not exist")
    return storage, volume


@routes.add("GET", f"{ONE}/content/{{volume}}")
def read_volume(request: Request) -> object:
    """Size, format and path of one volume."""
    storage, volume = find_volume(request)
    _require_volume(request, storage, volume)
    row = {"format": volume.format, "size": volume.size, "used": volume.used, "path": f"/{volume.volid}"}
    return (
        row
        | ({"notes": volume.notes} if volume.notes else {})
        | ({"protected": 1} if volume.protected else {})
    )


def _require_volume(request: Request, storage: Storage, volume: Volume) -> None:
    if not visible(request, storage) or not _may_see(request, storage, volume):
        raise forbidden(f"/storage/{storage.name}, Datastore.Audit|Datastore.AllocateSpace")


@routes.add("PUT", f"{ONE}/content/{{volume}}", "notes string\nprotected boolean")
def change_volume(request: Request) -> object:
    """Notes and protection of a backup."""
    storage, volume = find_volume(request)
    _require_volume(request, storage, volume)
    if request.has("notes"):
        volume.notes = request.text("notes")
    if request.has("protected"):
        volume.protected = request.flag("protected")
    return None


@routes.add("DELETE", f"{ONE}/content/{{volume}}", "delay integer 1..30")
def delete_volume(request: Request) -> object:
    """A protected or missing one fails in the task."""
    storage, name = find_storage(request), request.text("volume")
    volid = name if name.startswith(f"{storage.name}:") else f"{storage.name}:{name}"
    volume = storage.find(request.node, volid)
    node = request.node
    owner = volume.vmid if volume else 0
    if not (owner and volume and volume.content == "backup" and request.may(f"/vms/{owner}", "VM.Backup")):
        request.require(f"/storage/{storage.name}", "Datastore.Allocate")

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["destroy"]
        present = storage.find(node, volid)
        if present is None:
            raise TaskError(f"unlink '/{volid}' failed - No such file or directory")
        if present.protected:
            raise TaskError(f"cannot remove protected archive '{volid}'")
        storage.remove(volid, node)

    return request.spawn("imgdel", f"{owner or ''}@{storage.name}", work)


@routes.add(
    "POST",
    f"{ONE}/upload",
    f"""
    content!           string =iso|vztmpl|import format:pve-storage-content
    filename!          string len:..255
    checksum           string requires:checksum-algorithm
    checksum-algorithm string {CHECKSUMS} requires:checksum
    tmpfilename        string
    """,
    check=needs("/storage/{storage}", "Datastore.AllocateTemplate"),
)
def upload(request: Request) -> object:
    """A file by multipart form; the task copies it into its place."""
    size, _, digest = request.text(UPLOADED, "0").partition(":")
    arrive = _arrive(request, int(size or 0))
    expected = request.text("checksum")

    def work(task: Task) -> Generator[float, None, None]:
        if expected and request.text("checksum-algorithm") == "sha256" and digest != expected:
            raise TaskError(f"checksum mismatch: got '{digest}' != expect '{expected}'")
        yield from arrive(task)

    return request.spawn("imgcopy", "", work)


DOWNLOAD: Check = [
    "and",
    ["perm", "/storage/{storage}", ["Datastore.AllocateTemplate"]],
    ["or", ["perm", "/", ["Sys.Audit", "Sys.Modify"]], ["perm", "/nodes/{node}", ["Sys.AccessNetwork"]]],
]


@routes.add(
    "POST",
    f"{ONE}/download-url",
    f"""
    content!            string =iso|vztmpl|import format:pve-storage-content
    filename!           string len:..255
    url!                string /https?:\\/\\/.*/
    checksum            string requires:checksum-algorithm
    checksum-algorithm  string {CHECKSUMS} requires:checksum
    compression         string
    verify-certificates boolean
    """,
    check=DOWNLOAD,
)
def download(request: Request) -> object:
    """From an address; those that the world knows as unreachable fail in the task."""
    size = request.world.downloads.get(request.text("url"))
    return request.spawn("download", request.text("filename"), _arrive(request, size))


def _arrive(request: Request, size: int | None) -> Work:
    storage, kind, name = find_storage(request), request.text("content"), request.text("filename")
    node = request.node
    if kind not in storage.content:
        raise bad_parameters({"content": f"storage '{storage.name}' does not support '{kind}' content"})
    if re.search(r"[^-a-zA-Z0-9_.+]", name):
        raise bad_parameters({"filename": "invalid filename or wrong extension"})
    volid = f"{storage.name}:{FOLDERS[kind]}/{name}"

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["image"]
        if size is None:
            raise TaskError("download failed: 404 Not Found")
        if size > storage.free(node):
            raise TaskError("write error: No space left on device")
        form = next((f for f in ("tar.zst", "tar.gz", "tar.xz", "iso", "qcow2") if name.endswith(f)), "raw")
        ctime = request.cluster.now()
        place = storage.place(node)
        storage.put(Volume(volid, size, kind, place, used=size, format=form, ctime=ctime))

    return work
