"""The LXC engine keeps the contract, and what only LXC has."""

import asyncio
import contextlib
import errno
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import psutil
import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.lxc import LxcEngine, cgroups, life
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import (
    Capability,
    GuestConfig,
    GuestState,
    IdMap,
    Mount,
    NetworkInterface,
    RootDirectory,
)
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.processes import check
from dsecos_agent.storage import open_pool
from dsecos_agent.storage.protocol import Archive, Pool, Template

from tests.patience import Deadline, async_until, until

from .conftest import make_rootfs
from .contract import EngineContract
from .contract_adoption import AdoptionContract
from .contract_disks import DiskContract
from .contract_hooks import MIB, OWNER, out, started, state_of
from .contract_host import HostContract, exists, uid_of
from .foreign import Foreign

DIGEST = "cd" * 32
IDS = IdRange(3_000_000_000, 65536 * 16)


@pytest.fixture
def same_engine(home: Path) -> Callable[[], Engine]:
    return lambda: LxcEngine(home / "lxc", home / "run", IDS, outside=home / "host")


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


def is_zombie(pid: int | None) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def by_hand(argv: list[str | Path]) -> None:
    await check(argv, time_limit=30)


async def make_template(home: Path) -> Template:
    """Tiny, and with nothing in its Docker."""
    make_rootfs(home / "unpacked")
    archive = home / "rootfs.tar"
    await check(["tar", "-C", home / "unpacked", "-cf", archive, "."], time_limit=30)
    return Template(DIGEST, Archive(archive, hashlib.sha256(archive.read_bytes()).hexdigest()))


class OnLxc:
    """What the contract does around an LXC engine."""

    @pytest.fixture(autouse=True)
    async def at(self, home: Path) -> AsyncIterator[None]:
        self.home = home
        self.foreign: dict[str, Foreign] = {}
        yield
        for foreign in self.foreign.values():
            await foreign.raze()

    async def halt(self, engine: Engine, name: str) -> None:
        guest = await engine.get(name)
        assert guest is not None
        assert guest.init_pid is not None
        os.kill(guest.init_pid, signal.SIGKILL)

    async def change(self, engine: Engine, name: str) -> None:
        config = self.home / "lxc" / name / "config"
        config.write_text(config.read_text().replace("lxc.pty.max = 1024", "lxc.pty.max = 7"))

    async def make_foreign(self, engine: Engine, *, running: bool) -> str:
        foreign = Foreign(self.home / "host")
        self.foreign[foreign.name] = foreign
        if running:
            await foreign.start()
        return foreign.name

    async def foreign_config(self, engine: Engine, engine_id: str) -> str:
        return self.foreign[engine_id].config.read_bytes().decode("latin-1")

    async def foreign_life(self, engine: Engine, engine_id: str) -> object:
        return self.foreign[engine_id].life()

    async def change_adopted(self, engine: Engine, engine_id: str) -> None:
        config = self.foreign[engine_id].config
        config.write_bytes(config.read_bytes().replace(b"= 536870912", b"= 536870911"))

    def stubborn(self, config: GuestConfig) -> GuestConfig:
        return replace(config, init=("/bin/sleep", "100000"))


class TestLxc(OnLxc, EngineContract, AdoptionContract, HostContract):
    """The contract, on LXC whose guests are in no pool."""


class InPool(OnLxc, DiskContract):
    """What LXC does with disks is what the pool does."""

    driver = ""

    @pytest.fixture
    async def pool(self, home: Path) -> AsyncIterator[Pool]:
        pool = open_pool(home / "pool", driver=self.driver, size=2 << 30)
        await pool.ensure_ready()
        await pool.import_template(await make_template(home))
        yield pool
        await pool.close()

    @pytest.fixture
    def same_engine(self, home: Path, pool: Pool) -> Callable[[], Engine]:
        return lambda: LxcEngine(home / "lxc", home / "run", IDS, lambda: [pool])

    @pytest.fixture
    async def make_config(self, pool: Pool) -> Callable[..., GuestConfig]:
        disk = await pool.clone(DIGEST, "one", OWNER, gid=IDS.base)
        config = GuestConfig(
            name="one",
            owner_uid=OWNER,
            root=RootDirectory(disk.rootfs),
            id_map=IdMap(IDS.base),
            mounts=(Mount(disk.docker, "/var/lib/docker"),),
            halt_signal="SIGUSR2",
        )
        return lambda name, **changes: replace(config, name=name, **changes)

    async def test_ids_are_right_after_a_rollback(
        self, engine: Engine, make_config: Callable[..., GuestConfig]
    ) -> None:
        await started(engine, make_config("one"))
        await engine.snapshot("one", OWNER, "s1")
        await engine.rollback("one", OWNER, "s1")
        guest = await engine.start("one", OWNER)
        assert guest.id_map == IdMap(IDS.base)
        assert uid_of(guest.init_pid) == IDS.base
        assert await out(engine, "one", "stat", "-c", "%u %g", "/etc/inittab") == "0 0"
        await out(engine, "one", "touch", "/root/mine", "/var/lib/docker/mine")

    async def test_both_trees_are_taken_back(
        self, engine: Engine, make_config: Callable[..., GuestConfig]
    ) -> None:
        await started(engine, make_config("one"))
        await engine.snapshot("one", OWNER, "s1")
        await out(engine, "one", "touch", "/root/new", "/var/lib/docker/new")
        await engine.rollback("one", OWNER, "s1")
        await engine.start("one", OWNER)
        assert await out(engine, "one", "ls", "/root", "/var/lib/docker") == "/root:\n\n/var/lib/docker:"

    async def test_a_suspended_guest_stays_suspended_over_a_snapshot(
        self, engine: Engine, make_config: Callable[..., GuestConfig]
    ) -> None:
        await started(engine, make_config("one"))
        await engine.suspend("one", OWNER)
        await engine.snapshot("one", OWNER, "s1")
        assert await state_of(engine, "one") is GuestState.SUSPENDED

    async def test_a_guest_left_held_by_a_snapshot_that_was_killed_is_let_go(
        self, engine: Engine, make_config: Callable[..., GuestConfig], home: Path
    ) -> None:
        await started(engine, make_config("one"))
        await by_hand(["lxc-freeze", "-P", home / "lxc", "-n", "one"])
        (home / "lxc/one/held").touch()
        await engine.snapshot("one", OWNER, "s1")
        assert await state_of(engine, "one") is GuestState.RUNNING
        assert not (home / "lxc/one/held").exists()

    async def test_a_rollback_that_was_killed_is_finished_before_the_guest_starts(
        self,
        engine: Engine,
        make_config: Callable[..., GuestConfig],
        pool: Pool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await started(engine, make_config("one"))
        await engine.snapshot("one", OWNER, "s1")
        await out(engine, "one", "touch", "/root/new", "/var/lib/docker/new")
        real, renamed = Path.rename, []

        def die(self: Path, target: Path) -> Path:
            renamed.append(target)
            if len(renamed) == 3:
                raise KeyboardInterrupt
            return real(self, target)

        monkeypatch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            await engine.rollback("one", OWNER, "s1")
        monkeypatch.undo()
        assert not [each for each in await pool.list_datasets() if each.name == "one"], "it is not whole"
        await engine.start("one", OWNER)
        assert await out(engine, "one", "ls", "/root", "/var/lib/docker") == "/root:\n\n/var/lib/docker:"


class TestLxcInABtrfsPool(InPool):
    """Snapshots at once, and quotas."""

    driver = "btrfs"

    async def test_the_size_is_the_pools_quota(
        self, engine: Engine, make_config: Callable[..., GuestConfig], pool: Pool
    ) -> None:
        await started(engine, make_config("one"))
        await engine.resize_disk("one", OWNER, 64 * MIB)
        assert [each.quota_bytes for each in await pool.list_datasets() if each.name == "one"] == [64 * MIB]
        assert await self.can(engine, Capability.RESIZE_DISK)
        much = ["sh", "-c", "dd if=/dev/urandom of=/root/much bs=1M count=20 && sync"]
        assert (await engine.exec("one", OWNER, much, time_limit=30)).exit_code == 0
        used = (await engine.metrics("one")).disk_bytes
        assert used is not None
        assert used >= 20 * MIB
        with pytest.raises(UnsupportedError, match=str(used)):
            await engine.resize_disk("one", OWNER, 10 * MIB)


class TestLxcInADirectoryPool(InPool):
    """Snapshots are copies; sizes are not kept."""

    driver = "dir"


async def test_network_counters_are_the_guests_own(
    engine: Engine, make_config: Callable[..., GuestConfig]
) -> None:
    await by_hand(["ip", "link", "add", "dttestbr0", "type", "bridge"])
    try:
        await by_hand(["ip", "addr", "add", "10.213.7.1/24", "dev", "dttestbr0"])
        await by_hand(["ip", "link", "set", "dttestbr0", "up"])
        port = NetworkInterface(
            "dttest0",
            "dttestbr0",
            "02:00:00:00:07:02",
            IPv4Interface("10.213.7.2/24"),
            IPv4Address("10.213.7.1"),
        )
        await started(engine, make_config("one", interfaces=(port,)))
        before = await engine.metrics("one")
        send = ["ping", "-c", "1", "-s", "1200", "10.213.7.1"]
        assert (await engine.exec("one", OWNER, send, time_limit=10)).exit_code == 0
        after = await engine.metrics("one")
        for then, now in (
            (before.network_in_bytes, after.network_in_bytes),
            (before.network_out_bytes, after.network_out_bytes),
        ):
            assert then is not None
            assert now is not None
            assert now - then >= 1200
        assert before.uptime_seconds is not None
        assert after.uptime_seconds is not None
        assert after.uptime_seconds >= before.uptime_seconds
    finally:
        await engine.destroy("one", OWNER)
        await by_hand(["ip", "link", "del", "dttestbr0"])


async def test_a_shutdown_without_grace_asks_and_does_not_wait(
    engine: Engine, make_config: Callable[..., GuestConfig]
) -> None:
    await started(engine, make_config("one", init=("/bin/sleep", "100000")))
    guest = await engine.get("one")
    assert not await engine.shutdown("one", OWNER, grace=0)
    assert await engine.get("one") == guest


async def test_a_guest_whose_monitor_was_killed_runs_on_and_is_not_doubled(
    engine: Engine, make_config: Callable[..., GuestConfig]
) -> None:
    await engine.write_config(make_config("one"))
    guest = await engine.start("one", OWNER)
    assert guest.init_pid is not None
    monitor = parent_of(guest.init_pid)
    os.kill(monitor, signal.SIGKILL)
    await async_until(lambda: not exists(monitor))
    orphan = await engine.get("one")
    if orphan is not None and orphan.state is GuestState.RUNNING:
        assert (await engine.start("one", OWNER)).init_pid == guest.init_pid
    await engine.stop("one", OWNER, grace=1)
    after = await engine.get("one")
    assert after is not None
    assert after.state is GuestState.STOPPED
    await async_until(lambda: not exists(guest.init_pid))  # dead: the host's init reaps it when it likes
    again = await engine.start("one", OWNER)
    assert again.state is GuestState.RUNNING
    assert groups("one") == {"lxc.monitor.one", "lxc.payload.one"}, "no second name"
    await engine.destroy("one", OWNER)
    assert groups("one") == set()


def removed(group: Path) -> bool:
    """A process that is still dying holds its group."""
    try:
        group.rmdir()
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that not even SIGKILL ends meanwhile, as one that waits for a disk."""
    group = Path(f"/sys/fs/cgroup/freezer/dsecos-test-{pid}")
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        with contextlib.suppress(ProcessLookupError):
            (group.parent / "cgroup.procs").write_text(str(pid))
        until(lambda: removed(group))


@pytest.mark.skipif(
    cgroups.is_unified(), reason="of version 2 what is frozen can be killed, and shows its group"
)
async def test_an_init_that_waits_for_its_processes_to_die_is_stopping(
    engine: Engine, make_config: Callable[..., GuestConfig], home: Path
) -> None:
    await engine.write_config(make_config("one"))
    guest = await engine.start("one", OWNER)
    assert guest.init_pid is not None
    argv = ["lxc-attach", "-P", home / "lxc", "-n", "one", "--", "busybox", "sleep", "1000"]
    attached = await asyncio.create_subprocess_exec(*argv)
    tool = psutil.Process(attached.pid)
    (inside,) = await async_until(lambda: [each for each in tool.children() if each.name() == "busybox"])
    with frozen(inside.pid):
        os.kill(guest.init_pid, signal.SIGKILL)
        await async_until(lambda: "freezer:/\n" in Path(f"/proc/{guest.init_pid}/cgroup").read_text())
        assert await state_of(engine, "one") is GuestState.STOPPING
        starting = asyncio.create_task(engine.start("one", OWNER))
        await asyncio.sleep(0.2)
        assert not starting.done(), "not taken for running"
    assert (await starting).init_pid != guest.init_pid
    await attached.wait()


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
    init = os.pidfd_open(first.init_pid)

    def asked_to_reboot() -> bool:
        # An init has no signals by default, and it has just begun: it obeys once it has its handlers.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(init, signal.SIGTERM)  # busybox init: reboot
        return not exists(first.init_pid)

    await async_until(asked_to_reboot)
    os.close(init)
    deadline = Deadline(20)
    while (guest := await engine.get("one")) is None or guest.state is not GuestState.RUNNING:
        assert not deadline.passed(), guest
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


async def test_a_monitor_that_waits_for_an_init_that_is_gone_holds_nothing_up(
    engine: Engine, make_config: Callable[..., GuestConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "STOP_SLACK", 0.5)
    await engine.write_config(make_config("one"))
    guest = await engine.start("one", OWNER)
    assert guest.init_pid is not None
    monitor = parent_of(guest.init_pid)
    os.kill(monitor, signal.SIGSTOP)
    os.kill(guest.init_pid, signal.SIGKILL)
    await async_until(lambda: is_zombie(guest.init_pid))
    again = await engine.start("one", OWNER)
    assert again.state is GuestState.RUNNING
    assert again.init_pid != guest.init_pid
    assert parent_of(again.init_pid or 0) != monitor
