"""The store of builds: whole entries only, one builder at a time, nothing deleted through a mount."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dsecos_images.cache import BusyMountError, Cache, remove

HOLDER = """
import sys, pathlib
from dsecos_images.cache import Cache
with Cache(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def made(cache: Cache, text: str) -> Path:
    folder = cache.work / "new"
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


def test_an_entry_is_there_once_it_is_kept(cache: Cache) -> None:
    with cache.locked():
        cache.fresh_work()
        folder = made(cache, "one")
        assert not cache.has("image", "abc")
        cache.keep(folder, "image", "abc")
    assert cache.has("image", "abc")
    assert (cache.entry("image", "abc") / "file").read_text() == "one"


def test_a_newer_build_takes_the_place_of_an_older_one(cache: Cache) -> None:
    with cache.locked():
        cache.fresh_work()
        cache.keep(made(cache, "one"), "image", "abc")
        cache.keep(made(cache, "two"), "image", "abc")
    assert (cache.entry("image", "abc") / "file").read_text() == "two"


def test_what_a_killed_build_left_is_cleared_and_is_no_entry(cache: Cache) -> None:
    with cache.locked():
        cache.fresh_work()
        made(cache, "half")
    assert not cache.has("image", "abc")
    with cache.locked():
        assert list(cache.fresh_work().iterdir()) == []


def test_a_second_builder_waits_and_a_killed_one_blocks_nobody(cache: Cache) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(cache.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with (cache.root / "lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    holder.kill()
    holder.communicate()

    with cache.locked():
        pass


def test_entries_that_were_not_used_for_long_are_pruned(cache: Cache) -> None:
    now = time.time()
    with cache.locked():
        cache.fresh_work()
        for name, age_in_days in {"old": 40, "new": 1}.items():
            entry = cache.keep(made(cache, name), "image", name)
            os.utime(entry, (now, now - age_in_days * 86400))
        assert cache.prune(30, now) == [cache.entry("image", "old")]
    assert cache.has("image", "new")
    assert not cache.has("image", "old")


def test_an_entry_that_was_used_again_stays(cache: Cache) -> None:
    with cache.locked():
        cache.fresh_work()
        os.utime(cache.keep(made(cache, "x"), "image", "x"), (0, 0))
        cache.used("image", "x")
        assert cache.prune(30) == []


def test_nothing_is_deleted_through_a_mount(tmp_path: Path) -> None:
    mounted = tmp_path / "work" / "mounted"
    mounted.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mounted], check=True)
    try:
        (mounted / "precious").touch()
        with pytest.raises(BusyMountError, match="umount"):
            remove(tmp_path / "work")
        assert (mounted / "precious").exists()
    finally:
        subprocess.run(["umount", mounted], check=True)
    remove(tmp_path / "work")
    assert not (tmp_path / "work").exists()
