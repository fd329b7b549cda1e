"""What cannot be observed: which VMID a guest is to get, and which task of ours may be on its way.

One small file a guest, replaced as a whole and flushed to the disk before the call that it announces.
Blocking, for the milliseconds of a flush: nothing may come between the note and the call.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

from dsecos_runtime import fault_point, get_logger

from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox import upid
from dsecos_agent.processes.files import write_atomically

MAKERS = frozenset({"vzcreate", "qmcreate", "vzclone", "qmclone", "vzrestore", "qmrestore"})

REMEMBERED = 8
"""Ended tasks that are kept by guest, so that they are not taken for one that was lost."""


def is_creation(task: str, vmid: int) -> bool:
    """Whether a task's id is that of the creation of this guest (a clone's names its template instead)."""
    made = upid.parse(task)
    return made.kind in MAKERS and made.id == str(vmid)


@dataclass(frozen=True, slots=True)
class Claim:
    """An id that is to be this guest's, and nobody else's of ours."""

    vmid: int
    owner_uid: str
    kind: GuestKind
    node: str
    adopted: bool = False
    """It was there before: nothing is made under this id, and nothing that this note alone speaks of is
    removed.
    """


@dataclass(frozen=True, slots=True)
class Intent:
    """A task that we are about to begin, or have begun."""

    verb: str
    node: str
    vmid: int | None
    since: float
    """When, by our clock."""
    detail: str = ""
    """What tells two of a verb apart, for instance a snapshot's name."""
    upid: str = ""
    """Empty: the answer has not come, or we did not live to read it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is noted of one guest."""

    claim: Claim | None = None
    intent: Intent | None = None
    ended: tuple[str, ...] = ()
    """Tasks whose result was read, the latest last."""

    def claimed(self, claim: Claim) -> "Entry":
        """With this claim in place of any other."""
        return replace(self, claim=claim)

    def begun(self, intent: Intent) -> "Entry":
        """With this task on its way."""
        return replace(self, intent=intent)

    def made(self, vmid: int) -> bool:
        """The last task of ours that is known to have ended was the creation of this guest."""
        return bool(self.ended) and is_creation(self.ended[-1], vmid)

    def over(self) -> "Entry":
        """With no task on its way."""
        done = (self.intent.upid,) if self.intent and self.intent.upid else ()
        return replace(self, intent=None, ended=(*self.ended, *done)[-REMEMBERED:])


class Journal:
    """The notes of all guests, below one directory. Blocking."""

    def __init__(self, directory: Path, point: Callable[[str], None] = fault_point) -> None:
        """Makes the directory when something is written. One process at a time has it."""
        self._directory = directory
        self._point = point
        for half_written in directory.glob("*.json.tmp"):
            # Its writer was killed.
            half_written.unlink(missing_ok=True)

    def read(self, guest: str) -> Entry:
        """What is noted; an empty entry when nothing is."""
        try:
            return _parse(self._file(guest).read_text())
        except FileNotFoundError:
            return Entry()
        except (ValueError, KeyError, TypeError) as error:
            # Replaced as a whole, so only the disk can do this. The guests' marks say nearly all of it again.
            get_logger().warning("note of a guest is unreadable and left out", guest=guest, error=str(error))
            return Entry()

    def write(self, guest: str, entry: Entry) -> None:
        """Replace what is noted."""
        self._point("proxmox-before-note")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._file(guest), json.dumps(asdict(entry)))
        self._point("proxmox-after-note")

    def forget(self, guest: str) -> None:
        """Nothing is noted any more."""
        self._point("proxmox-before-note")
        self._file(guest).unlink(missing_ok=True)
        self._point("proxmox-after-note")

    def claims(self) -> Mapping[int, str]:
        """VMID -> guest, for all that we have claimed."""
        found = {}
        for path in self._directory.glob("*.json"):
            guest = unquote(path.stem)
            claim = self.read(guest).claim
            if claim is not None:
                found[claim.vmid] = guest
        return found

    def _file(self, guest: str) -> Path:
        return self._directory / f"{quote(guest, safe='')}.json"


def _parse(text: str) -> Entry:
    data = json.loads(text)
    claim, intent = data["claim"], data["intent"]
    return Entry(
        claim=Claim(**{**claim, "kind": GuestKind(claim["kind"])}) if claim else None,
        intent=Intent(**intent) if intent else None,
        ended=tuple(data["ended"]),
    )
