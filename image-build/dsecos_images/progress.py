"""Progress for whoever waits: one line per step, with its time, on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a step, and tell how long it took."""
    say(f"  {what} ...")
    begin = time.monotonic()
    yield
    say(f"  {what}: {time.monotonic() - begin:.1f} s")
