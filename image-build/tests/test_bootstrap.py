"""A build that is killed leaves nothing: no process, no mount, no entry."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BUILD = """
import sys, pathlib
from dsecos_images import build
from dsecos_images.cache import Cache
build.build(Cache(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


def processes_about(folder: Path) -> list[str]:
    """Command lines of running processes that name a folder in their arguments or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text and entry.name != str(os.getpid()):
            found.append((entry / "cmdline").read_text(errors="replace").replace("\0", " "))
    return found


def until(condition: object, timeout: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


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
