"""Every request that came in, for tests that count and assert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Call:
    """One request.

    `status` is what the client was told, 0 for a dropped connection; `done`: it was carried out.
    """

    method: str
    template: str
    parameters: dict[str, object]
    time: float
    status: int = 0
    done: bool = False


class Calls:
    """The requests since the start, or since `clear`."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def add(self, call: Call) -> None:
        """Note a request."""
        self._calls.append(call)

    def clear(self) -> None:
        """Begin anew."""
        self._calls.clear()

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def __getitem__(self, index: int) -> Call:
        return self._calls[index]

    def to(self, method: str, template: str) -> list[Call]:
        """The requests of one method and path template."""
        return [call for call in self if (call.method, call.template) == (method, template)]

    def counts(self) -> Counter[str]:
        """How many by `METHOD /path/{template}`."""
        return Counter(f"{call.method} {call.template}" for call in self)
