"""The kernel is in the cache whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from dsecos_control_plane.errors import CommandError

from tests.vm import kernel as kernels
from tests.vm.kernel import depends, kernel

RECORD = """\
Package: linux-image-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)
Description: Linux for 64-bit PCs (meta-package)
"""


def test_the_package_is_the_one_that_the_release_points_to() -> None:
    assert depends(RECORD) == ("linux-image-6.1.0-56-amd64", "6.1.192-2")
    with pytest.raises(CommandError):
        depends("Package: linux-image-amd64\n")


def test_it_has_what_nodes_have() -> None:
    found = kernel()
    assert found.image.stat().st_size > 1_000_000
    known = (found.modules / "modules.dep").read_text()
    for module in ("8021q", "9p", "nft_fib_inet", "nf_conntrack_bridge", "vxlan"):
        assert f"/{module}.ko" in known


def test_it_is_unpacked_once_and_what_was_left_half_done_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[str] = []

    def unpack(package: str, folder: Path) -> None:
        unpacked.append(package)
        (folder / "boot").mkdir()
        if len(unpacked) == 1:
            raise KeyboardInterrupt
        (folder / "boot" / "vmlinuz-1").write_text("image")
        (folder / "lib" / "modules" / "1").mkdir(parents=True)

    monkeypatch.setattr(kernels, "_unpack", unpack)
    with pytest.raises(KeyboardInterrupt):
        kernel(tmp_path)
    found = kernel(tmp_path)
    assert found == kernel(tmp_path)
    assert found.image.read_text() == "image"
    assert len(unpacked) == 2
