"""The LXC engine keeps the contract, and what only LXC has."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.engines.lxc import LxcEngine
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import GuestConfig, GuestState, IdMap, RootDirectory
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.processes import check

from .conftest import make_rootfs
from .contract import EngineContract
from .contract_hooks import OWNER, until
from .contract_host import HostContract, exists, uid_of

IDS = IdRange(3_000_000_000, 65536 * 16)


@pytest.fixture
def same_engine(home: Path) -> Callable[[], Engine]:
    return lambda: LxcEngine(home / "lxc", home / "run", IDS)


@pytest.fixture
async def engine(same_engine: Callable[[], Engine]) -> AsyncIterator[Engine]:
    engine = same_engine()
    await engine.ensure_ready()
    yield engine
    for guest in await engine.list_guests():
        await engine.destroy(guest.name, guest.owner_uid or "")
    await engine.close()
    await engine.release_host()


@pytest.fixture
def make_config(home: Path) -> Callable[..., GuestConfig]:
    def make(name: str, **changes: object) -> GuestConfig:
        rootfs = home / "rootfs" / name
        if not rootfs.exists():
            make_rootfs(rootfs)
        number = {"one": 0, "two": 1}[name]
        config = GuestConfig(
            name=name,
            owner_uid=OWNER,
            root=RootDirectory(rootfs),
            id_map=IdMap(IDS.base + number * 65536),
            halt_signal="SIGUSR2",
        )
        return replace(config, **changes)  # type: ignore[arg-type] # a test's own words

    return make


def groups(name: str) -> set[str]:
    """Names of the guest's control groups, in all hierarchies."""
    return {path.name for path in Path("/sys/fs/cgroup").glob(f"**/lxc.*.{name}*")}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def by_hand(argv: list[str | Path]) -> None:
    await check(argv, time_limit=30)


class OnLxc:
    """What the contract does around an LXC engine."""

    @pytest.fixture(autouse=True)
    def at(self, home: Path) -> None:
        self.home = home

    async def halt(self, engine: Engine, name: str) -> None:
        guest = await engine.get(name)
        assert guest is not None
        assert guest.init_pid is not None
        os.kill(guest.init_pid, signal.SIGKILL)

    async def change(self, engine: Engine, name: str) -> None:
        config = self.home / "lxc" / name / "config"
        config.write_text(config.read_text().replace("lxc.pty.max = 1024", "lxc.pty.max = 7"))

    def stubborn(self, config: GuestConfig) -> GuestConfig:
        return replace(config, init=("/bin/sleep", "100000"))


class TestLxc(OnLxc, EngineContract, HostContract):
    """The contract, on LXC whose guests are in no pool."""


async def test_a_guest_whose_monitor_was_killed_runs_on_and_is_not_doubled(
    engine: Engine, make_config: Callable[..., GuestConfig]
) -> None:
    await engine.write_config(make_config("one"))
    guest = await engine.start("one", OWNER)
    assert guest.init_pid is not None
    monitor = parent_of(guest.init_pid)
    os.kill(monitor, signal.SIGKILL)
    await until(lambda: not exists(monitor))
    orphan = await engine.get("one")
    if orphan is not None and orphan.state is GuestState.RUNNING:
        assert (await engine.start("one", OWNER)).init_pid == guest.init_pid
    await engine.stop("one", OWNER, grace=1)
    after = await engine.get("one")
    assert after is not None
    assert after.state is GuestState.STOPPED
    assert not exists(guest.init_pid)
    again = await engine.start("one", OWNER)
    assert again.state is GuestState.RUNNING
    assert groups("one") == {"lxc.monitor.one", "lxc.payload.one"}, "no second name"
    await engine.destroy("one", OWNER)
    assert groups("one") == set()


async def test_started_by_hand_is_found_running(
    engine: Engine, make_config: Callable[..., GuestConfig], home: Path
) -> None:
    config = make_config("one")
    await engine.write_config(config)
    await by_hand(["lxc-start", "-P", home / "lxc", "-n", "one"])
    guest = await engine.get("one")
    assert guest is not None
    assert (guest.state, guest.booted_digest) == (GuestState.RUNNING, engine.digest(config).boot)
    await by_hand(["lxc-stop", "-k", "-P", home / "lxc", "-n", "one"])
    guest = await engine.get("one")
    assert guest is not None
    assert guest.state is GuestState.STOPPED


async def test_frozen_by_hand_is_seen_and_can_be_stopped(
    engine: Engine, make_config: Callable[..., GuestConfig], home: Path
) -> None:
    await engine.write_config(make_config("one"))
    await engine.start("one", OWNER)
    await by_hand(["lxc-freeze", "-P", home / "lxc", "-n", "one"])
    guest = await engine.get("one")
    assert guest is not None
    assert guest.state is GuestState.SUSPENDED
    await engine.stop("one", OWNER, grace=0)


async def test_a_foreign_container_is_shown_without_owner(engine: Engine, home: Path) -> None:
    (home / "lxc/alien").mkdir()
    (home / "lxc/alien/config").write_text("lxc.uts.name = alien\n")
    guests = await engine.list_guests()
    assert [(guest.name, guest.owner_uid) for guest in guests] == [("alien", None)]
    (home / "lxc/alien/config").unlink()


async def test_a_destroy_that_was_killed_half_way_is_finished(
    engine: Engine, make_config: Callable[..., GuestConfig], home: Path
) -> None:
    await engine.write_config(make_config("one"))
    (home / "lxc/one/lxc.log").write_text("left over")
    (home / "lxc/one/lxc.log").unlink()
    assert [guest.name for guest in await engine.list_guests()] == ["one"]
    await engine.destroy("one", OWNER)
    (home / "lxc/one").mkdir()
    assert await engine.get("one") is None, "an empty directory is no guest"
    await engine.write_config(make_config("one"))
    assert (await engine.start("one", OWNER)).state is GuestState.RUNNING


async def test_a_guest_reboots_by_itself(engine: Engine, make_config: Callable[..., GuestConfig]) -> None:
    config = make_config("one")
    await engine.write_config(config)
    first = await engine.start("one", OWNER)
    assert first.init_pid is not None
    os.kill(first.init_pid, signal.SIGTERM)  # busybox init: reboot
    await until(lambda: not exists(first.init_pid))
    for _ in range(500):
        guest = await engine.get("one")
        if guest is not None and guest.state is GuestState.RUNNING:
            break
        await asyncio.sleep(0.01)
    assert guest is not None
    assert guest.init_pid not in {None, first.init_pid}
    assert guest.booted_digest == engine.digest(config).boot


async def test_a_privileged_guest_is_one_only_by_name(
    engine: Engine, make_config: Callable[..., GuestConfig]
) -> None:
    await engine.write_config(replace(make_config("one"), id_map=None, privileged=True))
    guest = await engine.start("one", OWNER)
    assert guest.id_map is None
    assert uid_of(guest.init_pid) == 0
