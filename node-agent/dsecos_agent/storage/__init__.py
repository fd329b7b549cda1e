"""Pools keep templates, guests' disks and volumes. `protocol` says what any pool offers; `open_pool` makes
one.
"""

import shutil
from pathlib import Path

from dsecos_agent.storage.btrfs import DEFAULT_SIZE, BtrfsTrees
from dsecos_agent.storage.directory import DirectoryTrees
from dsecos_agent.storage.layout import LayoutPool
from dsecos_agent.storage.protocol import Pool

__all__ = ["BtrfsTrees", "DirectoryTrees", "LayoutPool", "Pool", "has_btrfs", "open_pool"]


def has_btrfs() -> bool:
    """The host has the kernel's btrfs and its tools."""
    known = Path("/proc/filesystems").read_text().split()
    return "btrfs" in known and shutil.which("mkfs.btrfs") is not None


def open_pool(root: Path, *, driver: str | None = None, size: int = DEFAULT_SIZE) -> Pool:
    """A pool at `root`; `driver` btrfs or dir, None: btrfs where the host has it.

    The btrfs image is `<root>.img`, at most `size` bytes. A pool that once was made keeps its driver.
    """
    image = root.with_name(root.name + ".img")
    if driver is None:
        is_directory_pool = root.is_dir() and not image.exists() and any(root.iterdir())
        driver = "btrfs" if image.exists() or (has_btrfs() and not is_directory_pool) else "dir"
    return LayoutPool(BtrfsTrees(root, image, size=size) if driver == "btrfs" else DirectoryTrees(root))
