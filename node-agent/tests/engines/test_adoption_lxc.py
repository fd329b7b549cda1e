"""LXC: containers of the host's own lxcpath are taken over as they are, and given back byte for byte."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import NotOursError, RetryableError, UnsupportedError
from dsecos_agent.engines.lxc import state
from dsecos_agent.engines.model import (
    GuestConfig,
    GuestState,
    IdMap,
    Limits,
    RootDirectory,
    Startup,
)
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.processes import check

from tests.patience import async_until, heard

from .conftest import make_rootfs
from .contract_hooks import OWNER, STRANGER, out, state_of, until_state
from .contract_host import exists
from .foreign import IDS, NONE, OURS, AdoptingLxc, Foreign, in_force, wanted

MAKE = Callable[..., Foreign]
FRESH = Callable[[], Engine]


class TestLimits(AdoptingLxc):
    """What is ours of it: limits and start order."""

    async def test_they_hold_at_once_without_a_restart(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await foreign.start()
        init = foreign.init()
        await engine.write_config(wanted(foreign))
        assert in_force(foreign) == OURS
        guest = await engine.get("web")
        assert guest is not None
        assert (guest.init_pid, foreign.init()) == (init, init)

    async def test_they_hold_over_its_own_ones_after_a_restart(self, engine: Engine, make: MAKE) -> None:
        own = "".join(f"lxc.cgroup.memory.{name}limit_in_bytes = 64M\n" for name in ("", "memsw."))
        foreign = make(f"{own}lxc.cgroup.pids.max = 50\n")
        await engine.write_config(wanted(foreign))
        await engine.start("web", OWNER)
        assert in_force(foreign) == OURS
        await foreign.restart()
        assert in_force(foreign) == OURS

    async def test_what_is_not_limited_is_as_its_own_configuration_says(
        self, engine: Engine, make: MAKE
    ) -> None:
        foreign = make("lxc.cgroup.pids.max = 50\nlxc.cgroup.memory.limit_in_bytes = 1G\n")
        await foreign.start()
        await engine.write_config(wanted(foreign))
        assert in_force(foreign) == OURS
        await engine.write_config(wanted(foreign, limits=Limits(pids=70)))
        assert in_force(foreign) == ("-1", str(1 << 30), "70")
        await engine.set_limits("web", OWNER, Limits())
        assert in_force(foreign) == ("-1", str(1 << 30), "50")

    async def test_limits_that_others_have_set_are_left_alone(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await foreign.start()
        await check(
            ["lxc-cgroup", "-P", foreign.lxcpath, "-n", foreign.name, "pids.max", "77"], time_limit=60
        )
        await engine.write_config(wanted(foreign, limits=Limits(cpu_millis=500)))
        await engine.set_limits("web", OWNER, Limits(cpu_millis=700))
        assert in_force(foreign) == ("70000", NONE[1], "77")

    async def test_a_release_takes_them_away(self, engine: Engine, make: MAKE) -> None:
        foreign = make("lxc.cgroup.pids.max = 50\n")
        await foreign.start()
        await engine.write_config(wanted(foreign))
        await engine.release("web", OWNER)
        assert in_force(foreign) == (NONE[0], NONE[1], "50")

    async def test_one_that_cannot_be_set_leaves_the_container_a_strangers(
        self, engine: Engine, make: MAKE
    ) -> None:
        foreign = make()
        await foreign.start()
        before = foreign.config.read_bytes()
        with pytest.raises(RetryableError):
            await engine.write_config(wanted(foreign, limits=Limits(memory_bytes=4096)))
        assert foreign.config.read_bytes() == before
        assert await engine.get("web") is None

    async def test_the_host_does_not_start_it_any_more(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign, startup=Startup(order=7, delay=3)))
        for key, value in (("auto", "0"), ("order", "7"), ("delay", "3")):
            told = await check(
                ["lxc-info", "-P", foreign.lxcpath, "-n", foreign.name, "-c", f"lxc.start.{key}"],
                time_limit=60,
            )
            assert told.text().strip() == f"lxc.start.{key} = {value}"


class TestItsLife(AdoptingLxc):
    """Whoever starts it."""

    async def test_a_restart_by_hand_is_seen(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await foreign.start()
        first = foreign.init()
        await engine.write_config(wanted(foreign))
        told: asyncio.Queue[str] = asyncio.Queue()
        engine.watch("web", told.put_nowait)
        await foreign.restart()
        assert await heard(told) == "web"
        guest = await engine.get("web")
        assert guest is not None
        assert guest.init_pid == foreign.init() != first
        assert guest.config_digest == engine.digest(wanted(foreign)).full
        await foreign.stop()
        await until_state(engine, "web", GuestState.STOPPED)

    async def test_hooks_of_its_own_are_called_as_before(
        self, engine: Engine, make: MAKE, home: Path
    ) -> None:
        said = home / "said"
        foreign = make(f"lxc.hook.start-host = sh -c 'echo \"$0 $@\" >> {said}'\n")
        await engine.write_config(wanted(foreign))
        await engine.start("web", OWNER)
        assert said.read_text() == f"{foreign.name} lxc start-host\n"

    async def test_one_that_is_held_stays_held(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await foreign.start()
        await check(["lxc-freeze", "-P", foreign.lxcpath, "-n", foreign.name], time_limit=60)
        await engine.write_config(wanted(foreign))
        assert await state_of(engine, "web") is GuestState.SUSPENDED
        assert in_force(foreign) == OURS
        await engine.release("web", OWNER)
        assert foreign.group("freezer", "freezer.state") != "THAWED"
        await engine.write_config(wanted(foreign))
        await engine.resume("web", OWNER)
        assert await out(engine, "web", "hostname") == foreign.name

    async def test_one_that_the_hosts_init_runs_in_the_foreground(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        running = asyncio.create_task(foreign.start("-F"))
        await async_until(lambda: foreign.life() is not None)
        init = foreign.init()
        await engine.write_config(wanted(foreign))
        guest = await engine.get("web")
        assert guest is not None
        assert (guest.state, guest.init_pid) == (GuestState.RUNNING, init)
        await engine.stop("web", OWNER, grace=0)
        await asyncio.wait([running])

    async def test_one_that_is_just_starting_is_left_until_it_runs(
        self, engine: Engine, make: MAKE, home: Path
    ) -> None:
        patient = f"for i in $(seq 3000); do [ -e {home}/go ] && break; sleep 0.01; done"
        foreign = make(f"lxc.hook.pre-start = sh -c '{patient}'\n")
        starting = asyncio.create_task(foreign.start())
        await async_until(lambda: state.is_monitored(foreign.lxcpath, foreign.name))
        with pytest.raises(RetryableError, match=foreign.name):
            await engine.write_config(wanted(foreign))
        assert await engine.get("web") is None
        (home / "go").touch()
        await starting
        assert await engine.write_config(wanted(foreign))
        assert await state_of(engine, "web") is GuestState.RUNNING

    async def test_limits_are_put_in_force_again_when_it_reboots_without_our_block(
        self, engine: Engine, make: MAKE
    ) -> None:
        foreign = make()
        await foreign.start()
        config = wanted(foreign)
        await engine.write_config(config)
        first = foreign.init()
        os.kill(first, 15)  # busybox init: reboot; its monitor has read the configuration before
        await async_until(lambda: not exists(first))
        await async_until(lambda: foreign.life() is not None)
        guest = await engine.get("web")
        assert guest is not None
        second = foreign.init()
        assert (guest.state, guest.init_pid) == (GuestState.RUNNING, second)
        assert guest.booted_digest == engine.digest(config).boot
        assert guest.config_digest is None, "it is to be written"
        assert await engine.write_config(config)
        assert in_force(foreign) == OURS
        again = await engine.get("web")
        assert again is not None
        assert (again.init_pid, again.config_digest) == (second, engine.digest(config).full)
        assert not await engine.write_config(config)

    async def test_limits_of_now_are_put_in_force_again_when_it_reboots_with_older_ones(
        self, engine: Engine, make: MAKE
    ) -> None:
        foreign = make("lxc.hook.version = 1\n")
        await engine.write_config(wanted(foreign))
        first = (await engine.start("web", OWNER)).init_pid
        less = wanted(foreign, limits=Limits(pids=70))
        await engine.write_config(less)
        assert in_force(foreign) == (*NONE[:2], "70")
        os.kill(foreign.init(), 15)
        await async_until(lambda: not exists(first))
        await async_until(lambda: foreign.life() is not None)
        assert in_force(foreign) == OURS, "its monitor has read no other ones"
        guest = await engine.get("web")
        assert guest is not None
        assert guest.config_digest is None
        assert await engine.write_config(less)
        assert in_force(foreign) == (*NONE[:2], "70")

    async def test_it_starts_without_us(self, engine: Engine, make: MAKE, home: Path) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign))
        shutil.rmtree(home / "lxc/web")
        await foreign.start()
        assert foreign.life() is not None
        assert await engine.get("web") is None
        assert await engine.write_config(wanted(foreign)), "it carries our name still"
        assert await state_of(engine, "web") is GuestState.RUNNING

    async def test_a_copy_of_it_is_not_taken_for_it(self, engine: Engine, make: MAKE) -> None:
        foreign, copy = make(), make()
        await engine.write_config(wanted(foreign))
        text = foreign.config.read_bytes().replace(
            f"{foreign.name}/rootfs".encode(), f"{copy.name}/rootfs".encode()
        )
        copy.config.write_bytes(text)
        await copy.start()
        assert await state_of(engine, "web") is GuestState.STOPPED
        with pytest.raises(NotOursError):
            await engine.write_config(wanted(copy, name="other", owner_uid=STRANGER))
        await engine.stop("web", OWNER, grace=0)
        assert copy.life() is not None

    async def test_traffic_is_counted_on_its_own_interfaces(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign))
        await engine.start("web", OWNER)
        metrics = await engine.metrics("web")
        assert (metrics.network_in_bytes, metrics.disk_bytes) == (None, None)
        assert metrics.memory_bytes
        with pytest.raises(UnsupportedError):
            await engine.snapshot("web", OWNER, "s1")
        with pytest.raises(UnsupportedError):
            await engine.resize_disk("web", OWNER, 1 << 40)


class TestAsItWas(AdoptingLxc):
    """A release gives back what was taken."""

    async def test_byte_for_byte(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        os.chown(foreign.config, 0, 4242)
        before, listed = foreign.config.read_bytes(), sorted(foreign.directory.iterdir())
        await engine.write_config(wanted(foreign))
        taken = foreign.config.stat()
        assert (taken.st_mode & 0o7777, taken.st_uid, taken.st_gid) == (0o640, 0, 4242)
        assert foreign.config.read_bytes().startswith(before)
        await engine.write_config(wanted(foreign, limits=Limits()))
        await engine.release("web", OWNER)
        given = foreign.config.stat()
        assert (given.st_mode & 0o7777, given.st_uid, given.st_gid) == (0o640, 0, 4242)
        assert (foreign.config.read_bytes(), sorted(foreign.directory.iterdir())) == (before, listed)

    async def test_what_was_written_behind_the_block_stays(self, engine: Engine, make: MAKE) -> None:
        foreign = make()
        before = foreign.config.read_bytes()
        await engine.write_config(wanted(foreign))
        with foreign.config.open("ab") as config:
            config.write(b"lxc.environment = A=b\n")
        guest = await engine.get("web")
        assert guest is not None
        assert guest.config_digest == engine.digest(wanted(foreign)).full
        await engine.release("web", OWNER)
        assert foreign.config.read_bytes() == before + b"\nlxc.environment = A=b\n"

    async def test_it_goes_on_and_starts_without_us(self, engine: Engine, make: MAKE, home: Path) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign))
        init = (await engine.start("web", OWNER)).init_pid
        await engine.release("web", OWNER)
        assert foreign.init() == init
        assert not (home / "lxc/web").exists()
        os.kill(foreign.init(), 15)  # it reboots with the hook that its monitor has read
        await async_until(lambda: not exists(init))
        await async_until(lambda: foreign.life() is not None)
        assert not (home / "lxc/web").exists()
        await foreign.restart()

    async def test_what_was_made_here_is_not_released(self, engine: Engine, home: Path, make: MAKE) -> None:
        config = GuestConfig("web", OWNER, RootDirectory(make_rootfs(home / "r")), IdMap(IDS.base))
        await engine.write_config(config)
        with pytest.raises(UnsupportedError, match="made here"):
            await engine.release("web", OWNER)
        with pytest.raises(UnsupportedError, match="made here"):
            await engine.write_config(wanted(make()))
        await engine.destroy("web", OWNER)


class TestDestroy(AdoptingLxc):
    """It is asked for in so many words, so it is done."""

    async def test_it_goes_with_its_files(self, engine: Engine, make: MAKE, home: Path) -> None:
        foreign = make()
        await foreign.start()
        init = foreign.init()
        await engine.write_config(wanted(foreign))
        for _ in range(2):
            await engine.destroy("web", OWNER)
            assert not exists(init)
            assert not foreign.directory.exists()
            assert not (home / "lxc/web").exists()
        assert list(await engine.list_guests()) == []

    async def test_one_whose_tool_was_killed_is_finished(
        self, engine: Engine, fresh: FRESH, make: MAKE, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign))
        with monkeypatch.context() as patch:
            patch.setattr("dsecos_agent.engines.lxc.life.DESTROY_LIMIT", 0)
            task = asyncio.create_task(engine.destroy("web", OWNER))
            await asyncio.wait([task])
        if foreign.config.exists():
            foreign.config.unlink()
        again = fresh()
        assert await again.get("web") is None
        await again.destroy("web", OWNER)
        assert not foreign.directory.exists()
        assert not (home / "lxc/web").exists()

    async def test_what_was_made_anew_meanwhile_is_somebody_elses(
        self, engine: Engine, make: MAKE, home: Path
    ) -> None:
        foreign = make()
        await engine.write_config(wanted(foreign))
        (home / "lxc/web/condemned").touch()
        foreign.config.write_text("lxc.uts.name = anew\n")
        await engine.destroy("web", OWNER)
        assert foreign.config.exists()
        assert not (home / "lxc/web").exists()
