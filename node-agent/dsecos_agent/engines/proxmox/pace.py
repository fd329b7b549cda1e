"""When to look again at what takes a while: soon at first, seldom later, learning how long it takes."""

from collections.abc import Iterator

SHORTEST = 0.05
LONGEST = 1.0
"""Seconds between two looks."""
FIRST_AT_MOST = 8.0
"""Seconds before the first look at what is known to take long."""
GROWTH = 2.0
EARLY = 0.9
LEARNING = 0.3
"""Weight of the latest of a kind."""


def back_off(first: float = SHORTEST, longest: float = LONGEST) -> Iterator[float]:
    """Seconds to wait before each look, without end."""
    pause = first
    while True:
        yield pause
        pause = min(longest, pause * GROWTH)


class Pace:
    """How long tasks of a kind take here. A look costs a call: the first comes when it is probably over."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._usual: dict[str, float] = {}

    def pauses(self, kind: str) -> Iterator[float]:
        """Seconds to wait before each look at a task of this kind."""
        usual = self._usual.get(kind)
        if usual is None:
            yield from back_off()
        else:
            # A little early: one that is over at the first look tells only that it takes no longer.
            yield min(FIRST_AT_MOST, max(SHORTEST, usual * EARLY))
            yield from back_off(min(LONGEST, max(SHORTEST, usual / 10)))

    def learn(self, kind: str, seconds: float) -> None:
        """One took so long."""
        usual = self._usual.get(kind, seconds)
        self._usual[kind] = usual + LEARNING * (seconds - usual)
