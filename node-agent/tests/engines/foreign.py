"""Containers as an administrator makes them: plain LXC, in an lxcpath of the host's own."""

import asyncio
import os
import shutil
from itertools import count
from pathlib import Path

from dsecos_agent.engines.lxc import state
from dsecos_agent.processes import check, run

from .conftest import make_rootfs

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
        self.directory.mkdir(mode=0o755, parents=True)
        lxcpath.chmod(0o755)
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
        shutil.rmtree(self.directory, ignore_errors=True)

    def group(self, controller: str, file: str) -> str:
        """One file of its control group (version 1)."""
        groups = Path("/sys/fs/cgroup") / controller
        return (groups / f"lxc.payload.{self.name}" / file).read_text().strip()
