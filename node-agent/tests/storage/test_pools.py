"""Every driver keeps the contract, and what only btrfs has."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.processes import check, run
from dsecos_agent.storage import BtrfsTrees, DirectoryTrees, LayoutPool, open_pool
from dsecos_agent.storage import records as records_module
from dsecos_agent.storage.protocol import Pool, PoolUnavailableError, Template
from dsecos_agent.storage.trees import Trees

from .contract import (
    DIGEST,
    GID,
    MIB,
    OWNER,
    PoolContract,
    QuotaContract,
    SnapshotContract,
    exists,
    fill,
    make_archive,
    template_of,
    write,
)

GIB = 1 << 30


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return asyncio.run(make_archive(tmp_path_factory.mktemp("template")))


@pytest.fixture
def template(archives: Template, tmp_path: Path) -> Template:
    """A copy, for tests that damage it."""
    assert archives.docker is not None
    copies = [
        Path(shutil.copy(archive, tmp_path)) for archive in (archives.rootfs.path, archives.docker.path)
    ]
    return template_of(*copies)


@pytest.fixture
async def pool(reopen: Callable[[], Pool]) -> AsyncIterator[Pool]:
    pool = reopen()
    await pool.ensure_ready()
    yield pool
    await pool.close()
    assert not pool.root.is_mount()


@pytest.fixture
def die_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pool, int], None]:
    """Die, as by kill -9, before the nth thing that the pool does to the disk."""

    def arm(pool: Pool, step: int) -> None:
        left = [step]

        def count() -> None:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        trees: Trees = pool._trees  # type: ignore[attr-defined]
        for name in ("create", "clone", "delete", "limit", "forget_budget"):
            real = getattr(trees, name)

            async def once(*arguments: object, real: Callable[..., object] = real) -> None:
                count()
                await real(*arguments)  # type: ignore[misc]

            setattr(trees, name, once)
        real_write, real_forget = records_module.write, records_module.forget

        real_rename = Path.rename

        def counted_rename(self: Path, target: Path) -> Path:
            if left[0] > 0:
                count()
            return real_rename(self, target)

        monkeypatch.setattr(Path, "rename", counted_rename)

        def counted(directory: Path, record: records_module.Record) -> None:
            if left[0] > 0:
                count()
            real_write(directory, record)

        def counted_forget(directory: Path) -> None:
            if left[0] > 0:
                count()
            real_forget(directory)

        monkeypatch.setattr(records_module, "write", counted)
        monkeypatch.setattr(records_module, "forget", counted_forget)

    return arm


class TestDirectory(PoolContract, SnapshotContract):
    """Plain directories."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[], Pool]:
        return lambda: LayoutPool(DirectoryTrees(tmp_path / "pool"))


class TestBtrfs(PoolContract, SnapshotContract, QuotaContract):
    """btrfs with simple quotas."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[], Pool]:
        return lambda: open_pool(tmp_path / "pool", driver="btrfs", size=2 * GIB)

    async def test_nested_subvolumes_of_a_guest_count_and_go_with_it(
        self, pool: Pool, template: Template
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=40 * MIB)
        await check(["btrfs", "-q", "subvolume", "create", disk.docker / "sub"], time_limit=10)
        await check(["btrfs", "-q", "subvolume", "create", disk.docker / "sub/deeper"], time_limit=10)
        assert not await fill(disk.docker / "sub/deeper/data", 60)
        await pool.remove_guest("one", OWNER)
        assert not exists(disk.rootfs.parent)

    async def test_both_trees_share_the_quota(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=40 * MIB)
        assert await fill(disk.rootfs / "a", 25)
        assert not await fill(disk.docker / "b", 25)

    async def test_it_is_mounted_again_when_it_is_gone(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        await check(["umount", pool.root], time_limit=10)
        assert not exists(pool.root / "templates")
        await pool.ensure_ready()
        await pool.clone(DIGEST, "one", OWNER, gid=GID)

    async def test_in_use_it_stays_mounted(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        with (pool.root / "file").open("w"):
            await pool.close()
            assert pool.root.is_mount()

    async def test_groups_do_not_pile_up(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        for _ in range(5):
            await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=40 * MIB)
            await pool.remove_guest("one", OWNER)
        await check(["btrfs", "filesystem", "sync", pool.root], time_limit=60)
        for _ in range(200):
            await pool.clone(DIGEST, "two", OWNER, gid=GID)
            await pool.remove_guest("two", OWNER)
            shown = (await check(["btrfs", "qgroup", "show", pool.root], time_limit=10)).text()
            if len([line for line in shown.splitlines() if line.startswith("1/")]) <= 2:
                return
            await check(["btrfs", "filesystem", "sync", pool.root], time_limit=60)
        pytest.fail(shown)

    async def test_groups_do_not_pile_up_with_snapshots(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        for _ in range(3):
            disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=40 * MIB)
            assert await fill(disk.rootfs / "a", 2)
            await pool.snapshot_guest("one", OWNER, "s1")
            await pool.rollback_guest("one", OWNER, "s1")
            await pool.remove_guest("one", OWNER)
        for _ in range(200):
            await check(["btrfs", "filesystem", "sync", pool.root], time_limit=60)
            await pool.clone(DIGEST, "two", OWNER, gid=GID)
            await pool.remove_guest("two", OWNER)
            shown = (await check(["btrfs", "qgroup", "show", pool.root], time_limit=10)).text()
            if len([line for line in shown.splitlines() if line.startswith("1/")]) <= 2:
                return
        pytest.fail(shown)

    async def test_what_only_a_snapshot_holds_on_to_counts(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=60 * MIB)
        assert await fill(disk.rootfs / "a", 20)
        await pool.snapshot_guest("one", OWNER, "s1")
        (disk.rootfs / "a").unlink()
        await check(["btrfs", "filesystem", "sync", pool.root], time_limit=60)
        usage = await pool.guest_usage("one")
        assert usage is not None
        assert usage >= 20 * MIB

    async def test_subvolumes_of_a_guest_keep_it_from_a_snapshot(
        self, pool: Pool, template: Template
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        await check(["btrfs", "-q", "subvolume", "create", disk.docker / "sub"], time_limit=10)
        with pytest.raises(UnsupportedError, match="docker"):
            await pool.snapshot_guest("one", OWNER, "s1")
        assert list(await pool.list_guest_snapshots("one")) == []

    async def test_no_room_on_the_host_is_said(self, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        await check(["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", small], time_limit=10)
        try:
            with pytest.raises(PoolUnavailableError):
                await open_pool(small / "pool", driver="btrfs").ensure_ready()
        finally:
            await run(["umount", small], time_limit=10)

    async def test_a_half_made_image_is_made_again(self, tmp_path: Path) -> None:
        write(tmp_path / "half.making", "not a file system")
        pool = LayoutPool(BtrfsTrees(tmp_path / "half", tmp_path / "half.img", size=GIB))
        assert (await pool.ensure_ready()).quotas
        await pool.close()

    async def test_many_at_once(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        names = [f"g{n}" for n in range(8)]
        await asyncio.gather(*(pool.clone(DIGEST, name, OWNER, gid=GID, quota=40 * MIB) for name in names))
        assert len(await pool.list_datasets()) == 9
        await asyncio.gather(*(pool.remove_guest(name, OWNER) for name in names))


class TestBtrfsOfOlderKernels(PoolContract, SnapshotContract, QuotaContract):
    """btrfs that counts what is not shared, as kernels before 6.7 do."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[], Pool]:
        return lambda: LayoutPool(
            BtrfsTrees(tmp_path / "pool", tmp_path / "pool.img", size=2 * GIB, simple_quotas=False)
        )
