"""The folders of an instance, and the marker that says that a folder is ours to remove."""

import shutil
from pathlib import Path

import psutil

from dsecos_control_plane.errors import UnsafeHomeError
from dsecos_control_plane.files import folder, write
from dsecos_control_plane.identity import identity
from dsecos_control_plane.settings import Settings

MARKER = ".dsecos-home"


def prepare(settings: Settings) -> None:
    """Make the folders of an instance, each with the owner that writes to it.

    The home itself can be passed through but not listed by others (0711): every service finds its own files.

    Raises:
        UnsafeHomeError: the home is a folder that already holds something else.
    """
    home = settings.home
    if home.exists() and any(home.iterdir()) and not (home / MARKER).exists():
        msg = f"{home} holds files that are not DsecOS's; name another folder in DSECOS_HOME"
        raise UnsafeHomeError(msg)
    folder(home, mode=0o711)
    write(home / MARKER, f"{settings.instance}\n")
    folder(settings.run, mode=0o711)
    folder(settings.etc)
    folder(settings.logs)
    folder(settings.logs / "audit", mode=0o700, owner=identity(settings, "kube-apiserver"))
    folder(home / "etcd", mode=0o700, owner=identity(settings, "etcd"))
    folder(home / "registry", owner=identity(settings, "registry"))


def mounts_inside(home: Path) -> list[Path]:
    """Return what is mounted inside a folder, the innermost first."""
    inside = [Path(entry.mountpoint) for entry in psutil.disk_partitions(all=True)]
    return sorted({path for path in inside if path.is_relative_to(home)}, reverse=True)


def remove(settings: Settings) -> bool:
    """Remove the home with all data and return whether there was one.

    Raises:
        UnsafeHomeError: its marker is missing, or something is still mounted inside.
    """
    home = settings.home
    if not home.exists():
        return False
    if not (home / MARKER).exists():
        msg = f"{home} is not removed: it has no {MARKER}, so it was not made by DsecOS"
        raise UnsafeHomeError(msg)
    if mounts := mounts_inside(home):
        msg = f"{home} is not removed: still mounted inside: {', '.join(map(str, mounts))}"
        raise UnsafeHomeError(msg)
    shutil.rmtree(home)
    return True
