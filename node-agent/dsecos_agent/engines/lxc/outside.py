"""The host's own containers: those of its lxcpath, which somebody else makes. Blocking calls."""

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from dsecos_agent.adapter_errors import AdapterError, NotFoundError, OutOfSpaceError, UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc.state import ABSTRACT_SOCKET_LIMIT

CONFIG = "config"
TEMPORARY = "config.dsecos"
CONTAINER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
"""The names that can be adopted, as in the API: never a path."""


def _is_writable(found: os.stat_result) -> bool:
    """By others than root and its group, to which lxc-create gives all rights."""
    by_group = found.st_mode & stat.S_IWGRP and found.st_gid != 0
    return bool(found.st_uid != 0 or by_group or found.st_mode & stat.S_IWOTH)


class Outside:
    """Looks below `lxcpath`: the string that administrators name it by, for liblxc's sockets bear it."""

    def __init__(self, lxcpath: Path) -> None:
        """Nothing is read before it is asked for."""
        self.lxcpath = lxcpath

    def directory(self, name: str) -> Path:
        """A container's own. Raises UnsafeConfigError."""
        if not CONTAINER.fullmatch(name):
            raise UnsafeConfigError(f"{name!r} is not the name of a container")
        return self.lxcpath / name

    def check(self, name: str) -> None:
        """Hooks of a container's configuration run as root of the host: it has to be root's own, and what it
        seems to be. (The directory of one with an id map belongs to its root if lxc-create has made it.)

        Raises NotFoundError, UnsafeConfigError, UnsupportedError.
        """
        directory = self.directory(name)
        if not os.path.lexists(directory / CONFIG):
            raise NotFoundError(f"there is no container {name} in {self.lxcpath}")
        if len(f"{directory}/command") > ABSTRACT_SOCKET_LIMIT:
            raise UnsupportedError(f"{directory} is too long: liblxc names its sockets after it")
        for path, is_right, kind in (
            (self.lxcpath.resolve(), stat.S_ISDIR, "directory"),
            (directory, stat.S_ISDIR, "directory"),
            (directory / CONFIG, stat.S_ISREG, "file"),
        ):
            found = path.lstat()
            if not is_right(found.st_mode):
                raise UnsafeConfigError(f"{path} is no {kind}: container {name} is left as it is")
            if _is_writable(found):
                mode = "711" if kind == "directory" else "640"
                raise UnsafeConfigError(
                    f"{path} can be written by others than root, and hooks in it are run as root: container "
                    f"{name} is left as it is. `chown root:root {path} && chmod {mode} {path}` makes it fit"
                )

    def read(self, name: str) -> str | None:
        """A container's configuration, with surrogate escapes; None when there is none."""
        try:
            return (self.directory(name) / CONFIG).read_bytes().decode(errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, name: str, text: str) -> None:
        """Replace a container's configuration at once; mode and owner stay. Raises OutOfSpaceError,
        AdapterError.
        """
        config, temporary = self.directory(name) / CONFIG, self.directory(name) / TEMPORARY
        try:
            like = config.stat()
            with temporary.open("wb") as out:
                os.fchown(out.fileno(), like.st_uid, like.st_gid)
                os.fchmod(out.fileno(), stat.S_IMODE(like.st_mode))
                out.write(text.encode(errors="surrogateescape"))
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(config)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            kind = OutOfSpaceError if is_full else AdapterError
            raise kind(f"cannot write {config}: {error.strerror}") from error

    def tidy(self, name: str) -> None:
        """Take away what a write that was killed has left."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self.directory(name) / TEMPORARY).unlink()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other agent of this host, nor another call of this one, gives or takes containers meanwhile."""
        try:
            directory = os.open(self.lxcpath, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            yield  # nothing to be taken
            return
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)
