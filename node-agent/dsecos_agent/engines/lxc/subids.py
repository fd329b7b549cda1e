"""The range of host ids that guests' id maps come from, reserved for root in /etc/subuid and /etc/subgid.

Root needs that: where shadow's newuidmap is installed, liblxc insists on a reservation also for root, so that
nobody else is given the same ids (lxc_map_ids in liblxc's conf.c). What we add is remembered, so that `make
down` can take it away again.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.processes.files import write_atomically

FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True, slots=True)
class IdRange:
    """Host ids `base` to `base`+`count`-1."""

    base: int
    count: int

    def overlaps(self, other: "IdRange") -> bool:
        """They share an id."""
        return self.base < other.base + other.count and other.base < self.base + self.count

    def contains(self, other: "IdRange") -> bool:
        """Every id of `other` is in this range."""
        return self.base <= other.base and other.base + other.count <= self.base + self.count


def parse(text: str) -> list[tuple[str, IdRange]]:
    """Lines of subuid(5): who holds which range; a line that is none is passed over."""
    found = []
    for line in text.splitlines():
        who, _, numbers = line.partition(":")
        base, _, count = numbers.partition(":")
        if base.isdigit() and count.isdigit():
            found.append((who, IdRange(int(base), int(count))))
    return found


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    # Several instances on one host add their lines to the same files.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


class Subids:
    """Keeps one reservation; `memory` is the file that says what was added by us."""

    def __init__(self, wanted: IdRange, memory: Path, files: tuple[Path, ...] = FILES) -> None:
        """Nothing is touched before `reserve`."""
        self._wanted = wanted
        self._line = f"root:{wanted.base}:{wanted.count}"
        self._memory = memory
        self._files = files

    def reserve(self) -> None:
        """Let root hold the range. Raises UnsupportedError when somebody else holds a part of it."""
        for path in self._files:
            with _alone(path):
                self._reserve_in(path)

    def _reserve_in(self, path: Path) -> None:
        text = path.read_text() if path.exists() else ""
        held = parse(text)
        if any(who in {"root", "0"} and one.contains(self._wanted) for who, one in held):
            return
        taken = {who for who, one in held if who not in {"root", "0"} and one.overlaps(self._wanted)}
        if taken:
            raise UnsupportedError(
                f"ids {self._wanted.base} to {self._wanted.base + self._wanted.count - 1} belong in part to "
                f"{', '.join(sorted(taken))} in {path}: choose another DSECOS_GUEST_ID_BASE"
            )
        # Remembered first: a line that was remembered but not written is harmless to take away.
        self._remember({*self._remembered(), str(path)})
        write_atomically(
            path, text + ("" if text.endswith("\n") or not text else "\n") + self._line + "\n", mode=0o644
        )

    def release(self) -> None:
        """Take away what `reserve` added; what was there before stays."""
        for name in sorted(self._remembered()):
            with _alone(Path(name)):
                self._release_from(Path(name))
        self._memory.unlink(missing_ok=True)

    def _release_from(self, path: Path) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        if self._line in lines:
            lines.remove(self._line)
            write_atomically(path, "".join(f"{line}\n" for line in lines), mode=0o644)

    def _remembered(self) -> set[str]:
        try:
            return set(json.loads(self._memory.read_text())["added"][self._line])
        except (FileNotFoundError, ValueError, KeyError):
            return set()

    def _remember(self, files: set[str]) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._memory, json.dumps({"added": {self._line: sorted(files)}}))
