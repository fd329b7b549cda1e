"""A container that an administrator made with plain LXC, for an instance to take over."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.e2e.cloud import Cloud, until

CONFIG = """\
lxc.uts.name = by-hand
lxc.rootfs.path = dir:{directory}/rootfs
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed
lxc.signal.halt = SIGUSR2
"""
INITTAB = "::respawn:/bin/busybox sleep 1000000\n::ctrlaltdel:/bin/busybox poweroff\n"


class ByHand:
    """The container. Control groups of a machine bear its name, so that is the instance's own."""

    def __init__(self, cloud: Cloud) -> None:
        self.lxcpath = cloud.host_lxc
        self.name = f"by-hand-{cloud.port_base}"
        self.directory = self.lxcpath / self.name

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
        argv = [f"lxc-{tool}", "-P", str(self.lxcpath), "-n", self.name, *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout.strip()

    @property
    def init(self) -> int:
        """Pid of its init; -1 while it does not run."""
        return int(self.lxc("info", "-p", "-H") or -1)

    def start(self) -> None:
        """By hand."""
        self.lxc("start", "-d")
        assert self.init > 0

    def adopt(self, cloud: Cloud, stack: str) -> None:
        """Have a Stack take it over, by the command that users have."""
        size = ("--cpu", "500m", "--memory", "256Mi", "--disk", "1Gi")
        cloud.dsecos("adopt", stack, "--node", "node-1", "--id", self.name, *size, "-n", cloud.namespace)

    def remove(self) -> None:
        """Nothing is left."""
        if self.directory.exists():
            self.lxc("stop", "-k")
            until(lambda: self.init == -1, 30, every=0.1)
        shutil.rmtree(self.lxcpath, ignore_errors=True)
