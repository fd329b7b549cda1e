"""What was last in force, kept on disk for the time at boot when the API server does not answer yet.

Default-deny has to hold then, and guests on local storage start then: the policy and the zones' links are
all that their network needs.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dsecos_agent.firewall.model import Policy
from dsecos_agent.links.protocol import Bridge, Transit
from dsecos_agent.processes.files import write_atomically


@dataclass(frozen=True, slots=True)
class LastKnown:
    """The node's network as it was last made."""

    policy: Policy = field(default_factory=Policy)
    bridges: tuple[Bridge, ...] = ()
    transits: tuple[Transit, ...] = ()


_ADAPTER = TypeAdapter(LastKnown)


def load(path: Path) -> LastKnown | None:
    """Read it; None when there is none or it cannot be read (then nothing but default-deny is known)."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def save(path: Path, known: LastKnown) -> None:
    """Write it, for root alone. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, _ADAPTER.dump_json(known).decode())
