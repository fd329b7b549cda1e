"""Whose a dataset is and whether it is whole: one small file beside its trees, where no guest can see or
write it.

The record is written before the trees are made and again when they are complete, and it goes last when they
are removed. So whatever a crash leaves behind is recognised and made again; a directory without a record is
not ours and is left alone.
"""

import enum
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dsecos_agent.processes.files import write_atomically

FILE = "dataset.json"


class Stage(enum.StrEnum):
    """How far a dataset is."""

    MAKING = "making"
    READY = "ready"
    REVERTING = "reverting"
    """Complete, and its trees are about to be exchanged for fresh ones that lie beside them (a rollback)."""
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a dataset."""

    owner_uid: str | None
    stage: Stage
    template: str | None = None
    quota: int | None = None
    """Of a guest that is reverting: the limit that its fresh trees get."""
    created: str | None = None
    """Of a snapshot: when, in ISO 8601."""
    description: str = ""
    """Of a snapshot."""

    def at(self, stage: Stage) -> "Record":
        """The same, at another stage."""
        return replace(self, stage=stage)


def read(directory: Path) -> Record | None:
    """The record; None when there is none or it is not readable as one (then it is not ours)."""
    try:
        found = json.loads((directory / FILE).read_text())
        return Record(
            owner_uid=found["owner_uid"],
            stage=Stage(found["stage"]),
            template=found.get("template"),
            quota=found.get("quota"),
            created=found.get("created"),
            description=found.get("description", ""),
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def write(directory: Path, record: Record) -> None:
    """Replace the record; the directory is made if it is missing."""
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    directory.mkdir(exist_ok=True, mode=0o700)
    write_atomically(directory / FILE, json.dumps(asdict(record)))


def let_pass(directory: Path, gid: int) -> None:
    """Let root and this group through to the trees, and nobody else."""
    found = directory.stat()
    if (found.st_gid, found.st_mode & 0o777) != (gid, 0o710):
        os.chown(directory, 0, gid)
        directory.chmod(0o710)


def is_foreign(directory: Path) -> bool:
    """Something is there that we did not put there. (Empty: we were about to.)"""
    if read(directory) is not None or not directory.exists():
        return False
    return not directory.is_dir() or any(path.name != FILE + ".tmp" for path in directory.iterdir())


def forget(directory: Path) -> None:
    """Remove the record and then the directory, which must be empty but for it."""
    for path in (directory / FILE, directory / (FILE + ".tmp")):
        path.unlink(missing_ok=True)
    directory.rmdir()
