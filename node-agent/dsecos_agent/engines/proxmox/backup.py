"""Backups of single guests by vzdump, and guests made from them.

A backup is whose its notes say, not whose VMID it bears: ids are given out again. vzdump leaves its snapshot
behind when it fails, and cannot take another then; such a leftover is removed when no backup runs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsecos_agent.adapter_errors import NotFoundError, NotOursError
from dsecos_agent.engines.errors import GuestLockedError, OutcomeUnknownError
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox import options, properties
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.properties import MARK, Marks, Ownership
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.tasks import Tasks

API_KIND: Mapping[GuestKind, str] = {GuestKind.CONTAINER: "lxc", GuestKind.VM: "qemu"}
SNAPSHOT = "vzdump"
"""Name of the snapshot that vzdump takes and removes."""

SNAPSHOT_STORAGES = frozenset({"zfspool", "lvmthin", "rbd", "btrfs"})
"""Types of storage that vzdump can take a container's snapshot on; a subvolume of btrfs it cannot mount."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup on a storage."""

    volid: str
    vmid: int
    created: float
    """Seconds since 1970."""
    size: int
    """Bytes."""
    protected: bool
    owner: Ownership | None
    """Of the guest that it was taken of; None: not taken by us."""


def mode(kind: GuestKind, raw: options.Raw, storages: Mapping[str, str], *, running: bool) -> str:
    """How vzdump takes this guest (snapshot, suspend, stop); `storages` gives the type of each by name.

    `suspend` copies a running container twice and holds it for the second, short copy.
    """
    if not running:
        return "stop"
    if kind is GuestKind.VM or all(_has_snapshots(volume, storages) for volume in _saved_volumes(raw)):
        return "snapshot"
    return "suspend"


def surplus(backups: Collection[Backup], owner: Ownership, keep_last: int) -> list[Backup]:
    """What goes beyond the newest `keep_last` of this guest's backups; a protected one stays, uncounted."""
    ours = [backup for backup in backups if backup.owner == owner and not backup.protected]
    newest_first = sorted(ours, key=lambda backup: (backup.created, backup.volid), reverse=True)
    return newest_first[max(0, keep_last) :]


class Backups:
    """Backups on the storages of one node."""

    def __init__(self, client: Client, tasks: Tasks, settings: ProxmoxSettings) -> None:
        """Nothing is asked yet."""
        self._client = client
        self._tasks = tasks
        self._settings = settings

    async def take(
        self,
        owner: Ownership,
        kind: GuestKind,
        *,
        node: str,
        vmid: int,
        storage: str,
        protected: bool = False,
    ) -> Backup:
        """Back the guest up. Raises NotOursError, GuestLockedError, OutOfSpaceError, GuestFailedError with
        the task's log, OutcomeUnknownError.
        """
        guest = f"/nodes/{node}/{API_KIND[kind]}/{vmid}"
        raw = await self._owned(guest, owner)
        await self._remove_leftover(owner, guest, node, vmid)
        before = {backup.volid for backup in await self.listed(storage, node=node)}
        status = await self._client.get(f"{guest}/status/current")
        chosen = mode(kind, raw, await self._storages(node), running=status.get("status") == "running")
        parameters: dict[str, Any] = {
            "vmid": f"{vmid}",
            "storage": storage,
            "mode": chosen,
            "compress": "zstd",
            "notes-template": _notes(owner),
            "protected": protected,
            # Retention is ours: Proxmox VE's goes by VMID. And mail would need a sendmail on the node.
            "remove": False,
            "notification-mode": "notification-system",
        }
        await self._tasks.run(
            owner.guest,
            "backup",
            node=node,
            vmid=vmid,
            issue=lambda: self._client.post(f"/nodes/{node}/vzdump", **parameters),
            detail=storage,
        )
        made = [
            backup
            for backup in await self.listed(storage, node=node)
            if backup.volid not in before and (backup.vmid, backup.owner) == (vmid, owner)
        ]
        if not made:
            raise OutcomeUnknownError(f"the backup of {owner.guest} ended well and is not on {storage}")
        return max(made, key=lambda backup: backup.created)

    async def listed(self, storage: str, *, node: str) -> list[Backup]:
        """All backups on a storage, the oldest first."""
        content = await self._client.get(f"/nodes/{node}/storage/{storage}/content", content="backup")
        found = [_parse(volume) for volume in content if "vmid" in volume]
        return sorted(found, key=lambda backup: (backup.created, backup.volid))

    async def restore(
        self, backup: Backup, owner: Ownership, kind: GuestKind, *, node: str, vmid: int, storage: str
    ) -> None:
        """Make a guest that is not there from a backup, under an id that its caller has claimed.

        It is `owner`'s from its first moment where Proxmox VE lets us say so: a container. A VM comes with
        the marks that it was backed up with. Never over a guest that is there: raises IdTakenError.
        """
        parameters: dict[str, Any] = {"vmid": vmid, "storage": storage, "pool": self._settings.resource_pool}
        if kind is GuestKind.CONTAINER:
            parameters |= {
                "ostemplate": backup.volid,
                "restore": 1,
                "unprivileged": 1,
                "tags": properties.render_tags("", owner),
                "description": properties.render_description("", Marks(owner.guest, owner.owner_uid)),
            }
        else:
            parameters["archive"] = backup.volid
        await self._tasks.run(
            owner.guest,
            "restore",
            node=node,
            vmid=vmid,
            issue=lambda: self._client.post(f"/nodes/{node}/{API_KIND[kind]}", **parameters),
            detail=backup.volid,
        )

    async def protect(self, backup: Backup, owner: Ownership, *, node: str, protected: bool) -> None:
        """Let nobody remove it, or anybody again. Raises NotOursError, EngineDeniedError."""
        self._check(backup, owner)
        await self._client.put(self._path(backup, node), protected=int(protected))

    async def prune(self, owner: Ownership, *, node: str, storage: str, keep_last: int) -> list[Backup]:
        """Remove what goes beyond the newest of this guest's backups, and nobody else's; what was removed."""
        removed = surplus(await self.listed(storage, node=node), owner, keep_last)
        for backup in removed:
            await self.remove(backup, owner, node=node)
        return removed

    async def remove(self, backup: Backup, owner: Ownership, *, node: str) -> None:
        """Remove one. A missing one is fine. Raises NotOursError, GuestFailedError (protected)."""
        self._check(backup, owner)
        try:
            await self._tasks.run(
                f"backup {backup.volid}",
                "remove-volume",
                node=node,
                vmid=backup.vmid,
                issue=lambda: self._client.delete(self._path(backup, node)),
                detail=backup.volid,
            )
        except NotFoundError:
            return

    async def _owned(self, guest: str, owner: Ownership) -> options.Raw:
        raw: options.Raw = await self._client.get(f"{guest}/config")
        found = options.owner_of(raw)
        if found != owner:
            raise NotOursError(
                "guest", owner.guest, wanted=owner.owner_uid, found=found.owner_uid if found else None
            )
        return raw

    async def _remove_leftover(self, owner: Ownership, guest: str, node: str, vmid: int) -> None:
        """Remove the snapshot of a vzdump that failed. Raises GuestLockedError while one runs."""
        running = await self._client.get(f"/nodes/{node}/tasks", source="active", vmid=vmid)
        if any(task.get("type") == "vzdump" for task in running):
            raise GuestLockedError(f"a backup of {owner.guest} runs already", "backup")
        names = {snapshot.get("name") for snapshot in await self._client.get(f"{guest}/snapshot")}
        if SNAPSHOT not in names:
            return
        await self._tasks.run(
            owner.guest,
            "remove-snapshot",
            node=node,
            vmid=vmid,
            issue=lambda: self._client.delete(f"{guest}/snapshot/{SNAPSHOT}"),
            detail=SNAPSHOT,
        )

    async def _storages(self, node: str) -> dict[str, str]:
        storages: Sequence[Mapping[str, Any]] = await self._client.get(f"/nodes/{node}/storage")
        return {str(storage["storage"]): str(storage.get("type", "")) for storage in storages}

    @staticmethod
    def _path(backup: Backup, node: str) -> str:
        return f"/nodes/{node}/storage/{backup.volid.partition(':')[0]}/content/{backup.volid}"

    @staticmethod
    def _check(backup: Backup, owner: Ownership) -> None:
        if backup.owner != owner:
            raise NotOursError(
                "backup",
                backup.volid,
                wanted=owner.owner_uid,
                found=backup.owner.owner_uid if backup.owner else None,
            )


def _saved_volumes(raw: options.Raw) -> list[str]:
    """Volumes that a backup of a container holds: the root, and mount points that say so."""
    found = []
    for device, value in raw.items():
        parts = properties.parse(str(value), "volume")
        is_mount = device.startswith("mp") and device[2:].isdigit()
        if device == "rootfs" or (is_mount and properties.is_true(parts.get("backup", "0"))):
            found.append(parts.get("volume", ""))
    return found


def _has_snapshots(volume: str, storages: Mapping[str, str]) -> bool:
    storage, _, name = volume.partition(":")
    kind = storages.get(storage, "")
    return kind in SNAPSHOT_STORAGES and not (kind == "btrfs" and name.endswith(".subvol"))


def _notes(owner: Ownership) -> str:
    """Notes as vzdump takes them: `{{` begins a variable, a line feed is written as \\n."""
    guest = properties.checked("name", owner.guest, properties.NAME)
    uid = properties.checked("owner", owner.owner_uid, properties.UID)
    return f"{MARK}guest: {guest}\\n{MARK}owner-uid: {uid}"


def _parse(volume: Mapping[str, Any]) -> Backup:
    return Backup(
        volid=str(volume["volid"]),
        vmid=int(volume["vmid"]),
        created=float(volume.get("ctime") or 0),
        size=int(volume.get("size") or 0),
        protected=properties.is_true(volume.get("protected", 0)),
        owner=properties.parse_description(str(volume.get("notes", ""))).ownership,
    )
