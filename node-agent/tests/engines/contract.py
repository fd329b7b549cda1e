"""What any engine has to do. A subclass gives `engine` and `make_config`; every test here then runs on it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import NotFoundError, NotOursError
from dsecos_agent.engines.errors import (
    ExecTimeoutError,
    GuestFailedError,
    GuestNotRunningError,
    UnsafeConfigError,
)
from dsecos_agent.engines.model import GuestConfig, GuestState, Limits, Mount, RootDirectory
from dsecos_agent.engines.protocol import Engine

MAKE = Callable[..., GuestConfig]
OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-000000000002"


async def until(true: Callable[[], bool], limit: float = 10) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


async def started(engine: Engine, config: GuestConfig) -> GuestConfig:
    await engine.write_config(config)
    await engine.start(config.name, OWNER)
    return config


async def out(engine: Engine, name: str, *argv: str, **options: object) -> str:
    result = await engine.exec(name, OWNER, argv, time_limit=10, **options)  # type: ignore[arg-type]
    assert result.exit_code == 0, result
    return result.stdout.decode().strip()


class EngineContract:
    """The executable form of `Engine`."""

    async def test_a_guest_lives_and_goes(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        assert await engine.get("one") is None
        assert await engine.write_config(config)
        stopped = await engine.get("one")
        assert stopped is not None
        assert (stopped.state, stopped.owner_uid, stopped.init_pid) == (GuestState.STOPPED, OWNER, None)
        assert stopped.config_digest == engine.digest(config).full
        assert stopped.id_map == config.id_map

        running = await engine.start("one", OWNER)
        assert running.state is GuestState.RUNNING
        assert running.init_pid is not None
        assert exists(running.init_pid)
        assert running.booted_digest == engine.digest(config).boot

        await engine.stop("one", OWNER, grace=5)
        after = await engine.get("one")
        assert after is not None
        assert (after.state, after.init_pid, after.booted_digest) == (GuestState.STOPPED, None, None)
        await engine.destroy("one", OWNER)
        assert await engine.get("one") is None
        assert [guest.name for guest in await engine.list_guests()] == []

    async def test_every_step_may_be_repeated(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        assert await engine.write_config(config)
        assert not await engine.write_config(config)
        first = await engine.start("one", OWNER)
        assert await engine.start("one", OWNER) == first
        await engine.stop("one", OWNER, grace=0)
        await engine.stop("one", OWNER, grace=0)
        await engine.destroy("one", OWNER)
        await engine.destroy("one", OWNER)
        await engine.stop("one", OWNER, grace=1)

    async def test_two_starts_at_once_are_one(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        first, second = await asyncio.gather(engine.start("one", OWNER), engine.start("one", OWNER))
        assert first.init_pid == second.init_pid

    async def test_start_of_nothing(self, engine: Engine) -> None:
        with pytest.raises(NotFoundError):
            await engine.start("none", OWNER)

    async def test_a_guest_that_cannot_start_says_why(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(replace(make_config("one"), init=("/sbin/no-such-init",)))
        with pytest.raises(GuestFailedError) as failed:
            await engine.start("one", OWNER)
        assert "no-such-init" in failed.value.log
        guest = await engine.get("one")
        assert guest is not None
        assert guest.state is GuestState.STOPPED

    async def test_nothing_of_another_owner_is_touched(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(engine, make_config("one"))
        with pytest.raises(NotOursError):
            await engine.write_config(replace(config, owner_uid=STRANGER, hostname="other"))
        for call in (
            engine.start("one", STRANGER),
            engine.stop("one", STRANGER, grace=0),
            engine.destroy("one", STRANGER),
            engine.exec("one", STRANGER, ["true"], time_limit=5),
            engine.set_limits("one", STRANGER, Limits(pids=5)),
        ):
            with pytest.raises(NotOursError):
                await call
        guest = await engine.get("one")
        assert guest is not None
        assert (guest.state, guest.config_digest) == (GuestState.RUNNING, engine.digest(config).full)

    async def test_root_in_the_guest_is_nobody_on_the_host(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(engine, make_config("one"))
        assert config.id_map is not None
        assert (await out(engine, "one", "id", "-u")) == "0"
        guest = await engine.get("one")
        assert guest is not None
        assert uid_of(guest.init_pid) == config.id_map.base
        await out(engine, "one", "touch", "/root/made")
        assert (root_of(config) / "root/made").stat().st_uid == 0, "ids on disk are the guest's own"

    async def test_a_frozen_guest_keeps_its_processes(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(engine, make_config("one"))
        before = await engine.get("one")
        assert before is not None
        for _ in range(2):
            await engine.suspend("one", OWNER)
        frozen = await engine.get("one")
        assert frozen is not None
        assert (frozen.state, frozen.init_pid) == (GuestState.SUSPENDED, before.init_pid)
        with pytest.raises(NotOursError):
            await engine.resume("one", STRANGER)
        for _ in range(2):
            await engine.resume("one", OWNER)
        assert await engine.get("one") == before
        await engine.suspend("one", OWNER)
        await engine.stop("one", OWNER, grace=5)
        with pytest.raises(GuestNotRunningError):
            await engine.suspend(config.name, OWNER)

    async def test_unsafe_only_when_asked_for(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        for unsafe in (
            replace(config, id_map=None),
            replace(config, id_map=replace(config.id_map, base=0)),  # type: ignore[type-var]
            replace(config, hostname="x\nlxc.cap.keep = all"),
            replace(config, environment={"A": "b\nlxc.idmap ="}),
            replace(config, mounts=(Mount(Path("/tmp/a b"), "/mnt"),)),
            replace(config, mounts=(Mount(Path("/tmp"), "/mnt/../../etc"),)),
        ):
            with pytest.raises(UnsafeConfigError):
                await engine.write_config(unsafe)
        assert await engine.get("one") is None

    async def test_no_two_guests_share_ids(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        with pytest.raises(UnsafeConfigError, match="one"):
            await engine.write_config(replace(make_config("two"), id_map=make_config("one").id_map))

    async def test_exec(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, replace(make_config("one"), hostname="shop"))
        assert await out(engine, "one", "hostname") == "shop"
        assert await out(engine, "one", "cat", stdin=b"from stdin") == "from stdin"
        failed = await engine.exec("one", OWNER, ["sh", "-c", "echo no >&2; exit 7"], time_limit=5)
        assert (failed.exit_code, failed.stderr.strip()) == (7, b"no")

    async def test_exec_keeps_the_environment_apart(
        self, engine: Engine, make_config: MAKE, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENT_SECRET", "of the agent")
        await started(engine, make_config("one"))
        seen = await out(engine, "one", "env", env={"PASSWORD": "a b\n$c'\"", "other": ""})
        assert "PASSWORD=a b\n$c'\"" in seen
        assert "other=" in seen.splitlines()
        assert "AGENT_SECRET" not in seen
        assert "DSECOS_" not in seen

    async def test_a_name_of_the_guests_choice_means_nothing_to_the_hosts_tools(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        await started(engine, make_config("one"))
        for name in ("LD_PRELOAD", "LD_AUDIT", "PATH_LOCALE", "LXC_PATH"):
            result = await engine.exec("one", OWNER, ["env"], env={name: "/no/such.so"}, time_limit=10)
            assert f"{name}=/no/such.so".encode() in result.stdout
            assert result.stderr == b"", "the host's loader would complain"
        with pytest.raises(UnsafeConfigError):
            await engine.exec("one", OWNER, ["env"], env={"A;reboot": "x"}, time_limit=10)

    async def test_exec_shows_no_value_in_an_argument_list(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        task = asyncio.create_task(
            engine.exec(
                "one", OWNER, ["sleep", "5"], env={"P": "hush-hush"}, stdin=b"hush-too", time_limit=10
            )
        )
        await until(lambda: any("lxc-attach" in line for line in command_lines()))
        assert not [line for line in command_lines() if "hush" in line]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def test_exec_is_bounded(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        result = await engine.exec(
            "one",
            OWNER,
            ["sh", "-c", "dd if=/dev/zero bs=1M count=50 2>/dev/null; echo end"],
            time_limit=30,
            output_limit=1000,
        )
        assert result.truncated
        assert len(result.stdout) == 1000
        assert result.stdout.endswith(b"end\n")

    async def test_exec_in_time(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        with pytest.raises(ExecTimeoutError):
            await engine.exec("one", OWNER, ["sh", "-c", "sleep 4711"], time_limit=0.3)
        await until(lambda: not [line for line in command_lines() if "sleep 4711" in line])

    async def test_exec_does_not_wait_for_what_goes_on_in_the_background(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        await started(engine, make_config("one"))
        begin = time.monotonic()
        await out(engine, "one", "sh", "-c", "sleep 30 & echo done")
        assert time.monotonic() - begin < 5

    async def test_exec_needs_a_running_guest(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        with pytest.raises(GuestNotRunningError):
            await engine.exec("one", OWNER, ["true"], time_limit=5)

    async def test_mounts(self, engine: Engine, make_config: MAKE, home: Path) -> None:
        (home / "data").mkdir()
        (home / "data/kept").write_text("kept")
        (home / "shared").mkdir()
        mounts = (
            Mount(home / "data", "/srv/volumes/data"),
            Mount(home / "shared", "/run/dsecos", executable=False),
        )
        await started(engine, replace(make_config("one"), mounts=mounts))
        assert await out(engine, "one", "cat", "/srv/volumes/data/kept") == "kept"
        await out(engine, "one", "touch", "/srv/volumes/data/new", "/run/dsecos/new")
        assert (home / "data/new").stat().st_uid == 0
        assert (home / "shared/new").exists(), "a mount below /run is not hidden by the guest's own /run"

    async def test_limits_hold_and_change_live(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(
            engine, replace(make_config("one"), limits=Limits(cpu_millis=500, memory_bytes=64 << 20, pids=20))
        )
        hog = ["sh", "-c", "for i in $(seq 40); do sleep 3 & done; wait"]
        assert b"fork" in (await engine.exec("one", OWNER, hog, time_limit=20)).stderr
        eater = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1"]
        assert (await engine.exec("one", OWNER, eater, time_limit=20)).exit_code != 0
        usage = await engine.metrics("one")
        assert usage.memory_bytes is not None
        assert usage.memory_bytes <= 64 << 20
        assert usage.oom_kills is None or usage.oom_kills > 0
        assert usage.pids
        assert usage.cpu_seconds is not None

        more = Limits(cpu_millis=None, memory_bytes=512 << 20, pids=None)
        await engine.set_limits("one", OWNER, more)
        assert (await engine.exec("one", OWNER, hog, time_limit=20)).stderr == b""
        assert (await engine.exec("one", OWNER, eater, time_limit=20)).exit_code == 0
        assert engine.digest(replace(config, limits=more)).boot == engine.digest(config).boot
        assert engine.digest(replace(config, limits=more)).full != engine.digest(config).full

    async def test_the_guest_cannot_lift_its_limits(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, replace(make_config("one"), limits=Limits(memory_bytes=64 << 20, pids=20)))
        lift = "cd /sys/fs/cgroup; "
        lift += "for f in $(find . -name pids.max -o -name memory.max -o -name memory.limit_in_bytes)"
        lift += "; do echo 9999999999 > $f; done"
        await engine.exec("one", OWNER, ["busybox", "sh", "-c", lift], time_limit=10)
        hog = ["sh", "-c", "for i in $(seq 40); do sleep 3 & done; wait"]
        assert b"fork" in (await engine.exec("one", OWNER, hog, time_limit=20)).stderr

    async def test_no_device_can_be_made(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        made = await engine.exec("one", OWNER, ["mknod", "/root/disk", "b", "8", "0"], time_limit=5)
        assert made.exit_code != 0

    async def test_a_change_is_due_with_a_restart(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(engine, make_config("one"))
        changed = replace(config, hostname="new-name")
        assert await engine.write_config(changed)
        guest = await engine.get("one")
        assert guest is not None
        assert guest.config_digest == engine.digest(changed).full
        assert guest.booted_digest == engine.digest(config).boot != engine.digest(changed).boot
        assert await out(engine, "one", "hostname") == "one"
        await engine.stop("one", OWNER, grace=5)
        restarted = await engine.start("one", OWNER)
        assert restarted.booted_digest == engine.digest(changed).boot

    async def test_death_is_noticed_at_once(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        guest = await engine.start("one", OWNER)
        told: asyncio.Queue[str] = asyncio.Queue()
        engine.watch("one", lambda name: told.put_nowait("first"))
        engine.watch("one", told.put_nowait)
        assert guest.init_pid is not None
        os.kill(guest.init_pid, signal.SIGKILL)
        begin = time.monotonic()
        assert await asyncio.wait_for(told.get(), 5) == "one"
        assert time.monotonic() - begin < 0.2
        await asyncio.sleep(0)
        assert told.empty()
        assert (await engine.start("one", OWNER)).init_pid != guest.init_pid

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
        assert await asyncio.wait_for(told.get(), 5) == "one"

    async def test_init_that_ignores_the_request_is_killed(self, engine: Engine, make_config: MAKE) -> None:
        stubborn = replace(make_config("one"), init=("/bin/sleep", "100000"))
        await started(engine, stubborn)
        begin = time.monotonic()
        await engine.stop("one", OWNER, grace=1)
        assert 0.9 < time.monotonic() - begin < 5

    async def test_another_process_sees_the_same(
        self, engine: Engine, make_config: MAKE, same_engine: Callable[[], Engine]
    ) -> None:
        await started(engine, make_config("one"))
        again = same_engine()
        assert await again.get("one") == await engine.get("one")
        assert await again.list_guests() == await engine.list_guests()
        await again.stop("one", OWNER, grace=0)
        guest = await engine.get("one")
        assert guest is not None
        assert guest.state is GuestState.STOPPED


def exists(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def uid_of(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def root_of(config: GuestConfig) -> Path:
    assert isinstance(config.root, RootDirectory)
    return config.root.path
