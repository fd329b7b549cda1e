"""A container that an administrator made with plain LXC becomes a Stack, lives as one, and is given back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud, conditions, until

NAME = "dsecos-e2e-by-hand"
"""Control groups of a machine bear the container's name."""

CONFIG = """\
lxc.uts.name = by-hand
lxc.rootfs.path = dir:{directory}/rootfs
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed
lxc.signal.halt = SIGUSR2
"""
INITTAB = "::respawn:/bin/busybox sleep 1000000\n::ctrlaltdel:/bin/busybox poweroff\n"


class ByHand:
    """The container."""

    def __init__(self, lxcpath: Path) -> None:
        self.lxcpath, self.directory = lxcpath, lxcpath / NAME

    def make(self) -> None:
        """Its files."""
        root = self.directory / "rootfs"
        for folder in ("bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "run", "root"):
            (root / folder).mkdir(parents=True)
        shutil.copy2("/usr/bin/busybox", root / "bin" / "busybox")
        for applet in ("bin/sh", "bin/cat", "bin/hostname", "sbin/init"):
            (root / applet).symlink_to("/bin/busybox")
        (root / "etc" / "inittab").write_text(INITTAB)
        self.config.write_text(CONFIG.format(directory=self.directory))

    @property
    def config(self) -> Path:
        return self.directory / "config"

    def lxc(self, tool: str, *more: str) -> str:
        """One of LXC's own tools, as its administrator uses it."""
        argv = [f"lxc-{tool}", "-P", str(self.lxcpath), "-n", NAME, *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout.strip()

    @property
    def init(self) -> int:
        """Pid of its init; -1 while it does not run."""
        return int(self.lxc("info", "-p", "-H") or -1)

    def remove(self) -> None:
        """Nothing is left."""
        if self.directory.exists():
            self.lxc("stop", "-k")
            until(lambda: self.init == -1, 30, every=0.1)
        shutil.rmtree(self.lxcpath, ignore_errors=True)


@pytest.fixture
def by_hand(cloud: Cloud) -> Iterator[ByHand]:
    """It runs; also what a dead run left is taken away."""
    container = ByHand(cloud.host_lxc)
    container.remove()
    container.make()
    container.lxc("start", "-d")
    assert container.init > 0
    yield container
    cloud.delete_stack("wiki")
    container.remove()


def adopt(cloud: Cloud) -> None:
    size = ("--cpu", "500m", "--memory", "256Mi", "--disk", "1Gi")
    cloud.dsecos("adopt", "wiki", "--node", "node-1", "--id", NAME, *size, "-n", cloud.namespace)


def test_it_is_taken_over_lives_as_a_stack_and_is_given_back_as_it_was(cloud: Cloud, by_hand: ByHand) -> None:
    before, init = by_hand.config.read_bytes(), by_hand.init
    adopt(cloud)
    assert by_hand.init == init, "it was not interrupted"
    stack = cloud.get("stack", "wiki", cloud.namespace)
    assert conditions(stack)["Ready"]["reason"] == "Adopted"
    assert conditions(stack)["NetworkReady"]["reason"] == "Adopted"
    assert cloud.guest("wiki")["status"]["lifecycle"]["cause"] == "Adopted"

    said = cloud.dsecos("exec", "wiki", "-n", cloud.namespace, "--", "hostname")
    assert said.strip() == "by-hand"
    cloud.dsecos("stop", "wiki", "-n", cloud.namespace)
    assert by_hand.init == -1
    cloud.dsecos("start", "wiki", "-n", cloud.namespace)
    again = by_hand.init
    assert again not in (-1, init)

    cloud.delete_stack("wiki")
    assert by_hand.init == again, "it goes on"
    assert by_hand.config.read_bytes() == before


def test_who_was_removed_by_hand_is_told_and_not_looked_for_again(cloud: Cloud, by_hand: ByHand) -> None:
    adopt(cloud)
    by_hand.remove()
    told = cloud.wait_condition("wiki", "GuestReady", "Drifted")
    assert told["status"] == "False"
    by_hand.make()
    by_hand.lxc("start", "-d")
    cloud.kubectl("annotate", "stack", "wiki", "-n", cloud.namespace, "note=look-again")
    cloud.wait_condition("wiki", "GuestReady", "Drifted")
    assert "dsecos.io" not in by_hand.config.read_text(), "one of the same name is somebody else"
