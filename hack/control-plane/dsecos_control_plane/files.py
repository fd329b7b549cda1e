"""Write files in one step, with the right owner and mode from the start.

A folder may belong to the user of a service: links that such a user puts there are never followed.
"""

import os
import shutil
import tempfile
from pathlib import Path

from dsecos_control_plane.identity import Identity


def write(path: Path, content: bytes | str, *, mode: int = 0o644, owner: Identity | None = None) -> bool:
    """Write a file in one step (rename(2)) and return whether its content changed.

    Mode and owner are set also where the content is the same. `owner` None leaves the file to the user of
    this process.
    """
    data = content.encode() if isinstance(content, str) else content
    if _matches(path, data, mode, owner):
        return False
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _own(file.fileno(), mode, owner)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def read(path: Path, limit: int = 1 << 20) -> bytes | None:
    """Return the first `limit` bytes of a regular file; None if there is none, or a link in its place."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(limit)


def mirror(source: Path, target: Path) -> bool:
    """Make `target` a copy of the folder `source` and return whether it was none before."""
    if target.is_dir() and _listing(source) == _listing(target):
        return False
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.replace(target)
    return True


def folder(path: Path, *, mode: int = 0o755, owner: Identity | None = None) -> Path:
    """Make a folder with this mode and owner, or give them to the one that exists; its parent is ours."""
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _own(handle, mode, owner)
    finally:
        os.close(handle)
    return path


def _listing(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _matches(path: Path, data: bytes, mode: int, owner: Identity | None) -> bool:
    """Tell whether the file has this content; if so, it gets its owner and mode."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as file:
        if file.read() != data:
            return False
        _own(file.fileno(), mode, owner)
    return True


def _own(handle: int, mode: int, owner: Identity | None) -> None:
    if owner is not None:
        os.fchown(handle, owner.uid, owner.gid)
    os.fchmod(handle, mode)
