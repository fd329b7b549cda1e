"""Whose turn it is when many guests are to be started, as after a start of the host.

A guest waits until those with lower numbers are up or have failed, and their delays are over; at most
`PATIENCE` after the agent's start, whatever becomes of them. Later there is nothing to wait for: a new guest
starts at once.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PATIENCE = 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A guest that is to run."""

    name: str
    order: int
    delay: int
    """Seconds after it is up until the next order is started."""


class StartOrder:
    """Knows who has had its turn since the agent began."""

    def __init__(self, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + patience
        self._settled: dict[str, float] = {}
        """When a guest's delay is over, by name."""

    def settled(self, candidate: Candidate, *, started: bool) -> bool:
        """It is up, has failed or is not to be started; True when that is new. Only one that was `started`
        now has a delay.
        """
        new = candidate.name not in self._settled
        if new:
            self._settled[candidate.name] = self._clock() + candidate.delay * started
        return new

    def wait(self, own: Candidate, others: Iterable[Candidate]) -> float | None:
        """Seconds until it is worth asking again; None when it is its turn."""
        before = [each for each in others if each.order < own.order]
        now = self._clock()
        due = [self._settled.get(each.name, self._end) for each in before]
        left = max(due, default=now) - now
        return left if left > 0 else None

    def forget(self, name: str) -> None:
        """The guest is gone."""
        self._settled.pop(name, None)
