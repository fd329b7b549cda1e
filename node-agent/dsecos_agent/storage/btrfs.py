"""The `btrfs` driver: trees are subvolumes, clones are snapshots, limits are quota groups.

The file system lies in a sparse file, mounted through a loop device, unless the root is a btrfs already.
Quotas are simple ones where the kernel has them (6.7): an extent counts for the subvolume that wrote it, so a
clone starts at nothing, and a subvolume that a guest makes within its own counts for the guest. Then a
guest's trees share a group `1/<id of its anchor>`. With older kernels, quotas count what is not shared, and
the limit holds for each tree by itself.
"""

import asyncio
import contextlib
import enum
import os
from pathlib import Path

from dsecos_agent.adapter_errors import OutOfSpaceError
from dsecos_agent.processes import ToolFailedError, ToolMissingError, check, run
from dsecos_agent.storage import btrfs_ioctl
from dsecos_agent.storage.directory import free_bytes
from dsecos_agent.storage.protocol import PoolFeatures, PoolUnavailableError
from dsecos_agent.storage.trees import Budget, is_full

DEFAULT_SIZE = 64 << 30
SMALLEST_SIZE = 1 << 30
FREE_SHARE = 0.9
"""Of the host's free space that a new image may grow to: a host that is full would damage every guest."""

MOUNT_OPTIONS = "loop,nodev,noatime"
TOOL_LIMIT = 120.0
SYSFS = Path("/sys/fs/btrfs")


class Quotas(enum.StrEnum):
    """How the file system counts."""

    SIMPLE = "squota"
    FULL = "qgroup"
    NONE = "none"


class BtrfsTrees:
    """Trees are subvolumes of the file system in `image`, mounted at `root`."""

    def __init__(
        self, root: Path, image: Path, *, size: int = DEFAULT_SIZE, simple_quotas: bool = True
    ) -> None:
        """`size` in bytes, for an image that has to be made. `simple_quotas` False: count as older kernels
        do.
        """
        self._root = root
        self._image = image
        self._size = size
        self._want_simple = simple_quotas
        self._quotas = Quotas.NONE
        self._groups = Path()

    @property
    def root(self) -> Path:
        """The mount point."""
        return self._root

    async def ensure_ready(self) -> PoolFeatures:
        """Make the image, mount it, turn quotas on: what of that is missing. Raises PoolUnavailableError."""
        try:
            if not await asyncio.to_thread(self._is_mounted):
                await self._make_image()
                self._root.mkdir(parents=True, exist_ok=True)
                await check(
                    ["mount", "-t", "btrfs", "-o", MOUNT_OPTIONS, self._image, self._root],
                    time_limit=TOOL_LIMIT,
                )
            self._root.chmod(0o711)
            await self._turn_quotas_on()
        except (ToolFailedError, ToolMissingError, OSError) as error:
            raise PoolUnavailableError(f"pool {self._root} cannot be used: {error}") from error
        return PoolFeatures(driver="btrfs", quotas=self._quotas is not Quotas.NONE, instant_clones=True)

    async def close(self) -> None:
        """Unmount; while guests run that fails, and they keep their disks."""
        if await asyncio.to_thread(self._is_mounted):
            await run(["umount", self._root], time_limit=TOOL_LIMIT)

    async def create(self, tree: Path) -> None:
        """An empty subvolume."""
        await self._btrfs("subvolume", "create", tree)

    async def clone(self, source: Path, tree: Path, budget: Budget | None) -> None:
        """A snapshot."""
        into: list[str] = []
        if budget is not None and budget.members and self._quotas is Quotas.SIMPLE:
            group = self._group(budget.anchor, 1)
            if not self._sysfs(group).exists():
                await self._btrfs("qgroup", "create", group, self._root)
            into = ["-i", group]
        await self._btrfs("subvolume", "snapshot", *into, source, tree)

    async def seal(self, tree: Path) -> None:
        """Commit and make read-only."""
        await self._btrfs("filesystem", "sync", self._root)
        await self._btrfs("property", "set", "-ts", tree, "ro", "true")

    async def has_nested(self, tree: Path) -> bool:
        """Subvolumes that a guest made: a snapshot holds an empty directory in place of each."""
        listed = await check(["btrfs", "subvolume", "list", "-o", tree], time_limit=TOOL_LIMIT)
        return bool(listed.stdout.strip())

    async def delete(self, tree: Path, budget: Budget) -> None:
        """Remove the subvolume, and first those that a guest made within it."""
        if not await asyncio.to_thread(tree.exists):
            return
        result = await run(["btrfs", "-q", "subvolume", "delete", tree], time_limit=TOOL_LIMIT)
        if result.exit_code == 0:
            return
        # A guest that used up its quota could not even delete.
        with contextlib.suppress(ToolFailedError, OSError):
            await self.limit(budget, None)
        for nested in await asyncio.to_thread(_nested, tree):
            await self._btrfs("subvolume", "delete", nested)
        await self._btrfs("subvolume", "delete", tree)

    async def limit(self, budget: Budget, quota: int | None) -> None:
        """Limit the group, or each tree."""
        size = "none" if quota is None else str(quota)
        for group in self._limited(budget):
            await self._btrfs("qgroup", "limit", "-e", size, group, self._root)

    async def forget_budget(self, budget: Budget) -> None:
        """Remove the group; one that still counts deleted trees goes with a later call."""
        if self._quotas is Quotas.SIMPLE and budget.members:
            group = self._group(budget.anchor, 1)
            if self._sysfs(group).exists():
                await run(["btrfs", "qgroup", "destroy", group, self._root], time_limit=TOOL_LIMIT)
        await self._sweep_groups()

    def quota(self, budget: Budget) -> int | None:
        """The limit, the same for each tree where it is not shared."""
        for group in self._limited(budget):
            limit = _number(self._sysfs(group) / "max_exclusive")
            return limit or None
        return None

    def usage(self, budget: Budget) -> int | None:
        """Sum over the trees."""
        groups = self._limited(budget)
        return sum(_number(self._sysfs(group) / "exclusive") for group in groups) if groups else None

    def available(self) -> int | None:
        """A sparse image grows only as far as its host has space."""
        return free_bytes(self._image.parent) if self._image.exists() else None

    # Mounting

    def _is_mounted(self) -> bool:
        if not self._root.is_mount():
            return False
        kind = next(
            (
                line.partition(" - ")[2].split()[0]
                for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines())
                if line.split()[4] == str(self._root)
            ),
            "",
        )
        if kind != "btrfs":
            raise PoolUnavailableError(
                f"{self._root} is a mount point of {kind or 'something else'}, not btrfs"
            )
        return True

    async def _make_image(self) -> None:
        if self._image.exists():
            return
        self._image.parent.mkdir(parents=True, exist_ok=True)
        size = min(self._size, int(free_bytes(self._image.parent) * FREE_SHARE))
        if size < SMALLEST_SIZE:
            raise PoolUnavailableError(
                f"{self._image.parent} has less than {SMALLEST_SIZE >> 20} MiB for a pool"
            )
        temporary = self._image.with_suffix(".making")
        await asyncio.to_thread(_make_sparse, temporary, size)
        await check(["mkfs.btrfs", "-q", "-f", "-L", "dsecos", temporary], time_limit=TOOL_LIMIT)
        await asyncio.to_thread(temporary.rename, self._image)

    # Quotas

    async def _turn_quotas_on(self) -> None:
        uuid = (
            (await check(["findmnt", "-n", "-o", "UUID", self._root], time_limit=TOOL_LIMIT)).text().strip()
        )
        self._groups = SYSFS / uuid / "qgroups"
        if not self._groups.exists():
            try:
                if self._want_simple:
                    btrfs_ioctl.enable_simple_quotas(self._root)
                else:
                    await check(["btrfs", "quota", "enable", self._root], time_limit=TOOL_LIMIT)
            except OSError:
                await check(["btrfs", "quota", "enable", self._root], time_limit=TOOL_LIMIT)
        mode = self._groups / "mode"
        # Kernels before 6.7 know one way only and do not name it.
        self._quotas = Quotas(mode.read_text().strip()) if mode.exists() else Quotas.FULL

    @staticmethod
    def _group(tree: Path, level: int) -> str:
        return f"{level}/{btrfs_ioctl.subvolume_id(tree)}"

    def _sysfs(self, group: str) -> Path:
        return self._groups / group.replace("/", "_")

    def _limited(self, budget: Budget) -> list[str]:
        if self._quotas is Quotas.NONE:
            return []
        if self._quotas is Quotas.SIMPLE and budget.members:
            return [self._group(budget.anchor, 1)]
        return [self._group(tree, 0) for tree in budget.trees]

    async def _sweep_groups(self) -> None:
        # A group can be destroyed only once the kernel has cleaned up the deleted trees in it, a moment
        # after; and one of a deleted tree that a snapshot held on to stays in it until it is cleared.
        for path in self._groups.glob("1_*"):
            if (
                _number(path / "referenced") == 0
                and not (self._groups / path.name.replace("1_", "0_")).exists()
            ):
                group = path.name.replace("_", "/")
                destroy: list[str | Path] = ["btrfs", "qgroup", "destroy", group, self._root]
                if (await run(destroy, time_limit=TOOL_LIMIT)).exit_code != 0:
                    await run(["btrfs", "qgroup", "clear-stale", self._root], time_limit=TOOL_LIMIT)
                    await run(destroy, time_limit=TOOL_LIMIT)

    async def _btrfs(self, *arguments: str | Path) -> None:
        try:
            await check(["btrfs", "-q", *arguments], time_limit=TOOL_LIMIT)
        except ToolFailedError as error:
            if is_full(str(error)):
                raise OutOfSpaceError(f"pool {self._root} is full") from error
            raise


def _make_sparse(path: Path, size: int) -> None:
    with path.open("w") as image:
        os.fchmod(image.fileno(), 0o600)
        os.ftruncate(image.fileno(), size)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _nested(tree: Path) -> list[Path]:
    """Subvolumes below `tree`, the deepest first; os.walk follows no link."""
    found = [
        Path(directory) / name
        for directory, names, _ in os.walk(tree)
        for name in names
        if btrfs_ioctl.is_subvolume(Path(directory) / name)
    ]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)
