"""What a schedule is played against, whichever engine it is."""

from collections.abc import Mapping
from typing import Protocol

from dsecos_agent.engines.model import Capabilities

from .child import Maker
from .model import Vocabulary, Wanted


class World(Maker, Protocol):
    """A host or a cluster of its own, searched and disturbed without the engine's help."""

    rounds: int
    """Of a controller, in which everything has to be as declared."""

    def vocabulary(self, capabilities: Capabilities) -> Vocabulary:
        """What schedules may speak of here."""

    def reset(self) -> None:
        """As before the first schedule: only what is foreign is there."""

    def fault(self, name: str, guest: str, number: int) -> bool:
        """Let it happen; whether it hit anything."""

    def struck(self) -> Mapping[str, int]:
        """Faults that came by chance since the last reset, by kind."""

    def heal(self) -> None:
        """Undo what an administrator has to undo (a full disk), and let no new fault happen."""

    def quiet(self) -> bool:
        """Wait until nothing goes on any more that a killed engine began; whether anything did."""

    def watch(self, starts: Mapping[str, int]) -> list[str]:
        """A step has ended that asked for so many starts of each guest: what must never be, even for a
        moment.
        """

    def violations(self, wanted: Mapping[str, Wanted]) -> list[str]:
        """What is not as declared, and what is there beside it."""

    def close(self) -> None:
        """Take away the world."""
