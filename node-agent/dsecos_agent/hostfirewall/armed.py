"""Starting the undo, and speaking to it."""

import asyncio
import contextlib
import fcntl
import json
import select
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Self

from dsecos_agent.adapter_errors import AdapterError, RetryableError
from dsecos_agent.hostfirewall.undo import ARMED, CONFIRM, CONFIRMED, Step

ARM_TIME_LIMIT = 20.0
ANSWER_TIME_LIMIT = 10.0
LOCK_EVERY = 0.05
SYSTEMD = Path("/run/systemd/system")
"""There where systemd is the init system (sd_booted(3))."""
OWN_SCOPE = ("systemd-run", "--scope", "--quiet", "--collect", "--")
"""Where systemd runs, a unit of its own: what ends the agent's unit does not end this."""


class UndoNotArmedError(AdapterError):
    """There is nobody who would undo the change, so it must not be made."""


class Undo:
    """A process that puts back what was, unless it is confirmed in time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """By `arm`."""
        self._process = process

    @classmethod
    async def arm(cls, steps: Sequence[Step], seconds: float, lock: Path) -> Self:
        """Start it with what puts things back; it is armed when this returns. Raises UndoNotArmedError."""
        command = [sys.executable, "-m", "dsecos_agent.hostfirewall.undo", str(seconds), str(lock)]
        return await asyncio.to_thread(cls._arm_somehow, command, json.dumps(steps))

    @classmethod
    def _arm_somehow(cls, command: Sequence[str], steps: str) -> Self:
        if SYSTEMD.is_dir() and shutil.which(OWN_SCOPE[0]):
            with contextlib.suppress(UndoNotArmedError):
                return cls._arm([*OWN_SCOPE, *command], steps)
        return cls._arm(command, steps)

    @classmethod
    def _arm(cls, argv: Sequence[str], steps: str) -> Self:
        try:
            # Not asyncio's: it kills its processes when the event loop ends, and this one has to outlive us.
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
                cwd="/",
            )
        except OSError as error:
            raise UndoNotArmedError(f"the undo of the change does not start: {error}") from error
        undo = cls(process)
        text = steps.encode()
        if undo._say(b"%d\n%b" % (len(text), text)) and undo._hear(ARM_TIME_LIMIT) == ARMED:
            return undo
        process.kill()
        process.wait()
        raise UndoNotArmedError("the undo of the change did not get ready")

    async def confirm(self) -> bool:
        """Whether the change stays. False: it is dead, or has undone."""
        return await asyncio.to_thread(self._confirm)

    def _confirm(self) -> bool:
        stays = self._say(f"{CONFIRM}\n".encode()) and self._hear(ANSWER_TIME_LIMIT) == CONFIRMED
        if stays:
            self._process.wait()
        return stays

    def abandon(self) -> None:
        """Let go of it: it undoes at once."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _say(self, what: bytes) -> bool:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - it was asked for
        try:
            while what:
                what = what[stdin.write(what) :]
        except OSError:
            return False
        return True

    def _hear(self, limit: float) -> str:
        """The next line; empty when there is none in time."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was asked for
        line, end = b"", time.monotonic() + limit
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([stdout], [], [], max(0.0, end - time.monotonic()))
            more = stdout.read(64) if ready else b""
            if not more:
                return ""
            line += more
        return line.decode().strip()


@contextlib.asynccontextmanager
async def nobody_undoes(lock: Path, limit: float) -> AsyncIterator[None]:
    """Wait until no undo is under way, were it that of a former agent, and keep it so.

    Raises RetryableError after `limit` seconds.
    """
    with lock.open("a") as held:
        end = time.monotonic() + limit
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise RetryableError(
                        "an undo of the node's own firewall and uplinks is still under way"
                    ) from error
            await asyncio.sleep(LOCK_EVERY)
        yield
