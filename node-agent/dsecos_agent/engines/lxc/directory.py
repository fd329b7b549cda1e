"""The guests below the lxcpath: finding them, whose they are, writing and removing their configurations.
Blocking calls.
"""

import shutil
from pathlib import Path

from dsecos_agent.adapter_errors import NotOursError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc import cgroups, state
from dsecos_agent.engines.lxc import config as lxc_config
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import GuestConfig, GuestState, ObservedGuest
from dsecos_agent.processes.files import write_atomically

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
        removed).
        """
        try:
            text = (self.of(name) / "config").read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        boot = state.read_boot(self.of(name))
        return ObservedGuest(
            name=name,
            owner_uid=lxc_config.owner_of(text),
            state=self._state(name, boot),
            init_pid=boot.init_pid if boot else None,
            config_digest=lxc_config.digest_of(text),
            booted_digest=boot.digest if boot else None,
            id_map=lxc_config.id_map_of(text),
            engine_id=name,
            settings=lxc_config.settings_of(text),
        )

    def _state(self, name: str, boot: state.Boot | None) -> GuestState:
        if boot is not None:
            try:
                frozen = cgroups.is_frozen(cgroups.of_process(boot.init_pid))
            except (FileNotFoundError, ProcessLookupError):
                return GuestState.STOPPING
            return GuestState.SUSPENDED if frozen else GuestState.RUNNING
        if not state.is_monitored(self._lxcpath, name):
            return GuestState.STOPPED
        was_up = (self.of(name) / "booted").exists()
        return GuestState.STOPPING if was_up else GuestState.STARTING

    def root(self, name: str) -> Path | None:
        """Its root directory, as configured."""
        return lxc_config.root_of(self._text(name))

    def ports(self, name: str) -> tuple[str, ...]:
        """The host's ends of its network interfaces, as configured."""
        return lxc_config.ports_of(self._text(name))

    def _text(self, name: str) -> str:
        try:
            return (self.of(name) / "config").read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def held(self, name: str) -> Path:
        """Is there while the guest is suspended by ourselves, for the moment that a snapshot takes."""
        return self.of(name) / "held"

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
        """Write a guest's configuration."""
        self.of(name).mkdir(mode=0o700, exist_ok=True)
        write_atomically(self.of(name) / "config", text)

    def remove(self, name: str) -> None:
        """Remove a guest's directory, the configuration last: what is half gone still says whose it is."""
        directory = self.of(name)
        if not (directory / "config").exists():
            return
        for path in directory.iterdir():
            if path.name != "config":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        (directory / "config").unlink()
        directory.rmdir()

    def prepare_start(self, name: str) -> Path:
        """Forget the last life; the path of the log for the next."""
        log = self.of(name) / "lxc.log"
        for stale in (log, self.of(name) / "booted", self.held(name)):
            stale.unlink(missing_ok=True)
        return log

    def log_tail(self, name: str) -> str:
        """The end of liblxc's log of this guest."""
        log = self.of(name) / "lxc.log"
        try:
            with log.open("rb") as lines:
                lines.seek(max(0, log.stat().st_size - LOG_TAIL))
                return lines.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
