"""What a driver does: trees of files that can be made, cloned, limited and removed. `layout` builds a pool on
it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dsecos_agent.storage.protocol import PoolFeatures


@dataclass(frozen=True, slots=True)
class Budget:
    """Trees that share one limit. `anchor` is a tree that exists as long as they do and names the budget.

    Without members the anchor is what is limited.
    """

    anchor: Path
    members: tuple[Path, ...] = ()

    @property
    def trees(self) -> tuple[Path, ...]:
        """What is limited."""
        return self.members or (self.anchor,)


class Trees(Protocol):
    """Drivers: `btrfs.BtrfsTrees`, `directory.DirectoryTrees`. Paths are below the pool's root; parents
    exist.
    """

    @property
    def root(self) -> Path:
        """The pool's root directory."""

    async def ensure_ready(self) -> PoolFeatures:
        """Make or mount the pool. Raises PoolUnavailableError."""

    async def close(self) -> None:
        """Unmount if possible."""

    async def create(self, tree: Path) -> None:
        """An empty tree of mode 0755 that must not exist yet."""

    async def clone(self, source: Path, tree: Path, budget: Budget | None) -> None:
        """A writable copy that must not exist yet; what it holds beyond the source counts for the budget."""

    async def seal(self, tree: Path) -> None:
        """Put it on the disk and, where possible, make it read-only."""

    async def has_nested(self, tree: Path) -> bool:
        """It holds trees that somebody made within it: a clone would not hold them."""

    async def delete(self, tree: Path, budget: Budget) -> None:
        """Remove a tree with all that is in it; a missing one is fine."""

    async def limit(self, budget: Budget, quota: int | None) -> None:
        """Set a limit in bytes or lift it; ignored without quotas."""

    async def forget_budget(self, budget: Budget) -> None:
        """Called before the anchor is deleted, after the members were."""

    def quota(self, budget: Budget) -> int | None:
        """The limit in bytes; None: none."""

    def usage(self, budget: Budget) -> int | None:
        """Bytes used; None when not known."""

    def available(self) -> int | None:
        """A bound on the free bytes that the file system itself does not know; None: none."""


def is_full(message: str) -> bool:
    """A tool's words mean that there is no space left."""
    return "No space left" in message or "quota exceeded" in message.lower()
