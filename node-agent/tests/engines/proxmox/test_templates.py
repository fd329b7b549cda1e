"""Archives and templates on a simulated Proxmox VE: uploaded once, found again, removed when ours and old."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest
from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.errors import ImageMissingError
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox.templates import CloneSources, Templates, archive_name
from dsecos_agent.storage.protocol import Archive
from dsecos_proxmox_simulator import Simulator, World
from dsecos_proxmox_simulator.faults import LostAnswer

from .parts import Parts, parts

IMAGE = "debian-13-docker"
UPLOAD = "POST /nodes/{node}/storage/{storage}/upload"
MIB = 2**20


class Lab:
    """A cluster, and a host with one archive."""

    def __init__(self, parts: Parts, home: Path) -> None:
        self.parts = parts
        self.home = home
        self.archive = self.write(b"the root file system")

    def write(self, content: bytes, *, digest: str = "") -> Archive:
        path = self.home / "rootfs.tar.zst"
        path.write_bytes(content)
        return Archive(path, digest or hashlib.sha256(content).hexdigest())

    def templates(self) -> Templates:
        """Of one agent."""
        made = self.parts
        return Templates(
            made.client, made.tasks, made.gates, made.settings, lambda i: self.archive if i == IMAGE else None
        )

    def uploads(self) -> int:
        return self.parts.simulator.calls.counts()[UPLOAD]

    def volumes(self) -> dict[str, int]:
        volumes = self.parts.simulator.world.volumes()
        return {volume.volid: volume.size for volume in volumes if "/dsecos-" in volume.volid}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    with Simulator(World()) as simulator:
        async with parts(simulator, tmp_path) as made:
            yield Lab(made, tmp_path)


async def test_an_archive_that_is_not_there_is_uploaded_under_its_contents_name(lab: Lab) -> None:
    volume = await lab.templates().ensure(IMAGE)
    assert volume == f"local:vztmpl/dsecos-{IMAGE}-{lab.archive.sha256[:12]}.tar.zst"
    assert lab.volumes() == {volume: len(b"the root file system")}


async def test_it_is_uploaded_once_however_many_ask_for_it(lab: Lab) -> None:
    templates = lab.templates()
    await asyncio.gather(*(templates.ensure(IMAGE) for _ in range(8)))
    await lab.templates().ensure(IMAGE)
    assert lab.uploads() == 1


async def test_another_build_is_another_archive(lab: Lab) -> None:
    first = await lab.templates().ensure(IMAGE)
    lab.archive = lab.write(b"another root file system")
    second = await lab.templates().ensure(IMAGE)
    assert set(lab.volumes()) == {first, second}


async def test_an_image_that_this_node_does_not_have_is_an_error(lab: Lab) -> None:
    with pytest.raises(ImageMissingError, match="alpine"):
        await lab.templates().ensure("alpine")
    lab.archive.path.unlink()
    with pytest.raises(ImageMissingError, match="cannot be read"):
        await lab.templates().ensure(IMAGE)


async def test_an_archive_that_is_not_what_was_built_does_not_stay(lab: Lab) -> None:
    lab.archive = lab.write(b"damaged", digest="0" * 64)
    with pytest.raises(AdapterError):
        await lab.templates().ensure(IMAGE)
    assert lab.volumes() == {}


async def test_an_upload_whose_answer_is_lost_is_found_again(lab: Lab) -> None:
    lab.parts.simulator.faults.once("POST", "/nodes/{node}/storage/{storage}/upload", LostAnswer())
    volume = await lab.templates().ensure(IMAGE)
    assert list(lab.volumes()) == [volume]
    assert lab.uploads() == 1


class Watched(io.FileIO):
    """A file that notes how much of it is asked for at a time."""

    pieces: ClassVar[list[int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(-1 if size is None else size)
        self.pieces.append(len(content))
        return content


async def test_a_large_archive_is_sent_in_pieces(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "FileIO", Watched)
    Watched.pieces.clear()
    lab.archive = lab.write(bytes(48 * MIB))
    volume = await lab.templates().ensure(IMAGE)
    assert lab.volumes()[volume] == 48 * MIB
    assert sum(Watched.pieces) == 48 * MIB
    assert max(Watched.pieces) < MIB


async def test_old_archives_of_ours_are_removed_and_nothing_else(lab: Lab) -> None:
    world = lab.parts.simulator.world
    kept = await lab.templates().ensure(IMAGE)
    old = f"local:vztmpl/{archive_name(IMAGE, Archive(Path('x'), '1' * 64))}"
    world.add_volume(old, MIB, "vztmpl")
    before = {volume.volid for volume in world.volumes()}
    gone = await lab.templates().prune([IMAGE], before=2**40)
    assert gone == [old]
    assert {volume.volid for volume in world.volumes()} == before - {old}
    assert kept in before


async def test_young_archives_stay_for_whoever_is_about_to_use_them(lab: Lab) -> None:
    await lab.templates().ensure(IMAGE)
    lab.archive = lab.write(b"another")
    assert await lab.templates().prune([IMAGE], before=0) == []


async def test_a_template_to_clone_is_found_by_name_and_tag(lab: Lab) -> None:
    world = lab.parts.simulator.world
    sources = CloneSources(lab.parts.client, lab.parts.settings, GuestKind.VM)
    world.add_guest(900, "pve1", "qemu", name=f"dsecos-{IMAGE}", tags="prod", template="1")
    world.add_guest(901, "pve1", "qemu", name=f"dsecos-{IMAGE}", tags="dsecos-template")
    with pytest.raises(ImageMissingError, match="no qemu templates on pve1"):
        await sources.ensure(IMAGE)
    world.add_guest(902, "pve1", "qemu", name=f"dsecos-{IMAGE}", tags="dsecos-template", template="1")
    assert await sources.ensure(IMAGE) == "902"
    world.add_guest(903, "pve1", "qemu", name=f"dsecos-{IMAGE}", tags="dsecos-template", template="1")
    with pytest.raises(ImageMissingError, match="2 qemu templates"):
        await sources.ensure(IMAGE)
