"""A build that is killed leaves no mount and no entry, and what still runs is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from dsecos_images import build
from dsecos_images.cache import Cache
from dsecos_images.guest import BuildGuest
from dsecos_images.process import run

from tests.patience import until

from .conftest import Built

BUILD = """
import sys, pathlib
from dsecos_images import build
from dsecos_images.cache import Cache
build.build(Cache(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


def processes_about(word: object) -> list[str]:
    """Command lines of other running processes that have a word in their arguments or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if str(word).encode() in command + environment and entry.name != str(os.getpid()):
            found.append(command.decode(errors="replace").replace("\0", " "))
    return found


def test_a_killed_build_leaves_no_process_no_mount_and_no_entry(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    building = subprocess.Popen([sys.executable, "-c", BUILD, str(cache), str(tmp_path / "out")])
    until(lambda: any("apt-get" in line for line in processes_about(cache)))

    building.send_signal(signal.SIGKILL)
    building.wait()

    until(lambda: processes_about(cache) == [])
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert {path.name for path in cache.iterdir()} == {"lock", "work"}
    assert not (tmp_path / "out").exists()


def test_a_guest_that_a_killed_build_left_running_is_stopped(built: Built, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.locked():
        machine = BuildGuest(cache.fresh_work() / "guest")
    machine.rootfs.mkdir(parents=True)
    run([*build.UNPACK, "-C", machine.rootfs, "-xf", built.template / "rootfs.tar.zst"])
    with machine.started():
        machine.wait_for_docker()
        assert build.prune(cache, older_than_days=1) == []
    assert not machine.work.exists()
    assert processes_about(machine.name) == []
