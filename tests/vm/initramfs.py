"""The first files that the guest has: busybox, the modules for our files, and what brings it up."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from stat import S_IFDIR, S_IFREG

MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What is needed before our files are there; all else is loaded when it is asked for."""
FOLDERS = ("dev", "host", "modules", "proc", "root", "sys", "upper")
HERE = Path(__file__).parent


def initramfs(modules: Path) -> bytes:
    """For a kernel with these modules."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is not installed"
    files = {
        "busybox": Path(busybox).read_bytes(),
        "init": (HERE / "init.sh").read_bytes(),
        "serve": (HERE / "serve.sh").read_bytes(),
    }
    known = (modules / "modules.dep").read_text()
    builtin = {_name(line) for line in (modules / "modules.builtin").read_text().split()}
    for number, path in enumerate(load_order(known, set(MODULES) - builtin)):
        files[f"modules/{number:02}-{_name(path)}.ko"] = _plain(modules / path)
    return archive(files)


def load_order(known: str, names: set[str]) -> list[str]:
    """The paths of modules and of all that they depend on, in an order in which they can be loaded.

    `known` is modules.dep(5). Raises KeyError: there is no such module. Pure.
    """
    needs = {path: words.split() for path, _, words in (line.partition(":") for line in known.splitlines())}
    paths = {_name(path): path for path in needs}
    order: dict[str, None] = {}

    def add(path: str) -> None:
        for each in needs[path]:
            add(each)
        order[path] = None

    for name in sorted(names):
        add(paths[name])
    return list(order)


def archive(files: Mapping[str, bytes]) -> bytes:
    """FOLDERS and files as the kernel unpacks them: "newc" of cpio(5). All may be executed. Pure."""

    def entries() -> Iterator[bytes]:
        for number, folder in enumerate(FOLDERS, start=1):
            yield _entry(number, folder, S_IFDIR | 0o755, b"")
        for number, (name, data) in enumerate(files.items(), start=1 + len(FOLDERS)):
            yield _entry(number, name, S_IFREG | 0o755, data)
        yield _entry(0, "TRAILER!!!", 0, b"")

    return b"".join(entries())


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device and rdev (two each), length of the name, checksum
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _name(path: str) -> str:
    return PurePath(path).name.partition(".")[0]


def _plain(module: Path) -> bytes:
    """Debian 13 compresses them."""
    return lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes()
