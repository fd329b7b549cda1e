"""Debian's kernel for this release, unpacked in the cache; nothing of it is installed on this machine.

The one of `linux-image-amd64`: that for clouds lacks 9p, by which the guest sees our files.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from dsecos_control_plane.command import run
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.lock import locked
from dsecos_control_plane.settings import Settings

METAPACKAGE = "linux-image-amd64"
"""Depends on the newest kernel of the release, by name and version."""


@dataclass(frozen=True)
class Kernel:
    """What is needed to boot it."""

    image: Path
    modules: Path
    """The folder of one release, with what depmod(8) makes."""


def kernel(cache: Path | None = None) -> Kernel:
    """The newest that apt knows of; downloaded (70 MB, unpacked 400 MB) where the cache lacks it.

    Raises CommandError: apt-get finds none.
    """
    root = (cache or Settings().cache) / "kernel"
    with locked(root / "lock"):
        try:
            return _cached(root)
        except CommandError:  # no package lists, or old ones
            run(["apt-get", "update", "--quiet"])
            return _cached(root)


def depends(record: str) -> tuple[str, str]:
    """Name and version of the package behind the metapackage, from what apt-cache(8) shows of it. Pure."""
    found = re.search(r"^Depends: .*?(linux-image-\S+) \(= ([^)]+)\)", record, re.MULTILINE)
    if found is None:
        raise CommandError(f"{METAPACKAGE} depends on no kernel:\n{record}")
    return found[1], found[2]


def _cached(root: Path) -> Kernel:
    name, version = depends(run(["apt-cache", "show", "--no-all-versions", METAPACKAGE]))
    folder = root / f"{name}_{version}"
    if not folder.is_dir():
        fresh = root / ".new"
        shutil.rmtree(fresh, ignore_errors=True)  # of one that was killed
        fresh.mkdir()
        _unpack(f"{name}={version}", fresh)
        fresh.rename(folder)
    return _found(folder)


def _unpack(package: str, folder: Path) -> None:
    # As root: the user _apt may not write where the cache is.
    run(["apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root", package], cwd=folder)
    (archive,) = folder.glob("*.deb")
    run(["dpkg-deb", "--extract", archive, folder])
    archive.unlink()
    if not (folder / "lib").exists():  # Debian 13 has them below /usr
        (folder / "lib").symlink_to("usr/lib")
    run(["depmod", "--basedir", folder, _found(folder).modules.name])


def _found(folder: Path) -> Kernel:
    (image,), (modules,) = folder.glob("boot/vmlinuz-*"), folder.glob("lib/modules/*")
    return Kernel(image, modules)
