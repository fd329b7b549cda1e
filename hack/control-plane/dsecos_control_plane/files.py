"""Write files in one step, with the right owner and mode from the start."""

import os
import tempfile
from pathlib import Path

from dsecos_control_plane.identity import Identity


def write(path: Path, content: bytes | str, *, mode: int = 0o644, owner: Identity | None = None) -> bool:
    """Write a file in one step (rename(2)) and return whether its content changed.

    Mode and owner are set also where the content is the same. `owner` None leaves the file to this process's
    user.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        _own(path, mode, owner)
        return False
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _own(fresh, mode, owner)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def folder(path: Path, *, mode: int = 0o755, owner: Identity | None = None) -> Path:
    """Make a folder with this mode and owner, or give them to the one that exists."""
    path.mkdir(parents=True, exist_ok=True)
    _own(path, mode, owner)
    return path


def _own(path: Path, mode: int, owner: Identity | None) -> None:
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)
    path.chmod(mode)
