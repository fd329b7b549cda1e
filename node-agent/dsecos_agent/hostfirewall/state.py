"""What has to be known after a restart: the firewall that was proved, and what was not."""

from dataclasses import dataclass
from pathlib import Path

from dsecos_api.hostpolicy import HostFirewall
from pydantic import TypeAdapter, ValidationError

from dsecos_agent.firewall.drift import digest_of_text
from dsecos_agent.processes.files import write_atomically


@dataclass(frozen=True, slots=True)
class Enforced:
    """A firewall that was put in force and proved."""

    firewall: HostFirewall
    text: str
    """As it was loaded."""
    proof: str = ""
    """What was reached with it."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that is being made: until it is proved, `State.confirmed` is what to go back to."""

    digest: str
    stopped: bool = False
    """The agent was asked to end in the middle; the change is not to blame."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A firewall that was undone; it is not tried again."""

    digest: str
    message: str


@dataclass(frozen=True, slots=True)
class State:
    """All of it. Without anything: DsecOS has no firewall on the node."""

    confirmed: Enforced | None = None
    pending: Pending | None = None
    failed: Failed | None = None


_ADAPTER = TypeAdapter(State)


def digest(firewall: HostFirewall) -> str:
    """By which a firewall is known again."""
    return digest_of_text(firewall.model_dump_json())


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
