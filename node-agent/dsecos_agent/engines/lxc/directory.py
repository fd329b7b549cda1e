"""The guests below the lxcpath: finding them, whose they are, writing and removing their configurations.
Blocking calls.
"""

import contextlib
import errno
import shutil
from pathlib import Path

from dsecos_agent.adapter_errors import NotOursError, OutOfSpaceError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc import cgroups, state
from dsecos_agent.engines.lxc import config as lxc_config
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import GuestConfig, GuestState, ObservedGuest
from dsecos_agent.processes.files import write_atomically

CONFIG = "config"
NOTE = "booted"
"""Of the guest's present life, by the hook in its configuration."""
LOG = "lxc.log"
HELD = "held"
LOG_TAIL = 4096
"""Bytes."""


class GuestDirectory:
    """What is on disk and, through it, what runs."""

    def __init__(self, lxcpath: Path) -> None:
        """Nothing is read before it is asked for."""
        self._lxcpath = lxcpath

    def of(self, name: str) -> Path:
        """The guest's own directory."""
        return self._lxcpath / name

    def list(self) -> list[ObservedGuest]:
        """Every guest, sorted by name."""
        if not self._lxcpath.is_dir():
            return []
        found = (self.observe(path.name) for path in sorted(self._lxcpath.iterdir()))
        return [guest for guest in found if guest is not None]

    def observe(self, name: str) -> ObservedGuest | None:
        """One guest; a directory without a configuration is none (it is about to be made or has just been
        removed), unless it still runs: then its life says whose it is.
        """
        text = self._text(name)
        boot = state.read_boot(self.of(name))
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

    def _state(self, name: str, boot: state.Boot | None, *, is_foreign: bool) -> GuestState:
        if boot is not None:
            try:
                frozen = cgroups.is_frozen(cgroups.of_process(boot.init_pid))
            except (FileNotFoundError, ProcessLookupError):
                return GuestState.STOPPING
            return GuestState.SUSPENDED if frozen else GuestState.RUNNING
        if not state.is_monitored(self._lxcpath, name):
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
            if other.name == config.name or other.id_map is None:
                continue
            if wanted.overlaps(IdRange(other.id_map.base, other.id_map.count)):
                raise UnsafeConfigError(
                    f"guest {config.name}: id map at {wanted.base} is in use by {other.name}"
                )

    def create(self, name: str, text: str) -> None:
        """Write a guest's configuration. Raises OutOfSpaceError."""
        try:
            self.of(name).mkdir(mode=0o700, exist_ok=True)
            write_atomically(self.of(name) / CONFIG, text)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            text = f"no room for the configuration of guest {name} in {self._lxcpath}"
            raise OutOfSpaceError(text) from error

    def remove(self, name: str) -> None:
        """Remove a guest's directory, the configuration last: what is half gone still says whose it is.

        Without one, only what we write is removed: a crash may have left it, and nobody else would.
        """
        directory = self.of(name)
        if not directory.is_dir():
            return
        if not (directory / CONFIG).exists():
            for left in (f"{CONFIG}.tmp", NOTE, LOG, HELD):
                (directory / left).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                directory.rmdir()
            return
        for path in directory.iterdir():
            if path.name != CONFIG:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        (directory / CONFIG).unlink()
        directory.rmdir()

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
