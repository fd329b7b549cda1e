"""`python -m dsecos_agent.hostfirewall.undo SECONDS LOCK`: puts back what was, unless it is told not to.

A process of its own session, so that it lives on when the agent is killed. It reads the steps that put
things back (JSON, its length in bytes on a line before it) from standard input, takes the lock file, and says
`armed`: from then on it needs nobody and reads no file but the programs of the steps. It ends

- with `confirmed` when it is told to `confirm` by a line on standard input;
- with `undone` after it has done all steps: when its time is over, or when standard input ends,
  because whoever held the other end is dead or has let go.

Whoever holds the lock may change the table and the uplinks: the next agent waits for it.
"""

import fcntl
import json
import select
import signal
import subprocess
import sys
import time
from io import RawIOBase
from pathlib import Path
from typing import NamedTuple

ATTEMPTS = 5
BETWEEN_ATTEMPTS = 0.2
"""Seconds; somebody else may change rules in the same moment."""
STEP_TIME_LIMIT = 30.0

ARMED, CONFIRM, CONFIRMED, UNDONE, FAILED = "armed", "confirm", "confirmed", "undone", "failed"


class Step(NamedTuple):
    """A program that is run to put something back."""

    argv: tuple[str, ...]
    text: str
    """Its standard input."""
    needed: bool = True
    """Whether it is tried again when it fails."""


def main(seconds: float, lock: Path) -> int:
    """0 when it was confirmed or has undone; 1 when a step that is needed failed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        # Whoever ends the agent in an orderly way may signal all of its processes.
        signal.signal(number, signal.SIG_IGN)
    # Unbuffered: what select(2) does not see is not there.
    with open(0, "rb", buffering=0) as stdin, lock.open("a") as held:
        steps = [Step(*each) for each in json.loads(_read(stdin))]
        fcntl.flock(held, fcntl.LOCK_EX)
        _say(ARMED)
        if _answer(stdin, seconds) == CONFIRM:
            _say(CONFIRMED)
            return 0
        for _ in range(ATTEMPTS):
            steps = [each for each in steps if not _do(each) and each.needed]
            if not steps:
                _say(UNDONE)
                return 0
            time.sleep(BETWEEN_ATTEMPTS)
        _say(FAILED)
        return 1


def _read(stdin: RawIOBase) -> bytes:
    size = int(_line(stdin))
    text = b""
    while len(text) < size:
        more = stdin.read(size - len(text))
        if not more:
            raise EOFError("the steps are not complete")
        text += more
    return text


def _line(stdin: RawIOBase) -> str:
    line = b""
    while not line.endswith(b"\n"):
        more = stdin.read(1)
        if not more:
            break
        line += more
    return line.decode().strip()


def _answer(stdin: RawIOBase, seconds: float) -> str:
    """What was said within the time; empty: nothing."""
    ready, _, _ = select.select([stdin], [], [], seconds)
    return _line(stdin) if ready else ""


def _do(step: Step) -> bool:
    try:
        return (
            subprocess.run(
                step.argv,
                input=step.text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=STEP_TIME_LIMIT,
                check=False,
            ).returncode
            == 0
        )
    except (OSError, subprocess.SubprocessError):
        return False


def _say(word: str) -> None:
    try:
        sys.stdout.write(f"{word}\n")
        sys.stdout.flush()
    except OSError:
        pass  # nobody is there to hear it


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), Path(sys.argv[2])))
