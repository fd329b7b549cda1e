"""A store of finished builds, by key.

`<root>/<kind>/<key>/` is one finished build and never changes. A build grows in `<root>/work/` and becomes
an entry by one rename, so that whoever is killed midway leaves no half entry. One builder at a time works.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsecos_images.progress import say


class BusyMountError(Exception):
    """Something is mounted below a folder that was to be deleted."""


class Cache:
    """The store below `root`, made as needed and for root only: templates hold set-uid programs."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.work = self.root / "work"

    def entry(self, kind: str, key: str) -> Path:
        """Where an entry is, or would be."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the entry is there, complete."""
        return self.entry(kind, key).is_dir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for ourselves. The lock ends with the process, however that ends."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("  another build is running; waiting for it ...")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def fresh_work(self) -> Path:
        """An empty work folder, cleared of what a killed build left. Only while locked."""
        remove(self.work)
        self.work.mkdir(mode=0o700)
        return self.work

    def keep(self, built: Path, kind: str, key: str) -> Path:
        """Make `built`, a folder in the work folder, an entry instead of an older one. Only while locked."""
        entry = self.entry(kind, key)
        entry.parent.mkdir(exist_ok=True, mode=0o700)
        if entry.exists():
            entry.rename(self.work / f"replaced-{kind}-{key}")
        built.rename(entry)
        return entry

    def used(self, kind: str, key: str) -> None:
        """Remember that an entry was of use now; `prune` goes by it."""
        os.utime(self.entry(kind, key))

    def prune(self, older_than_days: float, now: float | None = None) -> list[Path]:
        """Remove entries that were not used for so long, and return them. Only while locked."""
        limit = (time.time() if now is None else now) - older_than_days * 86400
        kinds = [path for path in self.root.iterdir() if path.is_dir() and path != self.work]
        old = [entry for kind in kinds for entry in sorted(kind.iterdir()) if entry.stat().st_mtime < limit]
        for entry in old:
            remove(entry)
        return old


def remove(folder: Path) -> None:
    """Delete a tree, if it is there. Raises BusyMountError rather than deleting through a mount."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [mount for mount in mounts if Path(mount).is_relative_to(folder)]
    if below:
        raise BusyMountError(f"{folder} is not deleted: {', '.join(below)} is mounted there; umount it first")
    if folder.exists():
        shutil.rmtree(folder)
