"""Size of a guest's root disk, and its snapshots."""

import re
from collections.abc import Awaitable, Callable

from dsecos_agent.adapter_errors import NotFoundError, UnsupportedError
from dsecos_agent.engines.model import Snapshot
from dsecos_agent.engines.proxmox import options, properties, refusals
from dsecos_agent.engines.proxmox.access import Access, Found
from dsecos_agent.engines.proxmox.creation import Creation
from dsecos_agent.engines.proxmox.lifecycle import Lifecycle
from dsecos_agent.engines.proxmox.observe import snapshots_of
from dsecos_agent.engines.proxmox.tasks import Resumed

SNAPSHOT_NAME = re.compile(r"[a-z][a-z0-9_-]{1,39}")
"""pve-configid of PVE::JSONSchema."""
RESERVED = frozenset({"current", "vzdump", "pending"})


class Disks:
    """The operations that change what is on the disks."""

    def __init__(self, access: Access, creation: Creation, lifecycle: Lifecycle) -> None:
        """Does nothing yet."""
        self._access = access
        self._creation = creation
        self._lifecycle = lifecycle

    async def resize(self, name: str, owner_uid: str, size: int) -> None:
        """Grow the root disk. Raises NotFoundError, NotOursError, OutOfSpaceError, UnsupportedError."""
        wanted = properties.mebibytes(size) * properties.MIB

        async def step(_: Resumed | None) -> None:
            found = await self._existing(name, owner_uid)
            disk, present = found.root_disk, found.form.disk_bytes(found.raw)
            if not disk:
                raise UnsupportedError(
                    f"guest {name} has no disk that is known to be the one that it boots from"
                )
            if present == wanted:
                return
            if present is not None and wanted < present:
                raise UnsupportedError(f"guest {name} has a root disk of {present} bytes; none gets smaller")
            found.check_lock()
            await self._creation.resize(name, found.place, disk, wanted)

        await self._access.settled(name, step)

    async def snapshot(self, name: str, owner_uid: str, snapshot: str, description: str) -> None:
        """Take one, unless there is one of that name. Raises as the protocol says."""
        if not SNAPSHOT_NAME.fullmatch(snapshot) or snapshot in RESERVED:
            raise UnsupportedError(
                f"{snapshot!r} cannot name a snapshot of Proxmox VE: a letter, then 1 to 39 of a-z, 0-9, -"
            )

        async def step(_: Resumed | None) -> None:
            found = await self._existing(name, owner_uid)
            if await self._has(found, snapshot):
                return
            found.check_lock()
            answer = await self._access.client.get(f"{found.place.path}/feature", feature="snapshot")
            if not properties.is_true(answer.get("hasFeature", 0)):
                raise UnsupportedError(f"guest {name} lies on a storage that has no snapshots")
            try:
                await self._task(
                    name,
                    found,
                    "snapshot",
                    snapshot,
                    lambda path: self._access.client.post(path, snapname=snapshot, description=description),
                )
            except refusals.NameTakenError:
                return

        await self._access.settled(name, step)

    async def rollback(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Stop it and take its disks back. Raises NotFoundError, NotOursError, UnsupportedError."""

        async def step(resumed: Resumed | None) -> None:
            found = await self._existing(name, owner_uid)
            if resumed is not None and resumed.result_of("rollback", found.place.vmid, snapshot) is not None:
                return
            if not await self._has(found, snapshot):
                raise NotFoundError(f"guest {name} has no snapshot {snapshot}")
            found.check_lock()
            if options.marks_of(found.raw).adopted:
                await self._check_is_ours(name, found, snapshot)
            await self._lifecycle.halt(name, found, 0)
            await self._task(
                name,
                found,
                "rollback",
                snapshot,
                lambda path: self._access.client.post(f"{path}/{snapshot}/rollback"),
            )

        await self._access.settled(name, step)

    async def remove_snapshot(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Forget one. Raises NotOursError."""

        async def step(_: Resumed | None) -> None:
            found = await self._access.ours(name, owner_uid)
            if found is None or not await self._has(found, snapshot):
                return
            found.check_lock()
            await self._task(
                name,
                found,
                "remove-snapshot",
                snapshot,
                lambda path: self._access.client.delete(f"{path}/{snapshot}"),
            )

        await self._access.settled(name, step)

    async def list(self, name: str) -> list[Snapshot]:
        """All of a guest's. Raises NotFoundError."""
        claim = self._access.claims.of(name)
        place = (await self._access.places.listing()).find(name, None, claim.vmid if claim else None)
        if place is None:
            raise NotFoundError(f"there is no guest {name}")
        return snapshots_of(await self._access.client.get(f"{place.path}/snapshot"))

    async def _existing(self, name: str, owner_uid: str) -> Found:
        found = await self._access.ours(name, owner_uid)
        if found is None:
            raise NotFoundError(f"there is no guest {name}")
        return found

    async def _check_is_ours(self, name: str, found: Found, snapshot: str) -> None:
        # A rollback takes back tags and description, too.
        then = await self._access.client.get(f"{found.place.path}/config", snapshot=snapshot)
        if options.owner_of(then) != options.owner_of(found.raw):
            raise UnsupportedError(
                f"snapshot {snapshot} of guest {name} is of a time when it was not ours: it would give it up"
            )

    async def _has(self, found: Found, snapshot: str) -> bool:
        entries = await self._access.client.get(f"{found.place.path}/snapshot")
        return snapshot in {one.name for one in snapshots_of(entries)}

    async def _task(
        self, name: str, found: Found, verb: str, snapshot: str, call: Callable[[str], Awaitable[str]]
    ) -> None:
        await self._access.tasks.run(
            name,
            verb,
            node=found.place.node,
            vmid=found.place.vmid,
            issue=lambda: call(f"{found.place.path}/snapshot"),
            detail=snapshot,
        )
