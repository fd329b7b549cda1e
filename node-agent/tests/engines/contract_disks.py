"""What any engine does with a guest's disk: size, snapshots, rollback."""

import asyncio
from collections.abc import Callable

import pytest
from dsecos_agent.adapter_errors import NotFoundError, UnsupportedError
from dsecos_agent.engines.model import Capability, GuestState
from dsecos_agent.engines.protocol import Engine

from .contract_hooks import GIB, MAKE, OWNER, Hooks, started, state_of


class DiskContract(Hooks):
    """The guest's disk, wherever it is."""

    async def test_a_disk_grows(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        if not await self.can(engine, Capability.RESIZE_DISK):
            call = engine.resize_disk("one", OWNER, 64 * GIB)
            await self.refused(engine, Capability.RESIZE_DISK, call)
            return
        for _ in range(2):
            await engine.resize_disk("one", OWNER, 64 * GIB)
            guest = await engine.get("one")
            assert guest is not None
            assert guest.disk_bytes in {None, 64 * GIB}
        with pytest.raises(UnsupportedError, match="smaller"):
            await engine.resize_disk("one", OWNER, 1)
        with pytest.raises(NotFoundError):
            await engine.resize_disk("none", OWNER, 64 * GIB)

    async def test_snapshot_and_rollback(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.SNAPSHOT):
            await self.refused(
                engine,
                Capability.SNAPSHOT,
                engine.snapshot("one", OWNER, "s1"),
                engine.rollback("one", OWNER, "s1"),
                engine.remove_snapshot("one", OWNER, "s1"),
                engine.list_snapshots("one"),
            )
            return
        assert list(await engine.list_snapshots("one")) == []
        await self.write_mark(engine, "one", "before")
        await engine.snapshot("one", OWNER, "s1", description="before the change")
        assert await state_of(engine, "one") is GuestState.RUNNING
        await self.write_mark(engine, "one", "after")
        await engine.snapshot("one", OWNER, "s1", description="is there already")
        for _ in range(2):
            await engine.rollback("one", OWNER, "s1")
            assert await state_of(engine, "one") is GuestState.STOPPED
        await engine.start("one", OWNER)
        assert await self.read_mark(engine, "one") == "before"
        assert [s.description for s in await engine.list_snapshots("one")] == ["before the change"]

    async def test_snapshots_are_listed_the_oldest_first(
        self, engine: Engine, make_config: MAKE, same_engine: Callable[[], Engine]
    ) -> None:
        config = make_config("one")
        await engine.write_config(config)
        if not await self.can(engine, Capability.SNAPSHOT):
            return
        for name in ("zuerst", "danach", "dann"):
            await engine.snapshot("one", OWNER, name)
        again = same_engine()
        await again.ensure_ready()
        listed = await again.list_snapshots("one")
        await again.close()
        assert [s.name for s in listed] == ["zuerst", "danach", "dann"]
        assert all(s.created.tzinfo is not None for s in listed)
        assert sorted(s.created for s in listed) == [s.created for s in listed]
        for _ in range(2):
            await engine.remove_snapshot("one", OWNER, "danach")
        assert [s.name for s in await engine.list_snapshots("one")] == ["zuerst", "dann"]
        guest = await engine.get("one")
        assert guest is not None
        assert guest.config_digest == engine.digest(config).full, "a snapshot is no change of the guest"

    async def test_two_snapshots_at_once_are_one(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        if not await self.can(engine, Capability.SNAPSHOT):
            return
        await asyncio.gather(*(engine.snapshot("one", OWNER, "s1") for _ in range(2)))
        assert [s.name for s in await engine.list_snapshots("one")] == ["s1"]

    async def test_a_snapshot_needs_a_guest_and_a_rollback_a_snapshot(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.SNAPSHOT):
            return
        for call in (
            engine.rollback("one", OWNER, "none"),
            engine.snapshot("none", OWNER, "s1"),
            engine.rollback("none", OWNER, "s1"),
            engine.list_snapshots("none"),
        ):
            with pytest.raises(NotFoundError):
                await call
        assert await state_of(engine, "one") is GuestState.RUNNING, "nothing was stopped for nothing"
