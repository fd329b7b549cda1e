"""LXC: adoption survives whoever is killed and whatever others do; what is not root's is refused."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc import LxcEngine, block
from dsecos_agent.engines.model import (
    GuestConfig,
    GuestState,
    IdMap,
    Limits,
    RootDirectory,
)
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.processes import check

from .conftest import make_rootfs
from .contract_hooks import OWNER, STRANGER, state_of
from .foreign import IDS, NONE, OURS, AdoptingLxc, Foreign, in_force, wanted

MAKE = Callable[..., Foreign]
FRESH = Callable[[], Engine]
EFFECTS = ("replace", "unlink", "rmdir")


class Killed(BaseException):
    """Here the agent was killed."""


def kill(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Kill before the nth change of a directory."""
    seen = 0

    def patched(name: str) -> Callable[..., object]:
        real = getattr(Path, name)

        def effect(self: Path, *args: object, **options: object) -> object:
            nonlocal seen
            if name != "unlink" or self.exists():
                seen += 1
            if seen >= number:
                raise Killed
            return real(self, *args, **options)

        return effect

    for name in EFFECTS:
        monkeypatch.setattr(Path, name, patched(name))


def give(path: Path, owner: int, group: int, mode: int) -> None:
    """To somebody else."""
    os.chown(path, owner, group)
    path.chmod(mode)


class TestKilled(AdoptingLxc):
    """At any point, and called again by the next agent."""

    @pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
    @pytest.mark.parametrize("number", range(1, 6))
    async def test_an_adoption(
        self,
        engine: Engine,
        fresh: FRESH,
        make: MAKE,
        monkeypatch: pytest.MonkeyPatch,
        running: bool,
        number: int,
    ) -> None:
        foreign = make()
        if running:
            await foreign.start()
        life = foreign.life()
        with monkeypatch.context() as patch:
            kill(patch, number)
            try:
                await engine.write_config(wanted(foreign))
                died = False
            except Killed:
                died = True
        assert died is (number <= (4 if running else 2))
        again = fresh()
        assert (await again.get("web") is None) is died
        assert await again.write_config(wanted(foreign)) is died
        guest = await again.get("web")
        assert guest is not None
        assert guest.state is (GuestState.RUNNING if running else GuestState.STOPPED)
        assert guest.config_digest == again.digest(wanted(foreign)).full
        assert foreign.life() == life
        assert not running or in_force(foreign) == OURS

    async def test_a_change_of_limits_that_is_not_wished_for_any_more(
        self, engine: Engine, fresh: FRESH, make: MAKE, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        foreign = make()
        await foreign.start()
        await engine.write_config(wanted(foreign))
        with monkeypatch.context() as patch:
            kill(patch, 2)
            with pytest.raises(Killed):
                await engine.write_config(wanted(foreign, limits=Limits(pids=70)))
        assert in_force(foreign) == (*NONE[:2], "70"), "that was done, and nothing else"
        again = fresh()
        assert await again.write_config(wanted(foreign))
        assert in_force(foreign) == OURS

    @pytest.mark.parametrize("number", range(1, 7))
    async def test_a_release(
        self,
        engine: Engine,
        fresh: FRESH,
        make: MAKE,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        home: Path,
    ) -> None:
        foreign = make()
        await foreign.start()
        before, listed, life = (
            foreign.config.read_bytes(),
            sorted(foreign.directory.iterdir()),
            foreign.life(),
        )
        await engine.write_config(wanted(foreign))
        with monkeypatch.context() as patch:
            kill(patch, number)
            with suppress(Killed):
                await engine.release("web", OWNER)
        again = fresh()
        left = await again.get("web")
        assert left is None or left.adopted
        await again.release("web", OWNER)
        assert await again.get("web") is None
        assert not (home / "lxc/web").exists()
        assert (foreign.config.read_bytes(), sorted(foreign.directory.iterdir())) == (before, listed)
        assert foreign.life() == life

    async def test_an_adoption_that_never_was_does_not_harm_a_guest_of_that_name(
        self, engine: Engine, make: MAKE, monkeypatch: pytest.MonkeyPatch, home: Path
    ) -> None:
        foreign = make()
        await foreign.start()
        with monkeypatch.context() as patch:
            kill(patch, 4)
            with pytest.raises(Killed):
                await engine.write_config(wanted(foreign))
        assert (home / "lxc/web/booted").exists(), "its life was noted already"
        name = f"own-{foreign.name[4:]}"
        (home / "lxc/web").rename(home / "lxc" / name)
        rootfs = make_rootfs(home / "r")
        config = GuestConfig(name, OWNER, RootDirectory(rootfs), IdMap(IDS.base), halt_signal="SIGUSR2")
        await engine.write_config(config)
        assert await state_of(engine, name) is GuestState.STOPPED
        await engine.start(name, OWNER)
        await engine.destroy(name, OWNER)
        assert foreign.life() is not None

    async def test_an_adoption_that_never_was_is_destroyed_without_the_container(
        self, engine: Engine, make: MAKE, monkeypatch: pytest.MonkeyPatch, home: Path
    ) -> None:
        foreign = make()
        listed = sorted(foreign.directory.iterdir())
        await foreign.start()
        with monkeypatch.context() as patch:
            kill(patch, 4)
            with pytest.raises(Killed):
                await engine.write_config(wanted(foreign))
        for call in (engine.stop("web", OWNER, grace=0), engine.destroy("web", OWNER)):
            await call
        assert foreign.life() is not None
        assert sorted(foreign.directory.iterdir()) == listed
        assert not (home / "lxc/web").exists()


class TestBadWorlds(AdoptingLxc):
    """What others do to it."""

    @pytest.mark.parametrize("line", [block.BEGIN, block.END])
    async def test_a_block_that_somebody_has_cut_into_is_left_as_it_is(
        self, engine: Engine, make: MAKE, line: str
    ) -> None:
        foreign = make()
        await foreign.start()
        await engine.write_config(wanted(foreign))
        cut = foreign.config.read_bytes().replace(line.encode(), b"# gone")
        foreign.config.write_bytes(cut)
        guest = await engine.get("web")
        assert guest is not None
        assert (guest.owner_uid, guest.adopted) == (None, True)
        for call in (
            engine.stop("web", OWNER, grace=0),
            engine.destroy("web", OWNER),
            engine.release("web", OWNER),
        ):
            with pytest.raises(NotOursError):
                await call
        with pytest.raises(UnsafeConfigError, match="damaged"):
            await engine.write_config(wanted(foreign))
        assert foreign.config.read_bytes() == cut
        assert foreign.life() is not None

    async def test_a_hook_that_somebody_has_taken_out_is_put_back(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign))
        lines = foreign.config.read_bytes().splitlines(keepends=True)
        foreign.config.write_bytes(b"".join(line for line in lines if b"hook" not in line))
        guest = await engine.get("web")
        assert guest is not None
        assert guest.config_digest != engine.digest(wanted(foreign)).full
        assert await engine.write_config(wanted(foreign))
        await foreign.start()
        assert await state_of(engine, "web") is GuestState.RUNNING

    async def test_without_its_block_it_is_not_ours_any_more(
        self, engine: Engine, make: MAKE, home: Path
    ) -> None:
        foreign = make()
        before = foreign.config.read_bytes()
        await foreign.start()
        await engine.write_config(wanted(foreign))
        foreign.config.write_bytes(before)
        assert await engine.get("web") is None
        assert list(await engine.list_guests()) == []
        await engine.stop("web", OWNER, grace=0)
        await engine.destroy("web", OWNER)
        assert foreign.life() is not None
        assert foreign.config.read_bytes() == before
        assert not (home / "lxc/web").exists()

    async def test_one_that_runs_without_a_configuration_is_ours_still(
        self, engine: Engine, make: MAKE
    ) -> None:
        foreign = make()
        await foreign.start()
        await engine.write_config(wanted(foreign))
        foreign.config.unlink()
        guest = await engine.get("web")
        assert guest is not None
        assert (guest.owner_uid, guest.state) == (OWNER, GuestState.RUNNING)
        with pytest.raises(NotFoundError):
            await engine.write_config(wanted(foreign))
        await engine.destroy("web", OWNER)
        assert foreign.life() is None
        assert not foreign.directory.exists()

    async def test_one_that_was_removed_is_gone(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign))
        await check(["lxc-destroy", "-P", foreign.lxcpath, "-n", foreign.name], time_limit=30)
        assert await engine.get("web") is None
        with pytest.raises(NotFoundError, match=foreign.name):
            await engine.write_config(wanted(foreign))
        await engine.release("web", OWNER)

    async def test_two_agents_never_have_the_same_one(self, engine: Engine, make: MAKE, home: Path) -> None:
        foreign = make()
        await foreign.start()
        other = LxcEngine(home / "other", home / "run", IDS, outside=home / "host")
        (home / "other").mkdir()
        ends = await asyncio.gather(
            engine.write_config(wanted(foreign)),
            other.write_config(wanted(foreign, owner_uid=STRANGER)),
            return_exceptions=True,
        )
        assert sorted(str(type(end)) for end in ends) == sorted(map(str, (bool, NotOursError)))
        shown = [guest for each in (engine, other) for guest in await each.list_guests()]
        assert [guest.engine_id for guest in shown] == [foreign.name]
        assert shown[0].owner_uid == (OWNER if ends[0] is True else STRANGER)

    async def test_what_is_not_adopted_is_not_shown(self, engine: Engine, make: MAKE) -> None:
        foreign, other = make(), make()
        await other.start()
        await engine.write_config(wanted(foreign))
        assert [(guest.name, guest.engine_id) for guest in await engine.list_guests()] == [
            ("web", foreign.name)
        ]


class TestRefused(AdoptingLxc):
    """Its configuration is run as root: it has to be root's."""

    async def refuse(self, engine: Engine, foreign: Foreign, match: str) -> None:
        before = foreign.config.read_bytes()
        with pytest.raises(UnsafeConfigError, match=match):
            await engine.write_config(wanted(foreign))
        assert foreign.config.read_bytes() == before
        assert await engine.get("web") is None

    async def test_a_directory_that_is_a_link(self, engine: Engine, make: MAKE, home: Path) -> None:
        foreign = make()
        foreign.directory.rename(home / "elsewhere")
        foreign.directory.symlink_to(home / "elsewhere")
        await self.refuse(engine, foreign, "no directory")
        foreign.directory.unlink()

    async def test_a_configuration_that_is_a_link(self, engine: Engine, make: MAKE, home: Path) -> None:
        foreign = make()
        foreign.config.rename(home / "config")
        foreign.config.symlink_to(home / "config")
        await self.refuse(engine, foreign, "no file")

    @pytest.mark.parametrize("which", ["config", "directory", "lxcpath"])
    async def test_what_others_than_root_can_write(self, engine: Engine, make: MAKE, which: str) -> None:
        foreign = make()
        path: Path = getattr(foreign, which)
        for owner, group, mode in ((1234, 0, 0o755), (0, 1234, 0o775), (0, 0, 0o757)):
            give(path, owner, group, mode)
            await self.refuse(engine, foreign, "others than root")
        give(path, 0, 0, 0o770)
        assert await engine.write_config(wanted(foreign))

    @pytest.mark.parametrize("name", ["../host/x", "/etc", "..", ".", "", "a/b", "a\nb", "-P"])
    async def test_what_is_no_name(self, engine: Engine, make: MAKE, name: str) -> None:
        make()
        with pytest.raises(UnsafeConfigError):
            await engine.write_config(wanted(name))

    async def test_ids_of_an_adopted_container_are_given_to_no_guest(
        self, engine: Engine, make: MAKE, home: Path
    ) -> None:
        foreign = make("".join(f"lxc.idmap = {kind} 0 {IDS.base + 1000} 65536\n" for kind in "ug"))
        await engine.write_config(wanted(foreign))
        config = GuestConfig("own", OWNER, RootDirectory(home / "r"), IdMap(IDS.base))
        with pytest.raises(UnsafeConfigError, match="web"):
            await engine.write_config(config)
        await engine.release("web", OWNER)

    def test_the_engines_own_lxcpath(self, home: Path) -> None:
        with pytest.raises(UnsupportedError):
            LxcEngine(home / "lxc", home / "run", IDS, outside=home / "lxc")
