"""Which key is looked at next: a level-triggered queue.

A key is in the queue once however often it is woken, is never out to two workers, and a wake-up while it is
out brings it back exactly once. A key may be due later; being woken earlier replaces that, because the pass
it leads to decides anew when to look again.

Pure: time is an argument, in seconds of a clock that never goes back.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")


class WorkQueue(Generic[KeyT]):
    """Keys that wait, keys that are out."""

    def __init__(self) -> None:
        self._ready: dict[KeyT, None] = {}
        self._due: dict[KeyT, float] = {}
        self._heap: list[tuple[float, int, KeyT]] = []
        self._out: set[KeyT] = set()
        self._again: set[KeyT] = set()
        self._count = 0

    def __len__(self) -> int:
        """How many keys are ready now."""
        return len(self._ready)

    @property
    def out(self) -> frozenset[KeyT]:
        """The keys that workers have."""
        return frozenset(self._out)

    def add(self, key: KeyT) -> None:
        """The key is to be looked at now."""
        if key in self._out:
            self._again.add(key)
        else:
            self._ready.setdefault(key)

    def add_at(self, key: KeyT, due: float) -> None:
        """The key is to be looked at when `due` has come, or earlier if it is due earlier."""
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))

    def take(self, now: float) -> KeyT | None:
        """The next key, in the order in which they became ready; None if none is. `done` gives it back."""
        for key in self._overdue(now):
            self.add(key)
        for key in self._ready:
            del self._ready[key]
            self._due.pop(key, None)
            self._out.add(key)
            return key
        return None

    def done(self, key: KeyT) -> None:
        """The worker has finished with the key."""
        self._out.remove(key)
        if key in self._again:
            self._again.remove(key)
            self._ready.setdefault(key)

    def next_due(self) -> float | None:
        """When the next key becomes ready by time; None if none does."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _overdue(self, now: float) -> Iterator[KeyT]:
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            yield key
