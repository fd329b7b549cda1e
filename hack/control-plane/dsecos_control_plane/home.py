"""The folders of an instance, and the marker that says that a folder is ours to remove."""

import os
import shutil
from pathlib import Path

import psutil
from pydantic import ValidationError

from dsecos_control_plane.errors import UnsafeHomeError
from dsecos_control_plane.files import folder, read, write
from dsecos_control_plane.identity import identity
from dsecos_control_plane.settings import SOURCE, Settings

MARKER = ".dsecos-home"
"""File that says that a folder is ours, and with which settings it was last started."""

LASTING = ("instance", "link_prefix", "guest_id_base")
"""Settings that are in the names and ids of what an instance made, and so cannot change during its life."""

CLI = "dsecos"
"""The command line of DsecOS: beside kubectl, so that one PATH has both."""


def prepare(settings: Settings) -> None:
    """Make the folders of an instance, each with the owner that writes to it.

    The home itself can be passed through but not listed by others (0711): every service finds its own files.

    Raises:
        UnsafeHomeError: the home holds something else, or an instance of another name.
    """
    home = settings.home
    if home.exists() and any(home.iterdir()) and not (home / MARKER).exists():
        msg = f"{home} holds files that are not DsecOS's; name another folder in DSECOS_HOME"
        raise UnsafeHomeError(msg)
    if before := recorded(home):
        changed = [name for name in LASTING if getattr(before, name) != getattr(settings, name)]
        if changed:
            names = ", ".join(f"DSECOS_{name.upper()}={getattr(before, name)}" for name in changed)
            msg = f"{home} was made with {names}, which cannot change; make clean removes it"
            raise UnsafeHomeError(msg)
    folder(home, mode=0o711)
    write(home / MARKER, settings.model_dump_json(indent=2) + "\n", mode=0o600)
    folder(settings.run, mode=0o711)
    folder(settings.etc)
    folder(settings.logs)
    folder(settings.logs / "audit", mode=0o700, owner=identity(settings, "kube-apiserver"))
    folder(home / "etcd", mode=0o700, owner=identity(settings, "etcd"))
    folder(home / "registry", owner=identity(settings, "registry"))
    folder(settings.bin)
    _link(settings.bin / CLI, SOURCE / ".venv" / "bin" / CLI)


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink() or link.readlink() != target:
        fresh = link.with_name(f".{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(link)


def recorded(home: Path) -> Settings | None:
    """Return the settings that an instance was last started with, or None if a folder holds none."""
    content = read(home / MARKER)
    if content is None or home.stat().st_uid != os.geteuid():
        return None
    try:
        found = Settings.model_validate_json(content)
    except ValidationError:
        return None
    return found if found.home == home else None


def mounts_inside(home: Path) -> list[Path]:
    """Return what is mounted inside a folder, the innermost first; what is mounted twice is there twice."""
    inside = [Path(entry.mountpoint) for entry in psutil.disk_partitions(all=True)]
    return sorted((path for path in inside if path.is_relative_to(home)), reverse=True)


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
