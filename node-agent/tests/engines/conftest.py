"""Tiny guests: busybox as init, so that a test costs milliseconds."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

BUSYBOX = Path("/usr/bin/busybox")
APPLETS = (
    "sh",
    "init",
    "sleep",
    "cat",
    "env",
    "id",
    "hostname",
    "touch",
    "stat",
    "ls",
    "kill",
    "ip",
    "mount",
    "dd",
    "seq",
)

INITTAB = """\
::sysinit:/bin/true
::respawn:/bin/sleep 100000
"""


def make_rootfs(root: Path) -> Path:
    """A root file system that boots."""
    for directory in ("bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "mnt"):
        (root / directory).mkdir(parents=True)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    for applet in (*APPLETS, "true", "false", "head", "mknod", "wc", "stty", "tty", "echo", "ping"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "sbin/init").symlink_to("../bin/busybox")
    (root / "etc/inittab").write_text(INITTAB)
    (root / "tmp").chmod(0o1777)
    return root


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: liblxc names sockets after it."""
    directory = Path(mkdtemp(prefix="dt", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)
