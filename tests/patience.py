"""How long a test waits: in seconds that this machine had.

Where cores are shared with others, the hypervisor may give us a fifth of them for minutes. A limit says
something about DsecOS only in the time in which we ran: the clock of `now` goes slower by the share of our
processor time that went to others (steal, in jiffies, proc_stat(5)).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

STAT = Path("/proc/stat")
SAMPLE = 0.5
"""Seconds, at least, from which a share is told: a jiffy is 10 ms."""
SLACK = 3.0
"""By how much all limits are longer than what they name: tests run beside each other. Only a failure takes so
long.
"""


class Clock:
    """Counts from where it is made; any number of threads may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wall = self._sampled = time.monotonic()
        self._ran, self._stolen = jiffies(STAT.read_text())
        self._share = 1.0
        self._fair = 0.0

    def now(self) -> float:
        """Seconds; never goes back."""
        with self._lock:
            wall = time.monotonic()
            if wall - self._sampled >= SAMPLE:
                ran, stolen = jiffies(STAT.read_text())
                self._share = share(ran - self._ran, stolen - self._stolen)
                self._sampled, self._ran, self._stolen = wall, ran, stolen
            self._fair += (wall - self._wall) * self._share
            self._wall = wall
            return self._fair


def jiffies(text: str) -> tuple[int, int]:
    """What all processors together ran, and what was stolen from them, since boot. Pure."""
    user, nice, system, _, _, irq, softirq, stolen, *_ = map(int, text.split("\n", 1)[0].split()[1:])
    return user + nice + system + irq + softirq, stolen


def share(ran: int, stolen: int) -> float:
    """The part of the wanted processor time that was had, 0.05 to 1; all, where none was wanted. Pure."""
    return max(0.05, ran / (ran + stolen)) if ran + stolen > 0 else 1.0


now = Clock().now


class Deadline:
    """The end of a wait for what an idle machine does in less than `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._end = now() + seconds * SLACK

    def passed(self) -> bool:
        """Whether it is time to give up."""
        return now() >= self._end


def until(condition: Callable[[], T], within: float = 20.0, every: float = 0.05, what: str = "") -> T:
    """Ask every `every` seconds until the answer is true; it is returned. Raises AssertionError."""
    deadline = Deadline(within)
    while not (found := condition()):
        assert not deadline.passed(), f"not within {within:g} s{what and ': '}{what}"
        time.sleep(every)
    return found


async def async_until(condition: Callable[[], T], within: float = 20.0, every: float = 0.01) -> T:
    """The same on an event loop that goes on meanwhile."""
    deadline = Deadline(within)
    while not (found := condition()):
        assert not deadline.passed(), f"not within {within:g} s"
        await asyncio.sleep(every)
    return found


async def heard(queue: asyncio.Queue[T]) -> T:
    """The next of a queue, once there is one."""
    await async_until(lambda: not queue.empty())
    return queue.get_nowait()
