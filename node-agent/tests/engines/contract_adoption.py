"""What any engine with the capability Adopt does with guests that somebody else has made.

A class that inherits `EngineContract` inherits this, too, and gives the hooks `make_foreign`,
`foreign_config`, `foreign_life` and `change_adopted`. They are asked only where guests of this kind have
Adopt; an engine without it has to refuse.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from dsecos_agent.adapter_errors import NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.engines.errors import GuestNotRunningError
from dsecos_agent.engines.model import (
    Adopted,
    Capability,
    GuestConfig,
    GuestKind,
    GuestState,
    Limits,
    Startup,
)
from dsecos_agent.engines.protocol import Engine

from tests.patience import heard

from .contract_hooks import (
    GIB,
    MAKE,
    MIB,
    MUTATIONS,
    OWNER,
    STRANGER,
    Hooks,
    Mutation,
    out,
    state_of,
    until_state,
)

NOBODYS = ("4711", "no-such-guest")
"""Ids that no guest has."""
LIMITS = Limits(cpu_millis=1500, memory_bytes=512 * MIB)
MORE = Limits(cpu_millis=2000, memory_bytes=GIB)


def adopting(make_config: MAKE, engine_id: str, name: str = "one", **changes: object) -> GuestConfig:
    """What the Guest of an adopted Stack asks for: limits and start order, and nothing else."""
    nothing_else: dict[str, object] = {"interfaces": (), "mounts": (), "disks": (), "id_map": None}
    base = GuestConfig(name, OWNER, Adopted(engine_id), None, kind=make_config(name).kind, limits=LIMITS)
    return replace(base, **{**nothing_else, **changes})  # type: ignore[arg-type] # a test's own words


class AdoptionContract(Hooks):
    """The guest is there already, and is somebody's."""

    @pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
    async def test_a_guest_is_taken_over_as_it_is(
        self, engine: Engine, make_config: MAKE, running: bool
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            calls = engine.write_config(adopting(make_config, NOBODYS[0])), engine.release("one", OWNER)
            await self.refused(engine, Capability.ADOPT, *calls)
            return
        engine_id = await self.make_foreign(engine, running=running)
        life = await self.foreign_life(engine, engine_id)
        config = adopting(make_config, engine_id)
        assert await engine.write_config(config)
        guest = await engine.get("one")
        assert guest is not None
        assert (guest.name, guest.owner_uid, guest.engine_id) == ("one", OWNER, engine_id)
        assert (guest.adopted, guest.kind, guest.id_map) == (True, self.kind, None)
        assert guest.state is (GuestState.RUNNING if running else GuestState.STOPPED)
        assert guest.config_digest == engine.digest(config).full
        assert (guest.booted_digest is not None) is running, "it counts as started with what it has"
        assert [each for each in await engine.list_guests() if each.owner_uid] == [guest]
        assert engine_id not in {each.engine_id for each in await engine.list_guests() if not each.owner_uid}
        assert await self.foreign_life(engine, engine_id) == life, "nobody notices"

    async def test_adopting_twice_is_once(
        self, engine: Engine, make_config: MAKE, same_engine: Callable[[], Engine]
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        config = adopting(make_config, engine_id)
        await engine.write_config(config)
        before = await engine.get("one"), await self.foreign_config(engine, engine_id)
        assert not await engine.write_config(config)
        again = same_engine()
        await again.ensure_ready()
        try:
            assert not await again.write_config(config)
            assert (await again.get("one"), await self.foreign_config(again, engine_id)) == before
            assert await again.list_guests() == await engine.list_guests()
        finally:
            await again.close()

    async def test_the_guest_that_carries_our_name_is_it_whatever_id_is_named(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=False)
        await engine.write_config(adopting(make_config, engine_id))
        assert not await engine.write_config(adopting(make_config, NOBODYS[0]))
        guest = await engine.get("one")
        assert guest is not None
        assert guest.engine_id == engine_id

    async def test_limits_and_start_order_are_ours(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        life = await self.foreign_life(engine, engine_id)
        config = adopting(make_config, engine_id)
        for changes in ({}, {"limits": MORE}, {"limits": MORE, "startup": Startup(order=7, delay=3)}):
            config = replace(config, **changes)
            assert await engine.write_config(config)
            guest = await engine.get("one")
            assert guest is not None
            wanted = engine.settings(config)
            assert wanted
            assert {key: guest.settings.get(key) for key in wanted} == dict(wanted)
            assert guest.config_digest == engine.digest(config).full
            if await self.can(engine, Capability.LIVE_LIMITS):
                await engine.set_limits("one", OWNER, config.limits)
                assert guest.booted_digest == engine.digest(config).boot, "no restart is due for it"
            assert not await engine.write_config(config)
        assert await self.foreign_life(engine, engine_id) == life
        await engine.stop("one", OWNER, grace=5)
        assert (await engine.start("one", OWNER)).booted_digest == engine.digest(config).boot

    async def test_what_else_the_configuration_says_is_not_heard(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        config = adopting(make_config, await self.make_foreign(engine, running=False))
        other = replace(config, hostname="other", nesting=not config.nesting)
        assert engine.digest(other) == engine.digest(config)
        assert engine.settings(other) == engine.settings(config)
        await engine.write_config(config)
        assert not await engine.write_config(other)

    async def test_a_change_of_an_adopted_guest_is_seen_and_undone(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=False)
        config = adopting(make_config, engine_id)
        await engine.write_config(config)
        await self.change_adopted(engine, engine_id)
        drifted = await engine.get("one")
        assert drifted is not None
        assert (drifted.owner_uid, drifted.adopted) == (OWNER, True)
        assert drifted.config_digest != engine.digest(config).full
        assert [key for key, value in engine.settings(config).items() if drifted.settings.get(key) != value]
        assert await engine.write_config(config)
        mended = await engine.get("one")
        assert mended is not None
        assert mended.config_digest == engine.digest(config).full

    # What cannot be adopted

    @pytest.mark.parametrize("engine_id", NOBODYS)
    async def test_where_no_guest_is_none_is_made(
        self, engine: Engine, make_config: MAKE, engine_id: str
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        with pytest.raises(NotFoundError, match=engine_id):
            await engine.write_config(adopting(make_config, engine_id))
        assert await engine.get("one") is None
        assert list(await engine.list_guests()) == []

    async def test_a_guest_of_another_kind_is_refused(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        before = await self.foreign_config(engine, engine_id), await self.foreign_life(engine, engine_id)
        other = next(kind for kind in GuestKind if kind is not self.kind)
        with pytest.raises(UnsupportedError):
            await engine.write_config(adopting(make_config, engine_id, kind=other))
        assert (
            await self.foreign_config(engine, engine_id),
            await self.foreign_life(engine, engine_id),
        ) == before
        assert await engine.get("one") is None

    async def test_a_guest_that_is_anothers_is_refused(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        config = adopting(make_config, engine_id)
        await engine.write_config(config)
        before = await engine.list_guests()
        for changes in ({"owner_uid": STRANGER}, {"name": "two"}, {"name": "two", "owner_uid": STRANGER}):
            with pytest.raises(NotOursError):
                await engine.write_config(replace(config, **changes))  # type: ignore[arg-type] # a test's own words
        assert await engine.list_guests() == before

    async def test_a_guest_that_was_made_here_is_not_adopted(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        await engine.write_config(make_config("one"))
        made = await engine.get("one")
        assert made is not None
        assert not made.adopted
        with pytest.raises(NotOursError):
            await engine.write_config(adopting(make_config, made.engine_id, "two"))
        with pytest.raises(UnsupportedError):
            await engine.write_config(adopting(make_config, made.engine_id))
        with pytest.raises(UnsupportedError):
            await engine.release("one", OWNER)
        assert await engine.get("one") == made

    async def test_an_adopted_guest_is_not_made_anew(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=False)
        await engine.write_config(adopting(make_config, engine_id))
        before = await engine.get("one"), await self.foreign_config(engine, engine_id)
        with pytest.raises(UnsupportedError):
            await engine.write_config(make_config("one"))
        assert (await engine.get("one"), await self.foreign_config(engine, engine_id)) == before

    async def test_one_guest_is_adopted_by_one_name(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        wishes = [adopting(make_config, engine_id, name) for name in ("one", "two")]
        ends = await asyncio.gather(*(engine.write_config(wish) for wish in wishes), return_exceptions=True)
        assert [type(end) for end in ends if end is not True] == [NotOursError]
        winner = wishes[ends.index(True)].name
        assert [guest.name for guest in await engine.list_guests() if guest.owner_uid] == [winner]

    @pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
    async def test_an_adopted_guest_is_touched_by_its_owner_alone(
        self, engine: Engine, make_config: MAKE, mutation: Mutation
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        await engine.write_config(adopting(make_config, engine_id))
        before = await engine.get("one"), await self.foreign_life(engine, engine_id)
        has = mutation.capability is None or await self.can(engine, mutation.capability)
        with pytest.raises(NotOursError if has else (NotOursError, UnsupportedError)):
            await mutation.call(engine, STRANGER)
        assert (await engine.get("one"), await self.foreign_life(engine, engine_id)) == before

    # Its life

    async def test_an_adopted_guest_lives_and_goes(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        config = adopting(make_config, engine_id)
        await engine.write_config(config)
        if await self.can(engine, Capability.EXEC):
            assert await out(engine, "one", "cat", stdin=b"from stdin") == "from stdin"
        if await self.can(engine, Capability.SUSPEND):
            await engine.suspend("one", OWNER)
            assert await state_of(engine, "one") is GuestState.SUSPENDED
            await engine.resume("one", OWNER)
        if await self.can(engine, Capability.METRICS):
            assert (await engine.metrics("one")).memory_bytes is not None
        assert await engine.start("one", OWNER) == await engine.get("one")
        await engine.stop("one", OWNER, grace=5)
        assert await state_of(engine, "one") is GuestState.STOPPED
        if await self.can(engine, Capability.EXEC):
            with pytest.raises(GuestNotRunningError):
                await engine.exec("one", OWNER, ["true"], time_limit=5)
        running = await engine.start("one", OWNER)
        assert (running.state, running.engine_id, running.adopted) == (GuestState.RUNNING, engine_id, True)
        assert running.booted_digest == engine.digest(config).boot
        await engine.destroy("one", OWNER)
        assert list(await engine.list_guests()) == []
        with pytest.raises(NotFoundError):
            await engine.write_config(config)

    async def test_the_death_of_an_adopted_guest_is_noticed(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        await engine.write_config(adopting(make_config, await self.make_foreign(engine, running=True)))
        told: asyncio.Queue[str] = asyncio.Queue()
        engine.watch("one", told.put_nowait)
        await self.halt(engine, "one")
        assert await heard(told) == "one"
        await until_state(engine, "one", GuestState.STOPPED)

    async def test_snapshots_of_an_adopted_guest(self, engine: Engine, make_config: MAKE) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        await engine.write_config(adopting(make_config, engine_id))
        if not await self.can(engine, Capability.SNAPSHOT):
            return
        try:
            await engine.snapshot("one", OWNER, "s1")
        except UnsupportedError:
            # Its disk lies where it lies.
            return
        await engine.rollback("one", OWNER, "s1")
        after = await engine.get("one")
        assert after is not None
        assert (after.owner_uid, after.engine_id, after.adopted) == (OWNER, engine_id, True)
        await engine.remove_snapshot("one", OWNER, "s1")

    # Giving it back

    @pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
    async def test_a_released_guest_is_as_it_was_and_goes_on(
        self, engine: Engine, make_config: MAKE, running: bool
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=running)
        config, life = (
            await self.foreign_config(engine, engine_id),
            await self.foreign_life(engine, engine_id),
        )
        await engine.write_config(adopting(make_config, engine_id))
        for _ in range(2):
            await engine.release("one", OWNER)
            assert await engine.get("one") is None
            assert not [guest for guest in await engine.list_guests() if guest.owner_uid]
        assert await self.foreign_config(engine, engine_id) == config
        assert await self.foreign_life(engine, engine_id) == life
        await engine.release("none", OWNER)

    async def test_a_released_guest_is_as_it_was_after_a_life_with_us(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=False)
        before = await self.foreign_config(engine, engine_id)
        config = adopting(make_config, engine_id)
        await engine.write_config(config)
        await engine.start("one", OWNER)
        await engine.write_config(replace(config, limits=MORE))
        await engine.stop("one", OWNER, grace=5)
        await engine.start("one", OWNER)
        await engine.stop("one", OWNER, grace=0)
        await engine.release("one", OWNER)
        assert await self.foreign_config(engine, engine_id) == before

    async def test_a_released_guest_may_be_adopted_by_anybody(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        life = await self.foreign_life(engine, engine_id)
        await engine.write_config(adopting(make_config, engine_id))
        await engine.release("one", OWNER)
        assert await engine.write_config(adopting(make_config, engine_id, "two", owner_uid=STRANGER))
        guest = await engine.get("two")
        assert guest is not None
        assert (guest.owner_uid, guest.engine_id, guest.adopted) == (STRANGER, engine_id, True)
        await engine.release("two", STRANGER)
        assert await engine.write_config(adopting(make_config, engine_id))
        assert await self.foreign_life(engine, engine_id) == life

    # Killed half way

    @pytest.mark.parametrize("turns", [1, 3, 5, 10, 25])
    async def test_an_adoption_that_was_given_up_is_made_again(
        self, engine: Engine, make_config: MAKE, same_engine: Callable[[], Engine], turns: int
    ) -> None:
        if not await self.can(engine, Capability.ADOPT):
            return
        engine_id = await self.make_foreign(engine, running=True)
        before = await self.foreign_config(engine, engine_id), await self.foreign_life(engine, engine_id)
        config = adopting(make_config, engine_id)
        await given_up(engine.write_config(config), turns)
        again = same_engine()
        await again.ensure_ready()
        try:
            await again.write_config(config)
            guest = await again.get("one")
            assert guest is not None
            assert (guest.state, guest.engine_id) == (GuestState.RUNNING, engine_id)
            assert guest.config_digest == engine.digest(config).full
            await given_up(again.release("one", OWNER), turns)
            await engine.release("one", OWNER)
            after = await self.foreign_config(engine, engine_id), await self.foreign_life(engine, engine_id)
            assert after == before
        finally:
            await again.close()


async def given_up(call: object, turns: int) -> None:
    """Begin it, and cancel it so many turns of the event loop later."""
    task = asyncio.ensure_future(call)  # type: ignore[call-overload] # a coroutine
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
