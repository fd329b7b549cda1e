"""Writing into a fresh clone, before its first start.

Nothing of a guest ran there yet. All the same no path is followed: each component is opened by itself,
relative to the one before and without following links (openat(2), O_NOFOLLOW), so that a template cannot lead
out either.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsecos_api.names import REGISTRY_HOST


class UnsafePathError(OSError):
    """A component is a link, or the file is not a regular one."""


def point_to_registry(rootfs: Path, gateway: str, port: int) -> None:
    """Let the guest find its node's registry at its gateway. May be repeated. Raises OSError."""
    hosts = read_in(rootfs, "etc/hosts").decode(errors="replace")
    kept = [line for line in hosts.splitlines() if REGISTRY_HOST not in line.split()]
    write_in(rootfs, "etc/hosts", "\n".join([*kept, f"{gateway} {REGISTRY_HOST}", ""]).encode())
    try:
        daemon = json.loads(read_in(rootfs, "etc/docker/daemon.json"))
    except (FileNotFoundError, ValueError):
        return
    mirror = f"https://{REGISTRY_HOST}:{port}"
    if isinstance(daemon, dict) and daemon.get("registry-mirrors") not in (None, [mirror]):
        daemon["registry-mirrors"] = [mirror]
        write_in(rootfs, "etc/docker/daemon.json", json.dumps(daemon, indent=2).encode() + b"\n")


def use_resolver(rootfs: Path, content: str) -> None:
    """Give the guest this resolv.conf(5) in the place of whatever its template has, often a link. May be
    repeated. Raises OSError.
    """
    remove_in(rootfs, "etc/resolv.conf")
    write_in(rootfs, "etc/resolv.conf", content.encode())


def read_in(root: Path, path: str) -> bytes:
    """Content of a regular file below `root`. Raises OSError."""
    descriptor = _open(root, path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write_in(root: Path, path: str, content: bytes) -> None:
    """Replace the content of a regular file below `root`, or make it; its directory must exist.

    Raises OSError.
    """
    descriptor = _open(root, path, os.O_WRONLY | os.O_CREAT)
    with os.fdopen(descriptor, "wb") as file:
        file.truncate(0)
        file.write(content)


def remove_in(root: Path, path: str) -> None:
    """Remove a file, or a link itself, below `root`; one that is not there is fine. Raises OSError."""
    with _directory(root, path) as (directory, name), suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


@contextmanager
def _directory(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """Descriptor of the directory that holds `path`, and the last component."""
    *directories, name = path.split("/")
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(root, flags)
    try:
        for component in directories:
            below = os.open(component, flags, dir_fd=directory)
            os.close(directory)
            directory = below
        yield directory, name
    finally:
        os.close(directory)


def _open(root: Path, path: str, flags: int) -> int:
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _directory(root, path) as (directory, name):
        descriptor = os.open(name, flags, 0o644, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePathError(f"{path} is not a regular file")
    return descriptor
