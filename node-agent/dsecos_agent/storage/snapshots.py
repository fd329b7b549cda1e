"""Snapshots of a guest's trees: read-only clones beside them, and the way back.

    guests/<guest>/snapshots/<name>/{rootfs,docker}     as the guest's own trees were
    guests/<guest>/{rootfs,docker}.{fresh,old}          only while it is taken back

A rollback makes fresh trees from the snapshot first, while the guest keeps its own: when the pool is full
nothing has changed. Then the record says `reverting`, and what follows (two renames a tree, the limit, the
removal of the old trees) needs no space and is done to its end by whoever comes next. So a guest never has
one tree of yesterday and one of today.

With simple quotas an extent counts for the tree that wrote it as long as anybody has it: what only a snapshot
holds on to counts for its guest. With older kernels it does not.
"""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dsecos_agent.adapter_errors import AdapterError, NotFoundError, UnsupportedError
from dsecos_agent.storage import records
from dsecos_agent.storage.protocol import GuestSnapshot
from dsecos_agent.storage.records import Record, Stage
from dsecos_agent.storage.trees import Budget, Trees

FOLDER = "snapshots"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Snapshots:
    """Of the guests of one pool, each by its directory; `budget` says which trees it has."""

    def __init__(self, trees: Trees) -> None:
        """Nothing is touched."""
        self._trees = trees

    async def take(
        self, directory: Path, budget: Budget, owner_uid: str, name: str, description: str
    ) -> None:
        """Keep the trees as they are now. Raises OutOfSpaceError, UnsupportedError, NotFoundError."""
        target = _of(directory, name)
        present = records.read(target)
        if present is not None and present.stage is Stage.READY:
            return
        for tree in budget.members:
            if await self._trees.has_nested(tree):
                raise UnsupportedError(
                    f"{tree.name} of guest {directory.name} holds subvolumes that the guest made; a snapshot"
                    " would not hold them"
                )
        created = datetime.now(UTC).isoformat()
        record = Record(owner_uid, Stage.MAKING, created=created, description=description)
        await asyncio.to_thread(records.write, target, record)
        await self._delete_trees(target, budget)
        for tree in budget.members:
            await self._trees.clone(tree, target / tree.name, None)
        for tree in budget.members:
            await self._trees.seal(target / tree.name)
        await asyncio.to_thread(records.write, target, record.at(Stage.READY))

    async def revert(self, directory: Path, budget: Budget, record: Record, name: str) -> None:
        """Take the trees back. `record` is the guest's. Raises NotFoundError, OutOfSpaceError."""
        source = _of(directory, name)
        if not _is_ready(source):
            raise NotFoundError(f"guest {directory.name} has no snapshot {name}")
        await self._sweep(budget)
        try:
            for tree in budget.members:
                await self._trees.clone(source / tree.name, _fresh(tree), budget)
        except AdapterError:
            await self._sweep(budget)
            raise
        quota = await asyncio.to_thread(self._trees.quota, budget)
        reverting = replace(record, stage=Stage.REVERTING, quota=quota)
        await asyncio.to_thread(records.write, directory, reverting)
        await self.finish(directory, budget, reverting)

    async def finish(self, directory: Path, budget: Budget, record: Record) -> None:
        """Bring a rollback that was begun to its end; nothing when none was."""
        if record.stage is not Stage.REVERTING:
            return
        for tree in budget.members:
            await asyncio.to_thread(_exchange, tree)
        await self._trees.limit(budget, record.quota)
        await self._sweep(budget)
        done = replace(record, stage=Stage.READY, quota=None)
        await asyncio.to_thread(records.write, directory, done)

    async def remove(self, directory: Path, budget: Budget, name: str) -> None:
        """Forget one; a missing one is fine. Raises NotFoundError for what is no name."""
        target = _of(directory, name)
        record = records.read(target)
        if record is None:
            return
        await asyncio.to_thread(records.write, target, record.at(Stage.REMOVING))
        await self._delete_trees(target, budget)
        await asyncio.to_thread(records.forget, target)

    async def remove_all(self, directory: Path, budget: Budget) -> None:
        """Forget all of them, and what a rollback left; before the guest's own trees go."""
        folder = directory / FOLDER
        for target in await asyncio.to_thread(_folders, folder):
            await self.remove(directory, budget, target.name)
        if folder.is_dir():
            await asyncio.to_thread(folder.rmdir)
        await self._sweep(budget)

    def list(self, directory: Path) -> list[GuestSnapshot]:
        """Those that are complete, the oldest first."""
        found = [
            GuestSnapshot(target.name, datetime.fromisoformat(record.created), record.description)
            for target in _folders(directory / FOLDER)
            if (record := records.read(target)) is not None
            and record.stage is Stage.READY
            and record.created is not None
        ]
        return sorted(found, key=lambda snapshot: (snapshot.created, snapshot.name))

    async def _delete_trees(self, target: Path, budget: Budget) -> None:
        for tree in budget.members:
            await self._trees.delete(target / tree.name, Budget(target / tree.name))

    async def _sweep(self, budget: Budget) -> None:
        for tree in budget.members:
            for left in (_fresh(tree), _old(tree)):
                if left.exists():
                    await self._trees.delete(left, budget)


def _of(directory: Path, name: str) -> Path:
    if not NAME.fullmatch(name):
        raise NotFoundError(f"{name!r} is not a name that a snapshot can have")
    return directory / FOLDER / name


def _is_ready(target: Path) -> bool:
    record = records.read(target)
    return record is not None and record.stage is Stage.READY


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _fresh(tree: Path) -> Path:
    return tree.with_name(tree.name + ".fresh")


def _old(tree: Path) -> Path:
    return tree.with_name(tree.name + ".old")


def _exchange(tree: Path) -> None:
    """Put the fresh tree in the old one's place; whichever of the two renames was done is not done again."""
    if not _fresh(tree).exists():
        return
    if tree.exists():
        tree.rename(_old(tree))
    _fresh(tree).rename(tree)
