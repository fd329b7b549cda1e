"""What the agent knows of a guest and cannot observe, in one file a guest, out of the guest's reach.

    state/guests/<guest>.json        mode 0600

A record is written before the step that it allows and after the step that it proves, so a crash at any point
costs at most a repeated step.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from dsecos_api.lifecycle import Lifecycle
from dsecos_api.types import DeletionPolicy
from pydantic import TypeAdapter, ValidationError

from dsecos_agent.nodefirewall.render import Forgotten
from dsecos_agent.processes.files import write_atomically
from dsecos_agent.storage.protocol import VolumeRef


class Fate(StrEnum):
    """What became of a guest whose object is gone, as its deletionPolicy said."""

    RETAINED = "Retained"
    """Stopped; its disk is kept."""
    ORPHANED = "Orphaned"
    """Left running, with the rules that it had."""


@dataclass(frozen=True, slots=True)
class VolumeFate:
    """What is to become of one volume."""

    ref: VolumeRef
    pool: str
    policy: DeletionPolicy


@dataclass(frozen=True, slots=True)
class Removal:
    """A deletion that has begun: enough to end it even if the object is gone before."""

    policy: DeletionPolicy
    pool: str | None
    """Of the guest's disk; None: it has none."""
    volumes: tuple[VolumeFate, ...] = ()
    adopted: bool = False
    """It was there before us: it is given up rather than left with our marks."""


@dataclass(frozen=True, slots=True)
class Record:
    """One guest."""

    owner_uid: str
    life: Lifecycle | None = None
    """Where it is in its life: what an action that was cut short had begun cannot be observed. None: it was
    never looked at.
    """
    adopted: bool = False
    """It was taken over: nobody looks for it by its id any more, and no rules of ours hold for it."""
    boot: str = ""
    """Boot of the host (boot_id) in which it was last up."""
    autostart: bool = False
    """Start it at boot even if the API server does not answer."""
    order: int = 100
    """Of the start at boot; lower numbers first."""
    delay: int = 0
    """Seconds after its start at boot until the next order is started."""
    prepared: bool = False
    """The guest knows the node's registry."""
    started: bool = False
    """It may have run: from now on its disk is hostile and no path in it is followed."""
    started_at: str | None = None
    """RFC 3339."""
    compose_digest: str | None = None
    """Of the document that was last brought up to the end."""
    applied: tuple[str, ...] = ()
    """Digests that its configuration may have by our doing: the one that was written last and, while another
    is being written, that one. Any other is somebody else's.
    """
    drift: tuple[str, ...] = ()
    """Settings that were found changed by somebody else, as last told."""
    restart: str | None = None
    """The restart request that was carried out last, or was there before the guest."""
    restart_refused: str | None = None
    """The one that came while it was at rest."""
    link: str | None = None
    """Host's end of its network interface, where the engine names it."""
    engine_node: str | None = None
    """Node of the engine's cluster that it was last seen on."""
    removal: Removal | None = None
    removed: bool = False
    """All steps of the removal were done; what a listing cannot show (half-made or half-removed disks) is
    gone too.
    """
    fate: Fate | None = None
    forgotten: Forgotten | None = None


_ADAPTER = TypeAdapter(Record)


class Records:
    """All records of this node, read once and written through."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._records: dict[str, Record] = {}
        for path in folder.glob("*.json"):
            try:
                self._records[path.stem] = _ADAPTER.validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue  # as if it had never been written: its steps are repeated

    def get(self, name: str) -> Record | None:
        """One guest's record."""
        return self._records.get(name)

    def names(self) -> list[str]:
        """Every guest that has one."""
        return sorted(self._records)

    def forgotten(self) -> list[Forgotten]:
        """The rules of guests that were left running."""
        return [record.forgotten for record in self._records.values() if record.forgotten]

    def link(self, name: str) -> str | None:
        """Host's end of a guest's network interface, where the engine names it and has told."""
        record = self._records.get(name)
        return None if record is None else record.link

    def orphaned(self) -> list[str]:
        """Guests that were left running."""
        return [name for name, record in self._records.items() if record.fate is Fate.ORPHANED]

    def put(self, name: str, record: Record) -> None:
        """Write a record if it differs. Raises OSError."""
        if self._records.get(name) != record:
            write_atomically(
                self._folder / f"{name}.json", _ADAPTER.dump_json(record, by_alias=True).decode()
            )
            self._records[name] = record

    def update(self, name: str, owner_uid: str, **changes: Any) -> Record:
        """Change some fields; a record of another owner is begun anew. Raises OSError."""
        record = self._records.get(name)
        if record is None or record.owner_uid != owner_uid:
            record = Record(owner_uid)
        record = replace(record, **changes)
        self.put(name, record)
        return record

    def drop(self, name: str) -> None:
        """Forget a guest. Raises OSError."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)
        self._records.pop(name, None)
