"""A pool: the layout of `protocol`, with its records, on any driver's trees."""

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

from dsecos_agent.adapter_errors import NotFoundError, NotOursError
from dsecos_agent.storage import archives, records
from dsecos_agent.storage.directory import free_bytes
from dsecos_agent.storage.protocol import (
    Capacity,
    Dataset,
    DatasetKind,
    GuestDisk,
    GuestSnapshot,
    PoolFeatures,
    Template,
    VolumeRef,
)
from dsecos_agent.storage.records import Record, Stage
from dsecos_agent.storage.snapshots import Snapshots
from dsecos_agent.storage.trees import Budget, Trees

SHARED_QUOTA = 1 << 20
"""Bytes of a guest's shared directory: room for sockets, not for data."""

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
"""Kubernetes names; none is `.` or `..` or has a slash."""


class LayoutPool:
    """Templates, guests and volumes below the root of `trees`."""

    def __init__(self, trees: Trees) -> None:
        """Nothing is touched before `ensure_ready`."""
        self._trees = trees
        self._snapshots = Snapshots(trees)
        self._features: PoolFeatures | None = None

    @property
    def root(self) -> Path:
        """Where the layout begins."""
        return self._trees.root

    @property
    def features(self) -> PoolFeatures | None:
        """What `ensure_ready` found."""
        return self._features

    def guest_of(self, tree: Path) -> str | None:
        """The guest that this is a tree of."""
        directory = tree.parent
        return directory.name if directory.parent == self.root / "guests" else None

    async def ensure_ready(self) -> PoolFeatures:
        """Make or mount. Raises PoolUnavailableError."""
        self._features = await self._trees.ensure_ready()
        return self._features

    async def close(self) -> None:
        """Unmount if possible."""
        await self._trees.close()

    async def import_template(self, template: Template) -> None:
        """Unpack once. Raises TemplateDamagedError, OutOfSpaceError."""
        directory = self._template(template.digest)
        if self._is_ready(directory):
            return
        parts = {"rootfs": template.rootfs, "docker": template.docker}
        for archive in parts.values():
            if archive is not None:
                await asyncio.to_thread(archives.verify, archive)
        record = Record(owner_uid=None, stage=Stage.MAKING)
        await self._begin(directory, record)
        for tree, archive in parts.items():
            await self._trees.create(directory / tree)
            if archive is not None:
                await archives.unpack(archive.path, directory / tree)
        for tree in ("rootfs", "docker"):
            await self._trees.seal(directory / tree)
        await asyncio.to_thread(records.write, directory, record.at(Stage.READY))

    async def remove_template(self, digest: str) -> None:
        """Remove; a missing one is fine."""
        directory = self._template(digest)
        record = records.read(directory)
        if record is not None:
            await self._remove(directory, record)

    async def clone(
        self, digest: str, guest: str, owner_uid: str, *, gid: int, quota: int | None = None
    ) -> GuestDisk:
        """The guest's own copy. Raises NotFoundError, NotOursError, OutOfSpaceError."""
        directory = self._guest(guest)
        await self.finish_rollback(guest, owner_uid)
        disk = GuestDisk(directory / "rootfs", directory / "docker", directory / "shared")
        if self._is_ready(directory):
            await asyncio.to_thread(records.let_pass, directory, gid)
            return disk
        template = self._template(digest)
        if not self._is_ready(template):
            raise NotFoundError(f"template {digest} is not in pool {self.root}")
        record = Record(owner_uid, Stage.MAKING, template=digest)
        await self._begin(directory, record)
        await self._trees.create(disk.shared)
        await self._trees.limit(Budget(disk.shared), SHARED_QUOTA)
        budget = _budget(directory)
        await self._trees.clone(template / "rootfs", disk.rootfs, budget)
        await self._trees.clone(template / "docker", disk.docker, budget)
        if quota is not None:
            await self._trees.limit(budget, quota)
        await asyncio.to_thread(records.let_pass, directory, gid)
        await asyncio.to_thread(records.write, directory, record.at(Stage.READY))
        return disk

    async def remove_guest(self, guest: str, owner_uid: str) -> None:
        """Remove all trees. Raises NotOursError."""
        directory = self._guest(guest)
        record = self._check(DatasetKind.GUEST, guest, directory, owner_uid)
        if record is not None:
            await self._remove(directory, record)

    async def snapshot_guest(
        self, guest: str, owner_uid: str, snapshot: str, *, description: str = ""
    ) -> None:
        """Keep both trees. Raises NotFoundError, NotOursError, OutOfSpaceError, UnsupportedError."""
        directory = await self._own(guest, owner_uid)
        await self._snapshots.take(directory, _budget(directory), owner_uid, snapshot, description)

    async def rollback_guest(self, guest: str, owner_uid: str, snapshot: str) -> None:
        """Take both trees back. Raises NotFoundError, NotOursError, OutOfSpaceError."""
        directory = await self._own(guest, owner_uid)
        record = self._check(DatasetKind.GUEST, guest, directory, owner_uid)
        if record is not None:
            await self._snapshots.revert(directory, _budget(directory), record, snapshot)

    async def finish_rollback(self, guest: str, owner_uid: str) -> None:
        """Finish one that was interrupted. Raises NotOursError."""
        directory = self._guest(guest)
        record = self._check(DatasetKind.GUEST, guest, directory, owner_uid)
        if record is not None:
            await self._snapshots.finish(directory, _budget(directory), record)

    async def remove_guest_snapshot(self, guest: str, owner_uid: str, snapshot: str) -> None:
        """Forget one. Raises NotOursError."""
        directory = self._guest(guest)
        await self.finish_rollback(guest, owner_uid)
        await self._snapshots.remove(directory, _budget(directory), snapshot)

    async def list_guest_snapshots(self, guest: str) -> Sequence[GuestSnapshot]:
        """The oldest first. Raises NotFoundError."""
        directory = self._guest(guest)
        if records.read(directory) is None:
            raise NotFoundError(f"there is no guest {guest}")
        return await asyncio.to_thread(self._snapshots.list, directory)

    async def ensure_volume(
        self, ref: VolumeRef, owner_uid: str, *, gid: int, quota: int | None = None
    ) -> Path:
        """The volume's directory. Raises NotOursError, OutOfSpaceError."""
        directory = self._volume(ref)
        record = records.read(directory)
        if record is None or record.owner_uid is not None:
            record = self._check(DatasetKind.VOLUME, str(ref), directory, owner_uid)
        data = directory / "data"
        ours = Record(owner_uid, Stage.READY)
        if record is None or record.stage is not Stage.READY:
            await self._begin(directory, ours.at(Stage.MAKING))
            await self._trees.create(data)
            if quota is not None:
                await self._trees.limit(Budget(data), quota)
        await asyncio.to_thread(records.let_pass, directory, gid)
        if record != ours:
            await asyncio.to_thread(records.write, directory, ours)
        return data

    async def release_volume(self, ref: VolumeRef, owner_uid: str) -> None:
        """Keep the data, give up ownership. Raises NotOursError."""
        directory = self._volume(ref)
        record = records.read(directory)
        if record is not None and record.owner_uid is None:
            return
        record = self._check(DatasetKind.VOLUME, str(ref), directory, owner_uid)
        if record is not None and record.stage is Stage.READY:
            await asyncio.to_thread(records.write, directory, Record(None, Stage.READY))

    async def remove_volume(self, ref: VolumeRef, owner_uid: str) -> None:
        """Destroy the data. Raises NotOursError."""
        directory = self._volume(ref)
        record = self._check(DatasetKind.VOLUME, str(ref), directory, owner_uid)
        if record is not None:
            await self._remove(directory, record)
        _remove_empty(directory.parent, stop=self.root)

    async def set_guest_quota(self, guest: str, owner_uid: str, quota: int | None) -> None:
        """Limit. Raises NotFoundError, NotOursError."""
        directory = await self._own(guest, owner_uid)
        await self._trees.limit(_budget(directory), quota)

    async def set_volume_quota(self, ref: VolumeRef, owner_uid: str, quota: int | None) -> None:
        """Limit. Raises NotFoundError, NotOursError."""
        directory = self._volume(ref)
        self._require(DatasetKind.VOLUME, str(ref), directory, owner_uid)
        await self._trees.limit(Budget(directory / "data"), quota)

    async def guest_usage(self, guest: str) -> int | None:
        """Bytes beyond the template. Raises NotFoundError."""
        return await self._usage(f"guest {guest}", self._guest(guest), _budget(self._guest(guest)))

    async def volume_usage(self, ref: VolumeRef) -> int | None:
        """Bytes. Raises NotFoundError."""
        return await self._usage(f"volume {ref}", self._volume(ref), Budget(self._volume(ref) / "data"))

    async def list_datasets(self) -> Sequence[Dataset]:
        """Everything that is complete, and everything foreign."""
        return await asyncio.to_thread(self._list)

    async def capacity(self) -> Capacity:
        """Of the whole pool."""
        stat = await asyncio.to_thread(os.statvfs, self.root)
        total, free = stat.f_blocks * stat.f_frsize, free_bytes(self.root)
        bound = self._trees.available()
        available = free if bound is None else min(free, bound)
        return Capacity(
            total_bytes=total, used_bytes=total - stat.f_bfree * stat.f_frsize, available_bytes=available
        )

    # What follows is how.

    def _template(self, digest: str) -> Path:
        return self.root / "templates" / _name(digest.removeprefix("sha256:"))

    def _guest(self, guest: str) -> Path:
        return self.root / "guests" / _name(guest)

    def _volume(self, ref: VolumeRef) -> Path:
        return self.root / "volumes" / _name(ref.namespace) / _name(ref.stack) / _name(ref.volume)

    @staticmethod
    def _is_ready(directory: Path) -> bool:
        record = records.read(directory)
        return record is not None and record.stage is Stage.READY

    @staticmethod
    def _check(kind: DatasetKind, name: str, directory: Path, owner_uid: str) -> Record | None:
        record = records.read(directory)
        if record is None and records.is_foreign(directory):
            raise NotOursError(kind, name, wanted=owner_uid, found=None)
        if record is not None and record.owner_uid != owner_uid:
            raise NotOursError(kind, name, wanted=owner_uid, found=record.owner_uid)
        return record

    async def _own(self, guest: str, owner_uid: str) -> Path:
        """The directory of a guest that is complete and this owner's. Raises NotFoundError, NotOursError."""
        await self.finish_rollback(guest, owner_uid)
        directory = self._guest(guest)
        self._require(DatasetKind.GUEST, guest, directory, owner_uid)
        return directory

    def _require(self, kind: DatasetKind, name: str, directory: Path, owner_uid: str) -> None:
        self._check(kind, name, directory, owner_uid)
        if not self._is_ready(directory):
            raise NotFoundError(f"there is no {kind} {name}")

    async def _begin(self, directory: Path, record: Record) -> None:
        """Write the record, and remove what an attempt before this one left."""
        await asyncio.to_thread(records.write, directory, record)
        await self._delete_trees(directory)

    async def _remove(self, directory: Path, record: Record) -> None:
        await asyncio.to_thread(records.write, directory, record.at(Stage.REMOVING))
        await self._delete_trees(directory)
        await asyncio.to_thread(records.forget, directory)

    async def _delete_trees(self, directory: Path) -> None:
        budget = _budget(directory)
        await self._snapshots.remove_all(directory, budget)
        for tree in budget.members:
            await self._trees.delete(tree, budget)
        if budget.anchor.exists():
            await self._trees.forget_budget(budget)
        for tree in (budget.anchor, directory / "data"):
            await self._trees.delete(tree, Budget(tree))

    async def _usage(self, what: str, directory: Path, budget: Budget) -> int | None:
        if not self._is_ready(directory):
            raise NotFoundError(f"there is no {what}")
        return await asyncio.to_thread(self._trees.usage, budget)

    def _list(self) -> list[Dataset]:
        found = [
            *self._list_in(DatasetKind.GUEST, "guests", 1),
            *self._list_in(DatasetKind.TEMPLATE, "templates", 1),
            *self._list_in(DatasetKind.VOLUME, "volumes", 3),
        ]
        return sorted(found, key=lambda dataset: (dataset.kind, dataset.name))

    def _list_in(self, kind: DatasetKind, folder: str, depth: int) -> list[Dataset]:
        base = self.root / folder
        found = []
        for directory in base.glob("/".join("*" * depth)):
            record = records.read(directory)
            if record is None and not records.is_foreign(directory):
                continue
            if record is not None and record.stage is not Stage.READY:
                continue
            name = str(directory.relative_to(base))
            budget = _budget(directory) if kind is DatasetKind.GUEST else Budget(directory / "data")
            limited = record is not None and kind is not DatasetKind.TEMPLATE
            found.append(
                Dataset(
                    kind=kind,
                    name=name,
                    owner_uid=record.owner_uid if record else None,
                    template=record.template if record else None,
                    quota_bytes=self._trees.quota(budget) if limited else None,
                )
            )
        return found


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise NotFoundError(f"{name!r} is not a name that a dataset can have")
    return name


def _budget(directory: Path) -> Budget:
    return Budget(directory / "shared", (directory / "rootfs", directory / "docker"))


def _remove_empty(directory: Path, *, stop: Path) -> None:
    while directory != stop and directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
        directory = directory.parent
