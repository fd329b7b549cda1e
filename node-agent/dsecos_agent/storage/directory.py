"""The `dir` driver: plain directories, for hosts without btrfs.

Clones are copies (sharing blocks where the file system can, cp(1) --reflink), so they cost time and space;
there are no quotas.
"""

import asyncio
import os
from pathlib import Path

from dsecos_agent.adapter_errors import OutOfSpaceError
from dsecos_agent.processes import ToolFailedError, check
from dsecos_agent.storage.protocol import PoolFeatures
from dsecos_agent.storage.trees import Budget, is_full

COPY_LIMIT = 600.0
"""Seconds that the copy or the removal of one tree may take."""


class DirectoryTrees:
    """Trees are directories below `root`."""

    def __init__(self, root: Path) -> None:
        """Nothing is touched before `ensure_ready`."""
        self._root = root

    @property
    def root(self) -> Path:
        """The pool's root directory."""
        return self._root

    async def ensure_ready(self) -> PoolFeatures:
        """Make the root directory."""
        await asyncio.to_thread(os.makedirs, self._root, mode=0o711, exist_ok=True)
        await asyncio.to_thread(self._root.chmod, 0o711)
        return PoolFeatures(driver="dir", quotas=False, instant_clones=False)

    async def close(self) -> None:
        """Nothing is mounted."""

    async def create(self, tree: Path) -> None:
        """An empty directory."""
        await asyncio.to_thread(tree.mkdir, 0o755)

    async def clone(self, source: Path, tree: Path, budget: Budget | None) -> None:  # noqa: ARG002 - no quotas
        """Copy. Raises OutOfSpaceError."""
        try:
            await check(["cp", "-a", "--reflink=auto", source, tree], time_limit=COPY_LIMIT)
        except ToolFailedError as error:
            if is_full(str(error)):
                raise OutOfSpaceError(f"no space for a copy of {source.parent.name}") from error
            raise

    async def seal(self, tree: Path) -> None:
        """Flush the file system."""
        await check(["sync", "-f", tree], time_limit=COPY_LIMIT)

    async def has_nested(self, tree: Path) -> bool:  # noqa: ARG002 - a copy holds all
        """Never."""
        return False

    async def delete(self, tree: Path, budget: Budget) -> None:  # noqa: ARG002 - no quotas
        """Remove; rm(1) follows no link and, so told, crosses into no other file system."""
        await check(["rm", "-rf", "--one-file-system", "--", tree], time_limit=COPY_LIMIT)

    async def limit(self, budget: Budget, quota: int | None) -> None:
        """No quotas."""

    async def forget_budget(self, budget: Budget) -> None:
        """No quotas."""

    def quota(self, budget: Budget) -> int | None:  # noqa: ARG002 - no quotas
        """No quotas."""
        return None

    def usage(self, budget: Budget) -> int | None:  # noqa: ARG002 - counting would mean reading every directory
        """Not known."""
        return None

    def available(self) -> int | None:
        """The file system knows."""
        return None


def free_bytes(path: Path) -> int:
    """Bytes that root may still write on the file system of `path`."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
