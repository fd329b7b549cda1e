"""What the btrfs tools of a Debian 12 cannot do, by ioctl(2) (linux/btrfs.h)."""

import fcntl
import os
import struct
from pathlib import Path

MAGIC = 0x94
READ_WRITE = 3
FIRST_FREE_OBJECTID = 256
"""Inode number of every subvolume's root directory (linux/btrfs_tree.h)."""

QUOTA_CTL, INO_LOOKUP = 40, 18
ENABLE_SIMPLE_QUOTA = 4


def _call(path: Path, number: int, argument: bytearray) -> None:
    request = READ_WRITE << 30 | len(argument) << 16 | MAGIC << 8 | number
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.ioctl(descriptor, request, argument)
    finally:
        os.close(descriptor)


def enable_simple_quotas(path: Path) -> None:
    """Count each extent for the subvolume that first wrote it (Linux 6.7). Raises OSError when the kernel
    cannot.
    """
    _call(path, QUOTA_CTL, bytearray(struct.pack("QQ", ENABLE_SIMPLE_QUOTA, 0)))


def subvolume_id(path: Path) -> int:
    """Number of the subvolume that `path` is in. Raises OSError."""
    argument = bytearray(struct.pack("QQ", 0, FIRST_FREE_OBJECTID).ljust(4096, b"\0"))
    _call(path, INO_LOOKUP, argument)
    return int(struct.unpack_from("Q", argument)[0])


def is_subvolume(path: Path) -> bool:
    """`path` is the root of a subvolume, not a link to one; only meaningful below a btrfs mount."""
    return path.is_dir() and not path.is_symlink() and path.stat().st_ino == FIRST_FREE_OBJECTID
