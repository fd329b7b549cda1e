"""What any engine has to do, through the protocol alone: `EngineContract`.

A subclass runs every test here on its engine. It gives three fixtures:

- `engine`: one that is ready, with no guest in it, and that is emptied and closed afterwards;
- `make_config(name, **changes)`: a configuration that can be written and started, for the names `one` and
  `two`, of the class' `kind` and owned by `OWNER`; `changes` replace its fields;
- `same_engine()`: a fresh engine object on the same world, as after a restart of the agent

and the hooks of `contract_hooks.Hooks` that it cannot leave as they are: `kind`, `halt`, `change`,
`stubborn`, `other_node` for an engine with Migrate, `write_mark` and `read_mark` for one with Snapshot but no
Exec. Of a guest that can be entered the contract asks for sh, cat, env, sleep, head, echo, true.

Capabilities are asked, never assumed: what the engine lacks for the kind has to be said by `why_not`, has to
raise UnsupportedError when it is tried, and has to change nothing. What can be seen of a guest on the host
that it runs on is `contract_host.HostContract`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from dsecos_agent.adapter_errors import NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.engines.errors import GuestNotRunningError, IllegalTransitionError, UnsafeConfigError
from dsecos_agent.engines.model import Capability, GuestState, Limits
from dsecos_agent.engines.protocol import Engine

from tests.patience import heard

from .contract_disks import DiskContract
from .contract_hooks import (
    MAKE,
    MIB,
    MUTATIONS,
    OWNER,
    STRANGER,
    Mutation,
    started,
    state_of,
    until_state,
)
from .contract_inside import InsideContract


class EngineContract(DiskContract, InsideContract):
    """The executable form of `Engine`."""

    # A life

    async def test_a_guest_lives_and_goes(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        assert await engine.get("one") is None
        assert await engine.write_config(config)
        stopped = await engine.get("one")
        assert stopped is not None
        assert (stopped.name, stopped.state, stopped.owner_uid) == ("one", GuestState.STOPPED, OWNER)
        assert (stopped.init_pid, stopped.booted_digest, stopped.kind) == (None, None, self.kind)
        assert stopped.config_digest == engine.digest(config).full
        assert stopped.engine_id
        assert stopped.lock == ""

        running = await engine.start("one", OWNER)
        assert running.state is GuestState.RUNNING
        assert running.engine_id == stopped.engine_id
        assert running.booted_digest == engine.digest(config).boot
        assert await engine.get("one") == running

        await engine.stop("one", OWNER, grace=5)
        assert await engine.get("one") == stopped
        await engine.destroy("one", OWNER)
        assert await engine.get("one") is None
        assert list(await engine.list_guests()) == []

    async def test_every_step_may_be_repeated(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        assert await engine.write_config(config)
        assert not await engine.write_config(config)
        first = await engine.start("one", OWNER)
        assert await engine.start("one", OWNER) == first
        assert not await engine.write_config(config)
        for _ in range(2):
            await engine.stop("one", OWNER, grace=0)
        for _ in range(2):
            await engine.destroy("one", OWNER)
        await engine.stop("one", OWNER, grace=1)

    async def test_two_at_once_are_one(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        await asyncio.gather(*(engine.write_config(config) for _ in range(2)))
        assert [guest.name for guest in await engine.list_guests()] == ["one"]
        first, second = await asyncio.gather(*(engine.start("one", OWNER) for _ in range(2)))
        assert first == second
        await asyncio.gather(*(engine.stop("one", OWNER, grace=0) for _ in range(2)))
        assert await state_of(engine, "one") is GuestState.STOPPED
        await asyncio.gather(*(engine.destroy("one", OWNER) for _ in range(2)))
        assert list(await engine.list_guests()) == []

    async def test_guests_are_listed_by_name(self, engine: Engine, make_config: MAKE) -> None:
        for name in ("two", "one"):
            await engine.write_config(make_config(name))
        assert [guest.name for guest in await engine.list_guests()] == ["one", "two"]
        ids = {guest.engine_id for guest in await engine.list_guests()}
        assert len(ids) == 2

    async def test_start_of_nothing(self, engine: Engine) -> None:
        with pytest.raises(NotFoundError):
            await engine.start("none", OWNER)
        assert list(await engine.list_guests()) == []

    async def test_a_guest_that_ended_by_itself_can_be_started_again(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        await started(engine, make_config("one"))
        await self.halt(engine, "one")
        await until_state(engine, "one", GuestState.STOPPED)
        await engine.start("one", OWNER)
        assert await state_of(engine, "one") is GuestState.RUNNING

    @pytest.mark.parametrize("turns", [1, 5, 25])
    async def test_a_call_that_was_given_up_is_made_again(
        self, engine: Engine, make_config: MAKE, same_engine: Callable[[], Engine], turns: int
    ) -> None:
        config = make_config("one")
        for call in (engine.write_config(config), engine.start("one", OWNER)):
            task = asyncio.ensure_future(call)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        again = same_engine()
        await again.ensure_ready()
        try:
            await again.write_config(config)
            assert (await again.start("one", OWNER)).state is GuestState.RUNNING
            assert [guest.name for guest in await again.list_guests()] == ["one"]
        finally:
            await again.close()

    # Stopping

    async def test_shutdown_is_heard(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.SHUTDOWN):
            await self.refused(engine, Capability.SHUTDOWN, engine.shutdown("one", OWNER, grace=5))
            return
        for _ in range(2):
            assert await engine.shutdown("one", OWNER, grace=20)
            assert await state_of(engine, "one") is GuestState.STOPPED
        assert await engine.shutdown("none", OWNER, grace=5), "a missing guest is stopped"

    async def test_shutdown_never_kills(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, self.stubborn(make_config("one")))
        if not await self.can(engine, Capability.SHUTDOWN):
            return
        before = await engine.get("one")
        for grace in (0.2, 1.2):
            assert not await engine.shutdown("one", OWNER, grace=grace)
        assert await engine.get("one") == before

    async def test_stop_kills_when_the_grace_is_over(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, self.stubborn(make_config("one")))
        begin = time.monotonic()
        await engine.stop("one", OWNER, grace=1)
        assert time.monotonic() - begin > 0.9
        assert await state_of(engine, "one") is GuestState.STOPPED

    # Holding

    async def test_suspend_and_resume(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.SUSPEND):
            calls = engine.suspend("one", OWNER), engine.resume("one", OWNER)
            await self.refused(engine, Capability.SUSPEND, *calls)
            return
        running = await engine.get("one")
        for _ in range(2):
            await engine.suspend("one", OWNER)
        held = await engine.get("one")
        assert running is not None
        assert held is not None
        assert held.state is GuestState.SUSPENDED
        assert replace(held, state=GuestState.RUNNING) == running
        for _ in range(2):
            await engine.resume("one", OWNER)
        assert await engine.get("one") == running

    async def test_a_suspended_guest_can_be_stopped(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.SUSPEND):
            return
        await engine.suspend("one", OWNER)
        await engine.stop("one", OWNER, grace=10)
        assert await state_of(engine, "one") is GuestState.STOPPED
        await engine.start("one", OWNER)
        await engine.suspend("one", OWNER)
        await engine.destroy("one", OWNER)
        assert await engine.get("one") is None

    async def test_illegal_transitions_are_refused(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        if not await self.can(engine, Capability.SUSPEND):
            return
        for call in (engine.suspend("one", OWNER), engine.resume("one", OWNER)):
            with pytest.raises(GuestNotRunningError):
                await call
        await engine.start("one", OWNER)
        await engine.suspend("one", OWNER)
        if await self.can(engine, Capability.SHUTDOWN):
            with pytest.raises(IllegalTransitionError, match=GuestState.SUSPENDED):
                await engine.shutdown("one", OWNER, grace=5)
        if await self.can(engine, Capability.MIGRATE):
            with pytest.raises(IllegalTransitionError, match=GuestState.SUSPENDED):
                await engine.migrate("one", OWNER, self.other_node())
        if await self.can(engine, Capability.EXEC):
            with pytest.raises(GuestNotRunningError):
                await engine.exec("one", OWNER, ["true"], time_limit=5)
        assert await state_of(engine, "one") is GuestState.SUSPENDED

    # Moving

    async def test_migrate(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(engine, make_config("one"))
        if not await self.can(engine, Capability.MIGRATE):
            await self.refused(engine, Capability.MIGRATE, engine.migrate("one", OWNER, "elsewhere"))
            return
        target = self.other_node()
        for _ in range(2):
            await engine.migrate("one", OWNER, target)
            moved = await engine.get("one")
            assert moved is not None
            assert (moved.engine_node, moved.state) == (target, GuestState.RUNNING)
        assert moved.config_digest == engine.digest(config).full
        with pytest.raises(NotFoundError):
            await engine.migrate("one", OWNER, "no-such-node")
        with pytest.raises(NotFoundError):
            await engine.migrate("none", OWNER, target)
        assert [guest.name for guest in await engine.list_guests()] == ["one"]

    async def test_a_stopped_guest_stays_stopped_when_it_is_moved(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        await engine.write_config(make_config("one"))
        if not await self.can(engine, Capability.MIGRATE):
            return
        await engine.migrate("one", OWNER, self.other_node())
        moved = await engine.get("one")
        assert moved is not None
        assert (moved.engine_node, moved.state) == (self.other_node(), GuestState.STOPPED)

    # Whose it is

    @pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
    async def test_nothing_of_another_owner_is_touched(
        self, engine: Engine, make_config: MAKE, mutation: Mutation
    ) -> None:
        config = await started(engine, make_config("one"))
        if await self.can(engine, Capability.SNAPSHOT):
            await engine.snapshot("one", OWNER, "s1")
        before = await engine.get("one")
        has = mutation.capability is None or await self.can(engine, mutation.capability)
        with pytest.raises(NotOursError if has else (NotOursError, UnsupportedError)):
            await mutation.call(engine, STRANGER)
        with pytest.raises(NotOursError):
            await engine.write_config(replace(config, owner_uid=STRANGER, hostname="other"))
        assert await engine.get("one") == before
        if await self.can(engine, Capability.SNAPSHOT):
            assert [s.name for s in await engine.list_snapshots("one")] == ["s1"]

    # Its configuration

    async def test_what_is_written_is_what_is_found(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        await engine.write_config(config)
        guest = await engine.get("one")
        assert guest is not None
        wanted = engine.settings(config)
        assert wanted
        assert {key: guest.settings.get(key) for key in wanted} == dict(wanted)

    async def test_a_change_behind_our_back_is_seen_and_undone(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        config = make_config("one")
        await engine.write_config(config)
        await self.change(engine, "one")
        drifted = await engine.get("one")
        assert drifted is not None
        assert drifted.owner_uid == OWNER
        assert drifted.config_digest != engine.digest(config).full
        assert [key for key, value in engine.settings(config).items() if drifted.settings.get(key) != value]
        assert await engine.write_config(config)
        mended = await engine.get("one")
        assert mended is not None
        assert mended.config_digest == engine.digest(config).full
        assert not await engine.write_config(config)

    async def test_a_change_is_due_with_a_restart(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(engine, make_config("one"))
        changed = replace(config, hostname="new-name")
        assert await engine.write_config(changed)
        guest = await engine.get("one")
        assert guest is not None
        assert guest.state is GuestState.RUNNING
        assert guest.config_digest == engine.digest(changed).full
        assert guest.booted_digest == engine.digest(config).boot != engine.digest(changed).boot
        await engine.stop("one", OWNER, grace=5)
        restarted = await engine.start("one", OWNER)
        assert restarted.booted_digest == engine.digest(changed).boot

    async def test_limits_change_live(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one", limits=Limits(cpu_millis=1000, memory_bytes=256 * MIB))
        more = replace(config, limits=Limits(cpu_millis=2000, memory_bytes=512 * MIB))
        await engine.write_config(config)
        if not await self.can(engine, Capability.LIVE_LIMITS):
            await engine.start("one", OWNER)
            call = engine.set_limits("one", OWNER, more.limits)
            await self.refused(engine, Capability.LIVE_LIMITS, call)
            return
        with pytest.raises(GuestNotRunningError):
            await engine.set_limits("one", OWNER, more.limits)
        await engine.start("one", OWNER)
        for _ in range(2):
            await engine.set_limits("one", OWNER, more.limits)
        await engine.write_config(more)
        guest = await engine.get("one")
        assert guest is not None
        assert guest.config_digest == engine.digest(more).full != engine.digest(config).full
        assert guest.booted_digest == engine.digest(more).boot, "no restart is due for it"

    @pytest.mark.parametrize("hostname", ["x\ny", "x y", "../x", "-x", "x" * 64])
    async def test_a_value_cannot_say_more_than_it_is_asked(
        self, engine: Engine, make_config: MAKE, hostname: str
    ) -> None:
        config = make_config("one", hostname=hostname)
        with pytest.raises(UnsafeConfigError):
            engine.digest(config)
        with pytest.raises(UnsafeConfigError):
            await engine.write_config(config)
        assert await engine.get("one") is None

    # Being told

    async def test_death_is_noticed_once(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        told: asyncio.Queue[str] = asyncio.Queue()
        engine.watch("one", lambda name: told.put_nowait("first"))
        engine.watch("one", told.put_nowait)
        await self.halt(engine, "one")
        assert await heard(told) == "one"
        await asyncio.sleep(0)
        assert told.empty()

    async def test_a_closed_watch_is_silent(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        told: list[str] = []
        watch = engine.watch("one", told.append)
        watch.close()
        watch.close()
        await engine.stop("one", OWNER, grace=0)
        assert told == []

    async def test_watching_the_dead(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        told: asyncio.Queue[str] = asyncio.Queue()
        engine.watch("one", told.put_nowait)
        assert await heard(told) == "one"

    # Nothing is remembered

    async def test_another_process_sees_the_same(
        self, engine: Engine, make_config: MAKE, same_engine: Callable[[], Engine]
    ) -> None:
        config = await started(engine, make_config("one"))
        again = same_engine()
        await again.ensure_ready()
        try:
            assert await again.get("one") == await engine.get("one")
            assert await again.list_guests() == await engine.list_guests()
            assert again.digest(config) == engine.digest(config)
            assert again.settings(config) == engine.settings(config)
            assert not await again.write_config(config)
            await again.stop("one", OWNER, grace=0)
            assert await state_of(engine, "one") is GuestState.STOPPED
            await engine.start("one", OWNER)
            await again.destroy("one", OWNER)
            assert await engine.get("one") is None
        finally:
            await again.close()

    async def test_capabilities_are_told_before_they_are_needed(self, engine: Engine) -> None:
        capabilities = await engine.capabilities()
        assert capabilities.engine
        assert self.kind in capabilities.kinds
        for capability in Capability:
            assert bool(capabilities.why_not(self.kind, capability)) is not capabilities.has(
                self.kind, capability
            )
