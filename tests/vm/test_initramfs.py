"""Modules come after those that they need, and the archive is one that others read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.vm.initramfs import FOLDERS, archive, load_order

KNOWN = """\
kernel/net/9p/9pnet.ko.xz:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz
"""


def test_what_a_module_needs_is_loaded_first_and_once() -> None:
    assert [path.rpartition("/")[2] for path in load_order(KNOWN, {"9p", "9pnet_virtio"})] == [
        "9pnet.ko.xz",
        "netfs.ko.xz",
        "9p.ko.xz",
        "9pnet_virtio.ko.xz",
    ]


def test_a_module_that_the_kernel_lacks_is_an_error() -> None:
    with pytest.raises(KeyError, match="overlay"):
        load_order(KNOWN, {"overlay"})


def test_busybox_reads_the_archive(tmp_path: Path) -> None:
    files = {"init": b"#!/bin/sh\n", "modules/00-a.ko": b"\x7fELF", "empty": b""}
    subprocess.run(["busybox", "cpio", "-i"], input=archive(files), cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(FOLDERS)
