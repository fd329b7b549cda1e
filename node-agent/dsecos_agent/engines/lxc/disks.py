"""The guests' disks, which are their pools': found by where a guest's root directory is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dsecos_agent.adapter_errors import NotFoundError, UnsupportedError
from dsecos_agent.engines.model import Capability, Snapshot
from dsecos_agent.storage.protocol import GuestSnapshot, PoolFeatures


class GuestPool(Protocol):
    """What the engine asks of a pool; see `storage.protocol.Pool`."""

    @property
    def features(self) -> PoolFeatures | None:
        """None before it is ready."""

    def guest_of(self, tree: Path) -> str | None:
        """The guest that this is a tree of."""

    async def guest_usage(self, guest: str) -> int | None:
        """Bytes added to the template."""

    async def set_guest_quota(self, guest: str, owner_uid: str, quota: int | None) -> None:
        """Bytes that may be added."""

    async def snapshot_guest(
        self, guest: str, owner_uid: str, snapshot: str, *, description: str = ""
    ) -> None:
        """Keep its trees."""

    async def rollback_guest(self, guest: str, owner_uid: str, snapshot: str) -> None:
        """Take its trees back."""

    async def finish_rollback(self, guest: str, owner_uid: str) -> None:
        """Finish one that was interrupted."""

    async def remove_guest_snapshot(self, guest: str, owner_uid: str, snapshot: str) -> None:
        """Forget one."""

    async def list_guest_snapshots(self, guest: str) -> Sequence[GuestSnapshot]:
        """The oldest first."""


@dataclass(frozen=True, slots=True)
class Disk:
    """One guest's trees in a pool."""

    pool: GuestPool
    guest: str
    """Its name there."""
    owner_uid: str

    async def usage(self) -> int | None:
        """Bytes used; None where that cannot be told cheaply."""
        return await self.pool.guest_usage(self.guest)

    async def resize(self, size: int) -> None:
        """Limit it to `size` bytes. Raises UnsupportedError: no quotas, or less than is used."""
        if self.pool.features is None or not self.pool.features.quotas:
            raise UnsupportedError(f"the pool that guest {self.guest} is in has no quotas")
        used = await self.usage()
        if used is not None and size < used:
            raise UnsupportedError(
                f"the disk of guest {self.guest} cannot be made smaller than the {used} bytes that are used"
            )
        await self.pool.set_guest_quota(self.guest, self.owner_uid, size)

    async def snapshot(self, name: str, description: str) -> None:
        """Keep it. Raises OutOfSpaceError, UnsupportedError."""
        await self.pool.snapshot_guest(self.guest, self.owner_uid, name, description=description)

    async def rollback(self, name: str) -> None:
        """Take it back. Raises NotFoundError, OutOfSpaceError."""
        await self.pool.rollback_guest(self.guest, self.owner_uid, name)

    async def finish_rollback(self) -> None:
        """Before the guest is started."""
        await self.pool.finish_rollback(self.guest, self.owner_uid)

    async def remove_snapshot(self, name: str) -> None:
        """Forget one."""
        await self.pool.remove_guest_snapshot(self.guest, self.owner_uid, name)

    async def snapshots(self) -> list[Snapshot]:
        """The oldest first."""
        found = await self.pool.list_guest_snapshots(self.guest)
        return [Snapshot(each.name, each.created, each.description) for each in found]

    async def require(self, snapshot: str) -> None:
        """Raises NotFoundError when there is no such snapshot."""
        if not await self.has(snapshot):
            raise NotFoundError(f"guest {self.guest} has no snapshot {snapshot}")

    async def has(self, snapshot: str) -> bool:
        """Whether there is one of that name."""
        return any(each.name == snapshot for each in await self.snapshots())


class Disks:
    """Finds a guest's disk; `pools` tells those that are open at the moment."""

    def __init__(self, pools: Callable[[], Iterable[GuestPool]] = tuple) -> None:
        """Without `pools` there are none."""
        self._pools = pools

    def of(self, root: Path, owner_uid: str) -> Disk | None:
        """The disk with this root directory; None: it is in no open pool."""
        for pool in self._pools():
            if guest := pool.guest_of(root):
                return Disk(pool, guest, owner_uid)
        return None

    def capabilities(self) -> frozenset[Capability]:
        """What of snapshots and sizes these pools can do."""
        features = [pool.features for pool in self._pools() if pool.features is not None]
        found = {Capability.SNAPSHOT} if features else set()
        return frozenset(found | {Capability.RESIZE_DISK for each in features if each.quotas})
