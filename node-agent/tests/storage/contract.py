"""What any pool has to do. A subclass gives `pool` and `reopen`; every test here then runs on it."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import NotFoundError, NotOursError
from dsecos_agent.processes import check, run
from dsecos_agent.storage.protocol import (
    Archive,
    DatasetKind,
    Pool,
    Template,
    TemplateDamagedError,
    VolumeRef,
)

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-000000000002"
DIGEST = "ab" * 32
DATA = VolumeRef("acme", "shop", "pgdata")
MIB = 1 << 20
GID = 3_000_000_000


def write(path: Path, text: str) -> None:
    path.write_text(text)


def read(path: Path) -> str:
    return path.read_text()


def exists(path: Path) -> bool:
    return path.exists()


async def fill(path: Path, mib: int) -> bool:
    """Write that much of what cannot be compressed; False when there is no room."""
    result = await run(
        ["dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={mib}", "conv=fsync", "status=none"],
        time_limit=60,
    )
    await run(["sync", "-f", path.parent], time_limit=60)
    return result.exit_code == 0


async def may_pass(tree: Path, gid: int) -> bool:
    """A process of this group gets there; the test's own parent directories are opened for it."""
    opened = [parent for parent in tree.parents if "pytest-of-" in str(parent) and "pool" not in parent.parts]
    for parent in opened:
        parent.chmod(0o711)
    as_group = ["setpriv", f"--reuid={gid}", f"--regid={gid}", "--clear-groups"]
    return (await run([*as_group, "test", "-x", tree], time_limit=10)).exit_code == 0


class PoolContract:
    """The executable form of `Pool`."""

    async def test_a_clone_is_the_template_and_changes_alone(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        one = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        two = await pool.clone(DIGEST, "two", OWNER, gid=GID)
        assert read(one.rootfs / "etc/hello") == "from the template"
        assert read(one.docker / "image/id") == "seed"
        assert list(one.shared.iterdir()) == []
        write(one.rootfs / "etc/hello", "changed")
        assert read(two.rootfs / "etc/hello") == "from the template"
        assert read((await pool.clone(DIGEST, "one", OWNER, gid=GID)).rootfs / "etc/hello") == "changed"

    async def test_what_an_archive_says_of_a_file_is_kept(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        rootfs = (await pool.clone(DIGEST, "one", OWNER, gid=GID)).rootfs
        assert (rootfs / "bin/su").stat().st_mode & 0o7777 == 0o4755
        assert ((rootfs / "etc/hello").stat().st_uid, (rootfs / "etc/hello").stat().st_gid) == (101, 102)
        assert os.getxattr(rootfs / "bin/su", "security.capability")

    async def test_only_the_guest_gets_in(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        trees = [(await pool.clone(DIGEST, "one", OWNER, gid=GID)).docker]
        trees.append(await pool.ensure_volume(DATA, OWNER, gid=GID))
        for tree in trees:
            assert await may_pass(tree, GID)
            assert not await may_pass(tree, GID + 65536)
        await pool.clone(DIGEST, "one", OWNER, gid=GID + 65536)
        assert not await may_pass(trees[0], GID)
        template_tree = pool.root / "templates" / DIGEST / "rootfs"
        assert exists(template_tree)
        assert not await may_pass(template_tree, GID)

    async def test_import_is_once(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        template.rootfs.path.unlink()
        await pool.import_template(template)
        assert (await pool.clone(DIGEST, "one", OWNER, gid=GID)).rootfs.exists()

    async def test_a_damaged_archive(self, pool: Pool, template: Template) -> None:
        whole = template.rootfs.path.read_bytes()
        template.rootfs.path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(TemplateDamagedError):
            await pool.import_template(template)
        assert await pool.list_datasets() == []
        template.rootfs.path.write_bytes(whole)
        await pool.import_template(template)
        assert exists((await pool.clone(DIGEST, "one", OWNER, gid=GID)).rootfs / "etc/hello")

    async def test_no_template_no_clone(self, pool: Pool) -> None:
        with pytest.raises(NotFoundError):
            await pool.clone(DIGEST, "one", OWNER, gid=GID)
        assert await pool.list_datasets() == []

    async def test_removed_is_gone_and_may_be_made_again(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        write(disk.rootfs / "mine", "x")
        await pool.remove_guest("one", OWNER)
        await pool.remove_guest("one", OWNER)
        assert not exists(disk.rootfs.parent)
        assert not exists((await pool.clone(DIGEST, "one", OWNER, gid=GID)).rootfs / "mine")

    async def test_a_guest_outlives_its_template(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        await pool.remove_template(DIGEST)
        assert read(disk.rootfs / "etc/hello") == "from the template"
        assert (await pool.clone("cd" * 32, "one", OWNER, gid=GID)).rootfs == disk.rootfs

    async def test_volumes_outlive_their_owner_when_released(self, pool: Pool) -> None:
        path = await pool.ensure_volume(DATA, OWNER, gid=GID)
        write(path / "rows", "kept")
        with pytest.raises(NotOursError):
            await pool.ensure_volume(DATA, STRANGER, gid=GID)
        await pool.release_volume(DATA, OWNER)
        await pool.release_volume(DATA, OWNER)
        assert [(d.name, d.owner_uid) for d in await pool.list_datasets()] == [("acme/shop/pgdata", None)]
        again = await pool.ensure_volume(DATA, STRANGER, gid=GID)
        assert read(again / "rows") == "kept"
        with pytest.raises(NotOursError):
            await pool.remove_volume(DATA, OWNER)
        await pool.remove_volume(DATA, STRANGER)
        await pool.remove_volume(DATA, STRANGER)
        assert not exists(path)
        assert await pool.list_datasets() == []

    async def test_nothing_of_another_owner_is_touched(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        path = await pool.ensure_volume(DATA, OWNER, gid=GID)
        for call in (
            pool.clone(DIGEST, "one", STRANGER, gid=GID),
            pool.remove_guest("one", STRANGER),
            pool.set_guest_quota("one", STRANGER, 1),
            pool.release_volume(DATA, STRANGER),
            pool.remove_volume(DATA, STRANGER),
            pool.set_volume_quota(DATA, STRANGER, 1),
        ):
            with pytest.raises(NotOursError):
                await call
        assert exists(disk.rootfs / "etc/hello")
        assert exists(path)

    async def test_what_has_no_record_is_shown_and_left(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        alien = pool.root / "guests/one"
        alien.mkdir(parents=True)
        write(alien / "thing", "of somebody")
        with pytest.raises(NotOursError):
            await pool.clone(DIGEST, "one", OWNER, gid=GID)
        with pytest.raises(NotOursError):
            await pool.remove_guest("one", OWNER)
        found = [d for d in await pool.list_datasets() if d.kind is DatasetKind.GUEST]
        assert [(d.name, d.owner_uid) for d in found] == [("one", None)]
        assert read(alien / "thing") == "of somebody"

    async def test_list(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        await pool.clone(DIGEST, "one", OWNER, gid=GID)
        await pool.ensure_volume(DATA, OWNER, gid=GID)
        assert [(d.kind, d.name, d.owner_uid, d.template) for d in await pool.list_datasets()] == [
            (DatasetKind.GUEST, "one", OWNER, DIGEST),
            (DatasetKind.TEMPLATE, DIGEST, None, None),
            (DatasetKind.VOLUME, "acme/shop/pgdata", OWNER, None),
        ]

    async def test_names_stay_in_the_pool(self, pool: Pool) -> None:
        for name in ("..", "../x", "a/b", "", "/etc"):
            with pytest.raises(NotFoundError):
                await pool.remove_guest(name, OWNER)
            with pytest.raises(NotFoundError):
                await pool.ensure_volume(VolumeRef(name, "shop", "data"), OWNER, gid=GID)

    async def test_another_process_finds_the_same(
        self, pool: Pool, template: Template, reopen: Callable[[], Pool]
    ) -> None:
        await pool.import_template(template)
        await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=50 * MIB)
        again = reopen()
        await again.ensure_ready()
        assert await again.list_datasets() == await pool.list_datasets()
        await again.remove_guest("one", OWNER)
        assert [d.kind for d in await pool.list_datasets()] == [DatasetKind.TEMPLATE]

    async def test_capacity(self, pool: Pool) -> None:
        capacity = await pool.capacity()
        assert 0 < capacity.available_bytes <= capacity.total_bytes
        assert 0 <= capacity.used_bytes < capacity.total_bytes

    async def test_links_in_a_guest_lead_nowhere(
        self, pool: Pool, template: Template, tmp_path: Path
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        victim = tmp_path / "victim"
        victim.mkdir()
        write(victim / "file", "safe")
        (disk.rootfs / "link").symlink_to(victim)
        await pool.remove_guest("one", OWNER)
        assert read(victim / "file") == "safe"

    @pytest.mark.parametrize("step", range(1, 12))
    async def test_killed_at_any_step_a_clone_is_made_again(
        self,
        pool: Pool,
        template: Template,
        reopen: Callable[[], Pool],
        die_at: Callable[[Pool, int], None],
        step: int,
    ) -> None:
        await pool.import_template(template)
        broken = reopen()
        await broken.ensure_ready()
        die_at(broken, step)
        try:
            await broken.clone(DIGEST, "one", OWNER, gid=GID, quota=50 * MIB)
        except KeyboardInterrupt:
            assert not [d for d in await pool.list_datasets() if d.kind is DatasetKind.GUEST]
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=50 * MIB)
        assert read(disk.rootfs / "etc/hello") == "from the template"
        assert read(disk.docker / "image/id") == "seed"
        broken = reopen()
        await broken.ensure_ready()
        die_at(broken, step)
        try:
            await broken.remove_guest("one", OWNER)
        except KeyboardInterrupt:
            assert not [
                d for d in await pool.list_datasets() if d.kind is DatasetKind.GUEST and d.owner_uid is None
            ]
        await pool.remove_guest("one", OWNER)
        assert [d.kind for d in await pool.list_datasets()] == [DatasetKind.TEMPLATE]


class SnapshotContract:
    """Snapshots of guests, and the way back."""

    async def test_a_guest_is_taken_back(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        write(disk.rootfs / "etc/hello", "before")
        write(disk.docker / "image/id", "before")
        write(disk.shared / "kept", "shared")
        await pool.snapshot_guest("one", OWNER, "s1", description="first")
        write(disk.rootfs / "etc/hello", "after")
        write(disk.docker / "image/id", "after")
        write(disk.rootfs / "new", "x")
        await pool.snapshot_guest("one", OWNER, "s1", description="again")
        for _ in range(2):
            await pool.rollback_guest("one", OWNER, "s1")
            assert read(disk.rootfs / "etc/hello") == "before"
            assert read(disk.docker / "image/id") == "before"
            assert not exists(disk.rootfs / "new")
            write(disk.rootfs / "etc/hello", "can be written again")
        assert read(disk.shared / "kept") == "shared", "sockets and volumes stay"
        assert sorted(path.name for path in disk.rootfs.parent.iterdir()) == [
            "dataset.json",
            "docker",
            "rootfs",
            "shared",
            "snapshots",
        ]
        assert [(s.name, s.description) for s in await pool.list_guest_snapshots("one")] == [("s1", "first")]

    async def test_ids_and_modes_survive_and_only_the_guest_gets_in(
        self, pool: Pool, template: Template
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        await pool.snapshot_guest("one", OWNER, "s1")
        await pool.rollback_guest("one", OWNER, "s1")
        assert ((disk.rootfs / "etc/hello").stat().st_uid, (disk.rootfs / "etc/hello").stat().st_gid) == (
            101,
            102,
        )
        assert (disk.rootfs / "bin/su").stat().st_mode & 0o7777 == 0o4755
        assert os.getxattr(disk.rootfs / "bin/su", "security.capability")
        assert await may_pass(disk.rootfs, GID)
        assert not await may_pass(disk.rootfs, GID + 65536)
        kept = disk.rootfs.parent / "snapshots/s1/rootfs"
        assert exists(kept)
        assert not await may_pass(kept, GID), "set-user-id files of an old state are out of reach"

    async def test_snapshots_are_listed_the_oldest_first_and_removed(
        self, pool: Pool, template: Template
    ) -> None:
        await pool.import_template(template)
        await pool.clone(DIGEST, "one", OWNER, gid=GID)
        assert list(await pool.list_guest_snapshots("one")) == []
        for name in ("zz", "aa", "mm"):
            await pool.snapshot_guest("one", OWNER, name)
        for _ in range(2):
            await pool.remove_guest_snapshot("one", OWNER, "aa")
        listed = await pool.list_guest_snapshots("one")
        assert [s.name for s in listed] == ["zz", "mm"]
        assert all(s.created.tzinfo is not None for s in listed)
        await pool.remove_guest_snapshot("none", OWNER, "aa")

    async def test_snapshots_go_with_their_guest(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        await pool.snapshot_guest("one", OWNER, "s1")
        await pool.snapshot_guest("one", OWNER, "s2")
        await pool.remove_guest("one", OWNER)
        assert not exists(disk.rootfs.parent)
        await pool.clone(DIGEST, "one", OWNER, gid=GID)
        assert list(await pool.list_guest_snapshots("one")) == []

    async def test_what_is_not_there_or_not_ours_is_left(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        await pool.snapshot_guest("one", OWNER, "s1")
        write(disk.rootfs / "etc/hello", "now")
        for call in (
            pool.snapshot_guest("one", STRANGER, "s2"),
            pool.rollback_guest("one", STRANGER, "s1"),
            pool.finish_rollback("one", STRANGER),
            pool.remove_guest_snapshot("one", STRANGER, "s1"),
        ):
            with pytest.raises(NotOursError):
                await call
        for missing in (
            pool.rollback_guest("one", OWNER, "s2"),
            pool.snapshot_guest("none", OWNER, "s1"),
            pool.rollback_guest("none", OWNER, "s1"),
            pool.list_guest_snapshots("none"),
        ):
            with pytest.raises(NotFoundError):
                await missing
        for name in ("..", "../../two", "a/b", "", "A", "a" * 41):
            with pytest.raises(NotFoundError):
                await pool.snapshot_guest("one", OWNER, name)
            with pytest.raises(NotFoundError):
                await pool.remove_guest_snapshot("one", OWNER, name)
        assert read(disk.rootfs / "etc/hello") == "now"
        assert [s.name for s in await pool.list_guest_snapshots("one")] == ["s1"]

    async def test_whose_tree_it_is(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        assert pool.guest_of(disk.rootfs) == "one"
        assert pool.guest_of(disk.rootfs.parent) is None
        assert pool.guest_of(Path("/somewhere/else/rootfs")) is None
        assert pool.features is not None

    @pytest.mark.parametrize("step", range(1, 10))
    async def test_killed_at_any_step_a_snapshot_is_whole_or_none(
        self,
        pool: Pool,
        template: Template,
        reopen: Callable[[], Pool],
        die_at: Callable[[Pool, int], None],
        monkeypatch: pytest.MonkeyPatch,
        step: int,
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        write(disk.rootfs / "etc/hello", "before")
        broken = reopen()
        await broken.ensure_ready()
        die_at(broken, step)
        with suppress(KeyboardInterrupt):
            await broken.snapshot_guest("one", OWNER, "s1")
            await broken.remove_guest_snapshot("one", OWNER, "s1")
        monkeypatch.undo()
        await pool.snapshot_guest("one", OWNER, "s1")
        write(disk.rootfs / "etc/hello", "after")
        await pool.rollback_guest("one", OWNER, "s1")
        assert read(disk.rootfs / "etc/hello") == "before"
        await pool.remove_guest("one", OWNER)
        assert not exists(disk.rootfs.parent)

    @pytest.mark.parametrize("step", range(1, 14))
    async def test_killed_at_any_step_a_rollback_is_done_or_undone(
        self,
        pool: Pool,
        template: Template,
        reopen: Callable[[], Pool],
        die_at: Callable[[Pool, int], None],
        monkeypatch: pytest.MonkeyPatch,
        step: int,
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=50 * MIB)
        quota = [d.quota_bytes for d in await pool.list_datasets() if d.name == "one"]
        for tree, name in ((disk.rootfs, "etc/hello"), (disk.docker, "image/id")):
            write(tree / name, "before")
        await pool.snapshot_guest("one", OWNER, "s1")
        for tree, name in ((disk.rootfs, "etc/hello"), (disk.docker, "image/id")):
            write(tree / name, "after")
        broken = reopen()
        await broken.ensure_ready()
        die_at(broken, step)
        with suppress(KeyboardInterrupt):
            await broken.rollback_guest("one", OWNER, "s1")
        monkeypatch.undo()
        await pool.finish_rollback("one", OWNER)
        await pool.clone(DIGEST, "one", OWNER, gid=GID)
        assert read(disk.rootfs / "etc/hello") == read(disk.docker / "image/id"), "never one of each"
        assert [d.quota_bytes for d in await pool.list_datasets() if d.name == "one"] == quota
        await pool.rollback_guest("one", OWNER, "s1")
        assert read(disk.rootfs / "etc/hello") == read(disk.docker / "image/id") == "before"
        assert [d.quota_bytes for d in await pool.list_datasets() if d.name == "one"] == quota
        await pool.remove_guest("one", OWNER)
        assert not exists(disk.rootfs.parent)

    async def test_killed_and_removed(
        self,
        pool: Pool,
        template: Template,
        reopen: Callable[[], Pool],
        die_at: Callable[[Pool, int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        await pool.snapshot_guest("one", OWNER, "s1")
        broken = reopen()
        await broken.ensure_ready()
        die_at(broken, 4)
        with suppress(KeyboardInterrupt):
            await broken.rollback_guest("one", OWNER, "s1")
        monkeypatch.undo()
        await pool.remove_guest("one", OWNER)
        assert not exists(disk.rootfs.parent)


class QuotaContract:
    """For drivers whose features say `quotas`."""

    async def test_a_guest_has_what_its_quota_says_beyond_the_template(
        self, pool: Pool, template: Template
    ) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=40 * MIB)
        assert [d.quota_bytes for d in await pool.list_datasets() if d.name == "one"] == [40 * MIB]
        assert await fill(disk.rootfs / "a", 20)
        usage = await pool.guest_usage("one")
        assert usage is not None
        assert 20 * MIB <= usage < 22 * MIB
        assert not await fill(disk.rootfs / "b", 30)
        await pool.set_guest_quota("one", OWNER, 80 * MIB)
        assert await fill(disk.rootfs / "c", 15)
        await pool.set_guest_quota("one", OWNER, None)
        assert await fill(disk.rootfs / "d", 60)
        assert [d.quota_bytes for d in await pool.list_datasets() if d.name == "one"] == [None]

    async def test_a_volume_has_what_its_quota_says(self, pool: Pool) -> None:
        path = await pool.ensure_volume(DATA, OWNER, gid=GID, quota=20 * MIB)
        assert await fill(path / "a", 10)
        assert not await fill(path / "b", 20)
        await pool.set_volume_quota(DATA, OWNER, 60 * MIB)
        assert await fill(path / "c", 20)
        usage = await pool.volume_usage(DATA)
        assert usage is not None
        assert usage > 20 * MIB

    async def test_a_limit_holds_after_a_rollback(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID, quota=60 * MIB)
        await pool.snapshot_guest("one", OWNER, "s1")
        assert await fill(disk.rootfs / "a", 20)
        await pool.rollback_guest("one", OWNER, "s1")
        assert [d.quota_bytes for d in await pool.list_datasets() if d.name == "one"] == [60 * MIB]
        assert await fill(disk.rootfs / "b", 20)
        assert not await fill(disk.rootfs / "c", 60)
        await pool.set_guest_quota("one", OWNER, 200 * MIB)
        assert await fill(disk.rootfs / "d", 20)

    async def test_the_shared_directory_is_for_sockets_only(self, pool: Pool, template: Template) -> None:
        await pool.import_template(template)
        disk = await pool.clone(DIGEST, "one", OWNER, gid=GID)
        assert not await fill(disk.shared / "data", 4)


async def make_archive(tmp_path: Path) -> Template:
    rootfs, docker = tmp_path / "r", tmp_path / "d"
    for directory in (rootfs / "etc", rootfs / "bin", docker / "image"):
        directory.mkdir(parents=True)
    write(rootfs / "etc/hello", "from the template")
    await asyncio.to_thread(os.chown, rootfs / "etc/hello", 101, 102)
    write(rootfs / "bin/su", "#!")
    (rootfs / "bin/su").chmod(0o4755)
    await check(["setcap", "cap_net_raw=ep", rootfs / "bin/su"], time_limit=10)
    write(docker / "image/id", "seed")
    assert await fill(rootfs / "weight", 12)
    tar = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--zstd"]
    await check([*tar, "-C", rootfs, "-cf", tmp_path / "rootfs.tar.zst", "."], time_limit=60)
    await check([*tar, "-C", docker, "-cf", tmp_path / "docker.tar.zst", "."], time_limit=60)
    return template_of(tmp_path / "rootfs.tar.zst", tmp_path / "docker.tar.zst")


def template_of(rootfs: Path, docker: Path) -> Template:
    """The template of these archives as they are now."""
    return Template(
        DIGEST, *(Archive(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in (rootfs, docker))
    )
