"""Acting: one action at a time, each followed by a place where a test may kill the process.

A controller that survives a SIGKILL after each of its actions has nothing that it must remember.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from dsecos_runtime.logs import get_logger

FAULT_POINT = "DSECOS_FAULT_POINT"
FAULT_FILE = "DSECOS_FAULT_FILE"

_passages: Counter[str] = Counter()


class Action(Protocol):
    """One idempotent step of a plan."""

    @property
    def name(self) -> str:
        """What it does, as noun and verb, for example guest-create: fault point, and "action" in the log."""


A = TypeVar("A", bound=Action)


def fault_point(name: str) -> None:
    """Kill this process with SIGKILL if a test asked for it; else do nothing.

    A test asks through the environment that the process was started with: DSECOS_FAULT_POINT is `name`, or
    `name:nth` for the nth passage (from 1), or several of these with commas between them, for whichever comes
    first. Or, while the process runs, through the file that DSECOS_FAULT_FILE names: a process that passes a
    point of those written there, with commas between them, empties it and dies, once. Beside that file,
    `<file>.passed` lists the points that were passed.
    """
    for each in os.environ.get(FAULT_POINT, "").split(","):
        wanted, _, nth = each.partition(":")
        if wanted == name:
            _passages[name] += 1
            if _passages[name] == int(nth or 1):
                os.kill(os.getpid(), signal.SIGKILL)
    if file := os.environ.get(FAULT_FILE):
        _obey(Path(file), name)


def _obey(file: Path, name: str) -> None:
    passed = file.with_name(f"{file.name}.passed")
    if passed.exists():
        with passed.open("a") as log:
            log.write(f"{name}\n")
    if file.exists() and name in file.read_text().split(","):
        file.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)


async def act_all(actions: Iterable[A], act: Callable[[A], Awaitable[None]]) -> int:
    """Run `act` on each action in order, log its start, end and duration in seconds, and pass its fault
    point.

    Returns the number of actions. What `act` raises ends the run: the rest is planned anew in the next pass.
    """
    log = get_logger()
    count = 0
    for action in actions:
        start = time.monotonic()
        log.info("action started", action=action.name)
        try:
            await act(action)
        except BaseException as error:
            seconds = round(time.monotonic() - start, 3)
            log.warning("action failed", action=action.name, seconds=seconds, error=str(error) or repr(error))
            raise
        log.info("action done", action=action.name, seconds=round(time.monotonic() - start, 3))
        fault_point(action.name)
        count += 1
    return count
