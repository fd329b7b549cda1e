"""One real guest for all tests here: the node's own template, so Docker, compose and images are those that
users meet.
"""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest
from dsecos_agent.compose.runner import GuestCompose
from dsecos_agent.engines.lxc import LxcEngine
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import GuestConfig, IdMap, Limits, Mount, RootDirectory
from dsecos_agent.node.images import read_images
from dsecos_agent.storage import open_pool
from dsecos_agent.storage.protocol import Pool, Template

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
NAME = "one"
IDS = IdRange(3_200_000_000, 65536)


@dataclass(frozen=True)
class RunningGuest:
    """A guest whose Docker answers."""

    home: Path
    shared: Path

    def engine(self) -> LxcEngine:
        return LxcEngine(self.home / "lxc", self.home / "run", IDS)

    def compose(self) -> GuestCompose:
        return GuestCompose(self.engine())


def built_template(output: Path) -> Template:
    """What `dsecos-images build` makes; it costs minutes the first time and nothing later."""
    command = Path(sys.executable).with_name("dsecos-images")
    subprocess.run([command, "build", "--output", output], check=True, stdout=subprocess.DEVNULL)
    (image,) = read_images(output)
    return image.template


async def set_up(home: Path, pool: Pool, template: Template) -> RunningGuest:
    await pool.ensure_ready()
    await pool.import_template(template)
    disk = await pool.clone(template.digest, NAME, OWNER, gid=IDS.base, quota=4 << 30)
    guest = RunningGuest(home, disk.shared)
    engine = guest.engine()
    await engine.ensure_ready()
    await engine.write_config(
        GuestConfig(
            name=NAME,
            owner_uid=OWNER,
            root=RootDirectory(disk.rootfs),
            id_map=IdMap(IDS.base),
            limits=Limits(memory_bytes=2 << 30, pids=1000),
            mounts=(
                Mount(disk.docker, "/var/lib/docker"),
                Mount(disk.shared, "/run/dsecos", executable=False),
            ),
        )
    )
    await engine.start(NAME, OWNER)
    await guest.compose().wait_ready(guest.shared, time_limit=30)
    return guest


async def tear_down(guest: RunningGuest, pool: Pool) -> None:
    engine = guest.engine()
    await engine.destroy(NAME, OWNER)
    await engine.release_host()
    await pool.close()


@pytest.fixture(scope="module")
def guest() -> Iterator[RunningGuest]:
    home = Path(mkdtemp(prefix="dt", dir="/tmp"))
    home.chmod(0o711)
    pool = open_pool(home / "pools/default", driver="btrfs", size=8 << 30)
    try:
        running = asyncio.run(set_up(home, pool, built_template(home / "images")))
        yield running
        asyncio.run(tear_down(running, pool))
    finally:
        subprocess.run(["umount", home / "pools/default"], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(home)
