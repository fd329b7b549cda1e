"""What has to be known after a restart: what was proved, and what was not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsecos_api.hostpolicy import HostFirewall, Uplink
from pydantic import TypeAdapter, ValidationError

from dsecos_agent.firewall.drift import digest_of_text
from dsecos_agent.processes.files import write_atomically
from dsecos_agent.uplinks.model import Script


@dataclass(frozen=True, slots=True)
class Enforced:
    """What was put in force and proved."""

    firewall: HostFirewall | None = None
    text: str | None = None
    """The firewall as it was loaded."""
    proof: str = ""
    """What was reached with it."""
    uplinks: tuple[Uplink, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that is being made: until it is proved, `State.confirmed` and `links` are gone back to."""

    digest: str
    stopped: bool = False
    """The agent was asked to end in the middle; the change is not to blame."""
    links: Script = field(default_factory=Script)
    """Puts the links back as they were, were that not DsecOS' doing."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What was undone; it is not tried again."""

    digest: str
    message: str


@dataclass(frozen=True, slots=True)
class State:
    """All of it. Without anything: DsecOS has nothing of it on the node."""

    confirmed: Enforced | None = None
    pending: Pending | None = None
    failed: Failed | None = None


_ADAPTER = TypeAdapter(State)


def digest(firewall: HostFirewall | None, uplinks: Sequence[Uplink]) -> str:
    """By which what the spec says is known again."""
    parts = [each.model_dump_json() for each in (firewall, *uplinks) if each is not None]
    return digest_of_text("\n".join(parts))


def load(path: Path) -> State:
    """Read it; without a file, or with one that cannot be read, nothing is known."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return State()


def save(path: Path, state: State) -> None:
    """Write it, for root alone. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, _ADAPTER.dump_json(state).decode())
