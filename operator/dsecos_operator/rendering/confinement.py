"""The command line that runs a program without network, credentials or privileges.

bubblewrap gives it its own user, mount, network, process and IPC namespaces and a file system that holds the
Python that runs it, its libraries and Docker Compose, read-only, and an empty /tmp. It works without
privileges where the kernel lets users make user namespaces (user_namespaces(7), bwrap(1)).
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

LOADER = "/run/docker-compose"
"""Where the sandbox has Docker Compose's program."""


class Confinement(StrEnum):
    """How the renderer is confined."""

    BUBBLEWRAP = "bubblewrap"
    NONE = "none"


def command(confinement: Confinement, binary: Path, module: str) -> list[str]:
    """Runs `python -m module <path of Docker Compose>`. The sandbox dies with its parent."""
    if confinement is Confinement.NONE:
        return [sys.executable, "-I", "-m", module, str(binary)]
    return [
        "bwrap",
        *("--unshare-all", "--die-with-parent", "--new-session", "--clearenv"),
        *("--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"),
        *("--tmpfs", "/tmp"),  # noqa: S108 - the sandbox's own; first, since the next may lie below /tmp
        *(argument for path in _python_paths() for argument in ("--ro-bind", path, path)),
        *_usr_merge(),
        *("--dev", "/dev", "--chdir", "/"),
        *(("--ro-bind", str(binary), LOADER) if binary.is_file() else ()),
        *("--", sys.executable, "-I", "-m", module, LOADER),
    ]


def _python_paths() -> list[str]:
    """/usr, the interpreter's folders and those that packages are imported from; no folder twice."""
    wanted = ["/usr", sys.base_prefix, sys.prefix, *(path for path in sys.path if Path(path).is_dir())]
    kept: list[Path] = []
    for path in sorted({Path(entry).absolute() for entry in wanted}, key=lambda entry: len(entry.parts)):
        if path != Path("/") and not any(path.is_relative_to(parent) for parent in kept):
            kept.append(path)
    return [str(path) for path in kept]


def _usr_merge() -> list[str]:
    """/bin, /lib and so on, as the host has them: links into /usr, or folders."""
    arguments: list[str] = []
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            arguments += ["--ro-bind", name, name]
    return arguments
