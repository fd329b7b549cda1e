"""Containers as an administrator makes them: plain LXC, in an lxcpath of the host's own."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from dsecos_agent.engines.lxc import LxcEngine, cgroups, state
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import Adopted, GuestConfig, Limits
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.processes import check, run

from tests.patience import async_until

from .conftest import make_rootfs
from .contract_hooks import MIB, OWNER

IDS = IdRange(3_100_000_000, 65536 * 4)

LIMITS = Limits(cpu_millis=500, memory_bytes=256 * MIB, pids=100)
OURS = ("50000", str(256 * MIB), "100")
NONE = ("-1", "9223372036854771712", "max")
"""What `in_force` tells with these limits, and with none."""

NUMBERS = count()
"""Control groups bear the container's name, so no other test, and no other run, may use it."""

CONFIG = """\
# Made by hand: \xe9t\xe9.
lxc.uts.name = {name}
lxc.rootfs.path = dir:{directory}/rootfs
  lxc.net.0.type=empty
lxc.signal.halt = SIGUSR2
lxc.mount.auto = proc:mixed
lxc.start.auto = 1
{more}# its last line"""
"""Privileged, with hooks of version 0, with bytes that are no UTF-8 and without a line end at its end."""


class Foreign:
    """One of them."""

    def __init__(self, lxcpath: Path, more: str = "") -> None:
        """Make it; stopped."""
        self.lxcpath = lxcpath
        self.name = f"ext-web-{os.getpid()}-{next(NUMBERS)}"
        self.directory = lxcpath / self.name
        self.directory.mkdir(parents=True)
        lxcpath.chmod(0o755)
        self.directory.chmod(0o770)  # as lxc-create does
        make_rootfs(self.directory / "rootfs")
        text = CONFIG.format(name=self.name, directory=self.directory, more=more)
        self.config.write_bytes(text.encode("latin-1"))
        self.config.chmod(0o640)

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.directory / "config"

    async def start(self, *options: str) -> None:
        """With the engine knowing nothing of it."""
        await check(["lxc-start", "-P", self.lxcpath, "-n", self.name, *options], time_limit=30)

    async def stop(self) -> None:
        """The same."""
        await check(["lxc-stop", "-k", "-P", self.lxcpath, "-n", self.name], time_limit=30)

    def life(self) -> state.Boot | None:
        """Whether it runs, and since when."""
        return state.unnoted(self.lxcpath, self.name)

    def init(self) -> int:
        """Pid of its init; it has to run."""
        life = self.life()
        assert life is not None
        return life.init_pid

    async def restart(self) -> None:
        """By hand."""
        await self.stop()
        await self.gone()
        await self.start()

    async def gone(self) -> None:
        """Wait until nothing of it runs any more."""
        for _ in range(1000):
            if not state.is_monitored(self.lxcpath, self.name):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{self.name} does not end")

    async def raze(self) -> None:
        """Take it away by force; also what is half destroyed already."""
        await run(["lxc-stop", "-k", "-P", self.lxcpath, "-n", self.name], time_limit=30)
        life = self.life()
        assert life is None, "it is still there"
        await self.gone()
        await async_until(lambda: cgroups.remove_empty(self.name))
        shutil.rmtree(self.directory, ignore_errors=True)

    def group(self, controller: str, file: str) -> str:
        """One file of its control group (version 1)."""
        groups = Path("/sys/fs/cgroup") / controller
        return (groups / f"lxc.payload.{self.name}" / file).read_text().strip()


class AdoptingLxc:
    """Tests of an engine and the containers of its host."""

    @pytest.fixture
    def fresh(self, home: Path) -> Callable[[], Engine]:
        """A new engine on the same world, as after a restart of the agent."""
        return lambda: LxcEngine(home / "lxc", home / "run", IDS, outside=home / "host")

    @pytest.fixture
    async def engine(self, fresh: Callable[[], Engine]) -> AsyncIterator[Engine]:
        """With no guest in it."""
        engine = fresh()
        await engine.ensure_ready()
        yield engine
        await engine.close()
        await engine.release_host()

    @pytest.fixture
    async def make(self, home: Path) -> AsyncIterator[Callable[..., Foreign]]:
        """Makes containers by hand, with more lines in their configuration."""
        made: list[Foreign] = []

        def one(more: str = "") -> Foreign:
            made.append(Foreign(home / "host", more))
            return made[-1]

        yield one
        for each in made:
            await each.raze()


def wanted(foreign: Foreign | str, **changes: object) -> GuestConfig:
    """The guest `web` that adopts it."""
    name = foreign if isinstance(foreign, str) else foreign.name
    config = GuestConfig("web", OWNER, Adopted(name), None, limits=LIMITS)
    return replace(config, **changes)  # type: ignore[arg-type] # a test's own words


def in_force(foreign: Foreign) -> tuple[str, str, str]:
    """Its limits, as the kernel has them."""
    return (
        foreign.group("cpu", "cpu.cfs_quota_us"),
        foreign.group("memory", "memory.limit_in_bytes"),
        foreign.group("pids", "pids.max"),
    )
