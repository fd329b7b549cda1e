"""The guests below the lxcpath: finding them, whose they are, writing and removing their configurations.
Blocking calls.

Each has a directory there. One that was adopted has a claim in it instead of a configuration: the name of the
container, whose own configuration says whether that is so.
"""

import contextlib
import errno
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.adapter_errors import NotOursError, OutOfSpaceError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc import block, cgroups, state
from dsecos_agent.engines.lxc import config as lxc_config
from dsecos_agent.engines.lxc.outside import CONFIG, CONTAINER, Outside
from dsecos_agent.engines.lxc.state import NOTE
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import GuestConfig, GuestState, ObservedGuest
from dsecos_agent.processes.files import write_atomically

LOG = "lxc.log"
HELD = "held"
CONDEMNED = "condemned"
"""Is there while an adopted container is being destroyed."""
LOG_TAIL = 4096
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where liblxc's tools find a guest: their options -P and -n."""

    lxcpath: Path
    name: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A container that was adopted."""

    container: str
    parts: block.Parts | None
    """Of its configuration; None: that is gone."""


class GuestDirectory:
    """What is on disk and, through it, what runs."""

    def __init__(self, lxcpath: Path, outside: Outside) -> None:
        """Nothing is read before it is asked for."""
        self._lxcpath = lxcpath
        self._outside = outside

    def of(self, name: str) -> Path:
        """What the engine keeps of a guest."""
        return self._lxcpath / name

    def place(self, name: str) -> Place:
        """Where it is."""
        taken = self.taken(name)
        return Place(self._outside.lxcpath, taken.container) if taken else Place(self._lxcpath, name)

    def claim(self, name: str) -> str | None:
        """The container that a guest is about to adopt, or has adopted."""
        try:
            container = (self.of(name) / block.CLAIM).read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return container if CONTAINER.fullmatch(container) else None

    def taken(self, name: str) -> Taken | None:
        """The container that a guest has adopted: it is claimed, and its configuration says so, too. One that
        is damaged, or gone, cannot say otherwise.
        """
        container = None if (self.of(name) / CONFIG).exists() else self.claim(name)
        if container is None:
            return None
        text = self._outside.read(container)
        parts = None if text is None else block.split(text)
        is_ours = parts is None or parts.damaged or parts.guest == str(self.of(name))
        return Taken(container, parts) if is_ours else None

    def list(self) -> list[ObservedGuest]:
        """Every guest, sorted by name."""
        names = sorted(self._lxcpath.iterdir()) if self._lxcpath.is_dir() else []
        found = (self.observe(path.name) for path in names)
        return [guest for guest in found if guest is not None]

    def life(self, name: str) -> state.Boot | None:
        """A guest's present life."""
        return self._life(name, self.taken(name))

    def _life(self, name: str, taken: Taken | None) -> state.Boot | None:
        if taken is None:
            return state.read_boot(self.of(name)) if self.claim(name) is None else None
        return state.read_boot(self.of(name)) or state.unnoted(self._outside.lxcpath, taken.container)

    def observe(self, name: str) -> ObservedGuest | None:
        """One guest; a directory without a configuration is none (it is about to be made or has just been
        removed), unless it still runs: then its life says whose it is.
        """
        text, taken = self._text(name), self.taken(name)
        boot = self._life(name, taken)
        if taken is not None:
            return self._observe_taken(name, taken, boot)
        if text is None and boot is None:
            return None
        noted = boot.owner_uid if boot is not None else None
        owner_uid = noted if text is None else lxc_config.owner_of(text)
        return ObservedGuest(
            name=name,
            owner_uid=owner_uid,
            state=self._state(name, boot, is_foreign=owner_uid is None),
            init_pid=boot.init_pid if boot else None,
            config_digest=lxc_config.digest_of(text) if text is not None else None,
            booted_digest=boot.digest if boot else None,
            id_map=lxc_config.id_map_of(text or ""),
            engine_id=name,
            settings=lxc_config.settings_of(text or ""),
        )

    def _observe_taken(self, name: str, taken: Taken, boot: state.Boot | None) -> ObservedGuest | None:
        parts = taken.parts
        if parts is None and boot is None:
            return None
        noted = boot.owner_uid if boot is not None else None
        owner_uid = noted if parts is None else parts.owner_uid
        body = None if parts is None else parts.body
        # Limits that it was not started with are not in force, whatever its configuration says.
        in_force = boot is None or parts is None or boot.digest == parts.limits_digest
        return ObservedGuest(
            name=name,
            owner_uid=owner_uid,
            state=self._state(name, boot, is_foreign=False),
            init_pid=boot.init_pid if boot else None,
            config_digest=lxc_config.digest_of(body) if body is not None and in_force else None,
            booted_digest=block.BOOT if boot else None,
            id_map=None,
            engine_id=taken.container,
            settings=lxc_config.settings_of(body or ""),
            adopted=True,
        )

    def _state(self, name: str, boot: state.Boot | None, *, is_foreign: bool) -> GuestState:
        if boot is not None:
            try:
                frozen = cgroups.is_frozen(cgroups.of_process(boot.init_pid))
            except (FileNotFoundError, ProcessLookupError):
                return GuestState.STOPPING
            # Asked last: the groups of one that was not ending then were its own.
            if state.is_ending(boot):
                return GuestState.STOPPING
            return GuestState.SUSPENDED if frozen else GuestState.RUNNING
        place = self.place(name)
        if not state.is_monitored(place.lxcpath, place.name):
            return GuestState.STOPPED
        if is_foreign:
            return GuestState.RUNNING  # its start left no note
        was_up = (self.of(name) / NOTE).exists()
        return GuestState.STOPPING if was_up else GuestState.STARTING

    def root(self, name: str) -> Path | None:
        """Its root directory, as configured."""
        return lxc_config.root_of(self._text(name) or "")

    def ports(self, name: str) -> tuple[str, ...]:
        """The host's ends of its network interfaces, as configured."""
        return lxc_config.ports_of(self._text(name) or "")

    def _text(self, name: str) -> str | None:
        try:
            return (self.of(name) / CONFIG).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def held(self, name: str) -> Path:
        """Is there while the guest is suspended by ourselves, for the moment that a snapshot takes."""
        return self.of(name) / HELD

    def owned(self, name: str, owner_uid: str) -> ObservedGuest | None:
        """One guest, which has to be this owner's. Raises NotOursError."""
        guest = self.observe(name)
        if guest is not None and guest.owner_uid != owner_uid:
            raise NotOursError("guest", name, wanted=owner_uid, found=guest.owner_uid)
        return guest

    def check_ids(self, config: GuestConfig, reserved: IdRange) -> None:
        """No guest gets ids that are not reserved or that another guest has. Raises UnsafeConfigError."""
        if config.id_map is None:
            return
        wanted = IdRange(config.id_map.base, config.id_map.count)
        if not reserved.contains(wanted):
            raise UnsafeConfigError(
                f"guest {config.name}: id map at {wanted.base} is not in the reserved range"
            )
        for other in self.list():
            if other.name != config.name and any(wanted.overlaps(taken) for taken in self._ranges(other)):
                raise UnsafeConfigError(
                    f"guest {config.name}: id map at {wanted.base} is in use by {other.name}"
                )

    def _ranges(self, guest: ObservedGuest) -> Iterable[IdRange]:
        if guest.id_map is not None:
            return [IdRange(guest.id_map.base, guest.id_map.count)]
        taken = self.taken(guest.name)
        return block.ranges_of(taken.parts.own) if taken is not None and taken.parts is not None else []

    def create(self, name: str, text: str) -> None:
        """Write a guest's configuration. Raises OutOfSpaceError."""
        with self._room(name):
            self.of(name).mkdir(mode=0o700, exist_ok=True)
            if self.claim(name) is not None:
                self._forget_claim(name)
            write_atomically(self.of(name) / CONFIG, text)

    @contextlib.contextmanager
    def _room(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise OutOfSpaceError(f"no room for guest {name} in {self._lxcpath}") from error

    def write_claim(self, name: str, container: str) -> None:
        """Say which container a guest is about to adopt. Raises OutOfSpaceError."""
        with self._room(name):
            self.of(name).mkdir(mode=0o700, exist_ok=True)
            if self.claim(name) != container:
                self._forget_claim(name)
                write_atomically(self.of(name) / block.CLAIM, f"{container}\n")
            (self.of(name) / CONDEMNED).unlink(missing_ok=True)

    def note(self, name: str, life: state.Boot) -> None:
        """Leave the note of an adopted container's life that its hook did not. Raises OutOfSpaceError."""
        with self._room(name):
            state.write_boot(self.of(name), life)

    def _forget_claim(self, name: str) -> None:
        # What is noted is the life of a container that was never adopted, or is no more.
        if (container := self.claim(name)) is not None:
            self._outside.tidy(container)
        for left in (NOTE, HELD, CONDEMNED, block.CLAIM):
            (self.of(name) / left).unlink(missing_ok=True)

    def condemn(self, name: str) -> bool:
        """Whether it is an adopted container that is there; its remains may be removed from now on. Raises
        UnsafeConfigError.
        """
        taken = self.taken(name)
        if taken is None:
            return False
        if taken.parts is not None:
            self._outside.check(taken.container)
        (self.of(name) / CONDEMNED).touch()
        return taken.parts is not None

    def remove(self, name: str) -> None:
        """Remove a guest's directory, the configuration last: what is half gone still says whose it is.

        Without one, only what we write is removed: a crash may have left it, and nobody else would.
        """
        directory = self.of(name)
        if not directory.is_dir():
            return
        if not (directory / CONFIG).exists():
            self._remove_remains(name)
            for left in (LOG, *(f"{each}.tmp" for each in (CONFIG, NOTE, block.CLAIM))):
                (directory / left).unlink(missing_ok=True)
            self._forget_claim(name)
            with contextlib.suppress(OSError):
                directory.rmdir()
            return
        for path in directory.iterdir():
            if path.name != CONFIG:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        (directory / CONFIG).unlink()
        directory.rmdir()

    def _remove_remains(self, name: str) -> None:
        if (container := self.claim(name)) is None or not (self.of(name) / CONDEMNED).exists():
            return
        remains = self._outside.directory(container)
        # What has a configuration has been made anew, by somebody else.
        if remains.is_dir() and not remains.is_symlink() and not (remains / CONFIG).exists():
            shutil.rmtree(remains)

    def prepare_start(self, name: str) -> Path:
        """Forget the last life; the path of the log for the next."""
        log = self.of(name) / LOG
        for stale in (log, self.of(name) / NOTE, self.held(name)):
            stale.unlink(missing_ok=True)
        return log

    def log_tail(self, name: str) -> str:
        """The end of liblxc's log of this guest."""
        log = self.of(name) / LOG
        try:
            with log.open("rb") as lines:
                lines.seek(max(0, log.stat().st_size - LOG_TAIL))
                return lines.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
