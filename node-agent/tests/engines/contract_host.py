"""What an engine has to do whose guests run on this host: `HostContract`.

Their processes, ids, devices, mounts and argument lists can be seen from here. A subclass gives the fixtures
of `contract` and `home`, a directory that guests may mount parts of.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import GuestConfig, GuestState, Limits, Mount, RootDirectory
from dsecos_agent.engines.protocol import Console, Engine

from tests.patience import async_until, now

from .contract_hooks import MAKE, MIB, OWNER, Hooks, out, started
from .contract_inside import shown


class HostContract(Hooks):
    """What only the host's side can tell of a guest."""

    async def test_its_init_is_a_process_of_this_host(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        first, second = await asyncio.gather(*(engine.start("one", OWNER) for _ in range(2)))
        assert first.init_pid is not None
        assert first.init_pid == second.init_pid
        assert exists(first.init_pid)
        await engine.suspend("one", OWNER)
        held = await engine.get("one")
        assert held is not None
        assert (held.state, held.init_pid) == (GuestState.SUSPENDED, first.init_pid)
        await engine.destroy("one", OWNER)
        assert not exists(first.init_pid)

    async def test_root_in_the_guest_is_nobody_on_the_host(self, engine: Engine, make_config: MAKE) -> None:
        config = await started(engine, make_config("one"))
        assert config.id_map is not None
        assert (await out(engine, "one", "id", "-u")) == "0"
        guest = await engine.get("one")
        assert guest is not None
        assert guest.id_map == config.id_map
        assert uid_of(guest.init_pid) == config.id_map.base
        await out(engine, "one", "touch", "/root/made")
        assert (root_of(config) / "root/made").stat().st_uid == 0, "ids on disk are the guest's own"

    async def test_unsafe_only_when_asked_for(self, engine: Engine, make_config: MAKE) -> None:
        config = make_config("one")
        for unsafe in (
            replace(config, id_map=None),
            replace(config, id_map=replace(config.id_map, base=0)),  # type: ignore[type-var]
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
            await engine.write_config(make_config("two", id_map=make_config("one").id_map))

    async def test_a_name_of_the_guests_choice_means_nothing_to_the_hosts_tools(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        await started(engine, make_config("one"))
        for name in ("LD_PRELOAD", "LD_AUDIT", "PATH_LOCALE", "LXC_PATH"):
            result = await engine.exec("one", OWNER, ["env"], env={name: "/no/such.so"}, time_limit=10)
            assert f"{name}=/no/such.so".encode() in result.stdout
            assert result.stderr == b"", "the host's loader would complain"
            assert b"DSECOS_" not in result.stdout
        with pytest.raises(UnsafeConfigError):
            await engine.exec("one", OWNER, ["env"], env={"A;reboot": "x"}, time_limit=10)

    async def test_exec_shows_no_value_in_an_argument_list(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        task = asyncio.create_task(
            engine.exec(
                "one", OWNER, ["sleep", "5"], env={"P": "hush-hush"}, stdin=b"hush-too", time_limit=10
            )
        )
        await async_until(lambda: any("sleep 5" in line for line in command_lines()))
        assert not [line for line in command_lines() if "hush" in line]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def test_what_is_out_of_time_is_killed(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        with suppress(Exception):
            await engine.exec("one", OWNER, ["sh", "-c", "sleep 4711"], time_limit=0.3)
        await async_until(lambda: not [line for line in command_lines() if "sleep 4711" in line])

    async def test_exec_does_not_wait_for_what_goes_on_in_the_background(
        self, engine: Engine, make_config: MAKE
    ) -> None:
        await started(engine, make_config("one"))
        begin = now()
        await out(engine, "one", "sh", "-c", "sleep 30 & echo done")
        assert now() - begin < 20

    async def test_a_console_shows_nothing_of_the_host(
        self, engine: Engine, make_config: MAKE, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENT_SECRET", "of the agent")
        await started(engine, make_config("one"))
        console = await engine.console("one", OWNER, columns=100, rows=30)
        try:
            await console.write(b"env; ls -l /proc/$$/fd; stty size; tty; echo $((6*7))-end\n")
            seen = (await shown(console, b"42-end")).decode()
            assert "AGENT_SECRET" not in seen
            assert "DSECOS_" not in seen
            assert "TERM=" in seen
            assert "30 100" in seen
            assert "/dev/pts/" in seen, "the terminal is one of the guest's own"
            assert "socket:" not in seen
            console.resize(120, 40)
            while b"40 120" not in seen.encode():
                await console.write(b"stty size; echo $((6*8))-end\n")
                seen = (await shown(console, b"48-end")).decode()
        finally:
            await console.close()

    @pytest.mark.parametrize("shell", ["sleep 4712", "trap '' HUP; sleep 4712"])
    async def test_closing_a_console_ends_what_runs_in_it(
        self, engine: Engine, make_config: MAKE, shell: str
    ) -> None:
        await started(engine, make_config("one"))
        console = await engine.console("one", OWNER)
        await console.write(f"{shell}\n".encode())
        await async_until(lambda: "sleep 4712 " in command_lines())
        reader = asyncio.create_task(read_to_the_end(console))
        await console.close()
        await asyncio.wait_for(reader, 10)
        await async_until(lambda: "sleep 4712 " not in command_lines())
        assert not [line for line in command_lines() if "lxc-attach" in line and " one " in line]

    async def test_mounts(self, engine: Engine, make_config: MAKE, home: Path) -> None:
        (home / "data").mkdir()
        (home / "data/kept").write_text("kept")
        (home / "shared").mkdir()
        mounts = (
            Mount(home / "data", "/srv/volumes/data"),
            Mount(home / "shared", "/run/dsecos", executable=False),
        )
        await started(engine, make_config("one", mounts=mounts))
        assert await out(engine, "one", "cat", "/srv/volumes/data/kept") == "kept"
        await out(engine, "one", "touch", "/srv/volumes/data/new", "/run/dsecos/new")
        assert (home / "data/new").stat().st_uid == 0
        assert (home / "shared/new").exists(), "a mount below /run is not hidden by the guest's own /run"

    async def test_limits_hold_and_change_live(self, engine: Engine, make_config: MAKE) -> None:
        limits = Limits(cpu_millis=500, memory_bytes=64 * MIB, pids=20)
        await started(engine, make_config("one", limits=limits))
        hog = ["sh", "-c", "for i in $(seq 40); do sleep 3 & done; wait"]
        assert b"fork" in (await engine.exec("one", OWNER, hog, time_limit=20)).stderr
        eater = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1"]
        assert (await engine.exec("one", OWNER, eater, time_limit=20)).exit_code != 0
        metrics = await engine.metrics("one")
        assert metrics.memory_bytes is not None
        assert metrics.memory_bytes <= 64 * MIB
        assert metrics.oom_kills is None or metrics.oom_kills > 0
        assert metrics.pids
        assert metrics.cpu_seconds is not None

        await engine.set_limits("one", OWNER, Limits(cpu_millis=None, memory_bytes=512 * MIB, pids=None))
        assert (await engine.exec("one", OWNER, hog, time_limit=20)).stderr == b""
        assert (await engine.exec("one", OWNER, eater, time_limit=20)).exit_code == 0

    async def test_the_guest_cannot_lift_its_limits(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one", limits=Limits(memory_bytes=64 * MIB, pids=20)))
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

    async def test_death_is_noticed_at_once(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        told = asyncio.Event()
        engine.watch("one", lambda _: told.set())
        await self.halt(engine, "one")
        await async_until(told.is_set, 5)


async def read_to_the_end(console: Console) -> None:
    """Until the session has ended."""
    while await console.read():
        pass


def exists(pid: int | None) -> bool:
    """A process of this host."""
    return Path(f"/proc/{pid}").exists()


def uid_of(pid: int | None) -> int:
    """As the host sees it."""
    return Path(f"/proc/{pid}").stat().st_uid


def command_lines() -> list[str]:
    """Of all processes of this host, each argument followed by a blank."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def root_of(config: GuestConfig) -> Path:
    """Where the guest's files are on this host."""
    assert isinstance(config.root, RootDirectory)
    return config.root.path
