"""`python -m dsecos_agent.hostfirewall.undo SECONDS LOCK`: puts former rules back unless it is told not to.

A process of its own session, so that it lives on when the agent is killed. It reads the former rules (for
nft(8), their length in bytes on a line before them) from standard input, takes the lock file, and says
`armed`: from then on it needs nobody and reads no file but nft's program. It ends

- with `confirmed` when it is told to `confirm` by a line on standard input;
- with `undone` after it has loaded the former rules: when its time is over, or when standard input ends,
  because whoever held the other end is dead or has let go.

Whoever holds the lock may change the table: the next agent waits for it.
"""

import fcntl
import select
import signal
import subprocess
import sys
import time
from io import RawIOBase
from pathlib import Path

ATTEMPTS = 5
BETWEEN_ATTEMPTS = 0.2
"""Seconds; somebody else may change rules in the same moment."""
NFT_TIME_LIMIT = 30.0

ARMED, CONFIRM, CONFIRMED, UNDONE, FAILED = "armed", "confirm", "confirmed", "undone", "failed"


def main(seconds: float, lock: Path) -> int:
    """0 when it was confirmed or has undone; 1 when the former rules could not be loaded."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        # Whoever ends the agent in an orderly way may signal all of its processes.
        signal.signal(number, signal.SIG_IGN)
    # Unbuffered: what select(2) does not see is not there.
    with open(0, "rb", buffering=0) as stdin, lock.open("a") as held:
        former = _read(stdin)
        fcntl.flock(held, fcntl.LOCK_EX)
        _say(ARMED)
        if _answer(stdin, seconds) == CONFIRM:
            _say(CONFIRMED)
            return 0
        for _ in range(ATTEMPTS):
            if _load(former):
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
            raise EOFError("the former rules are not complete")
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


def _load(text: bytes) -> bool:
    try:
        return (
            subprocess.run(
                ["nft", "-f", "-"],
                input=text,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=NFT_TIME_LIMIT,
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
