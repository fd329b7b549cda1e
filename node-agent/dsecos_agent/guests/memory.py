"""Guests that reach their memory limit, told by the kernel's log (Documentation/ABI/testing/dev-kmsg).

The counters of cgroup version 1 belong to the group of the victim, which is a container of the guest's and
gone a moment later. The log names the group whose limit was reached, for both versions:

    oom-kill:constraint=CONSTRAINT_MEMCG,...,oom_memcg=/lxc.payload.shop-
    1f2e3d4c,task_memcg=...,task=node,pid=1,uid=1
"""

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from dsecos_runtime import get_logger

from dsecos_agent.engines.lxc.cgroups import AGAIN, PAYLOAD

KMSG = Path("/dev/kmsg")
RECORD = 8192
"""Longest record in bytes; a shorter buffer fails with EINVAL."""

SETTLED = 10.0
"""Seconds for which services have to be healthy after a kill before it is history: Docker still says
`running` of what the kernel has just killed, and again each time it tries anew.
"""

LIMIT_REACHED = re.compile(rf"oom-kill:.*oom_memcg=[^,]*{re.escape(PAYLOAD)}([^/,]+?){AGAIN},")
"""A limit within the guest (of one of its containers) has a path below the guest's own group and is not
meant.
"""


def limit_reached(record: str) -> str | None:
    """The guest whose own limit a record of the log tells of. Pure."""
    found = LIMIT_REACHED.search(record)
    return found[1] if found else None


class MemoryLimits:
    """Remembers the guests of which the kernel killed a process because of the guest's limit."""

    def __init__(self, path: Path = KMSG, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is read before `listen`."""
        self._path = path
        self._clock = clock
        self._descriptor: int | None = None
        self._killed_at: dict[str, float] = {}

    def reached(self, guest: str) -> bool:
        """It did since this process listens, and has not got over it."""
        return guest in self._killed_at

    def note(self, record: str) -> str | None:
        """Take in one record of the log; the guest that it tells of."""
        guest = limit_reached(record)
        if guest is not None:
            self._killed_at[guest] = self._clock()
        return guest

    def seen_healthy(self, guest: str) -> None:
        """Its services are healthy now, so a kill of a while ago is overcome."""
        killed_at = self._killed_at.get(guest)
        if killed_at is not None and self._clock() - killed_at >= SETTLED:
            self.forget(guest)

    def forget(self, guest: str) -> None:
        """The guest is gone."""
        self._killed_at.pop(guest, None)

    def listen(self, callback: Callable[[str], None]) -> None:
        """From now on; `callback` gets the guest's name.

        A log that cannot be read is reported and done without.
        """
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            get_logger().warning("guests that reach their memory limit are not told", error=str(error))
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._read, callback)

    def close(self) -> None:
        """No more."""
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self, callback: Callable[[str], None]) -> None:
        while self._descriptor is not None:
            try:
                record = os.read(self._descriptor, RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # records were overwritten before we came: the next read goes on after them
            guest = self.note(record.decode(errors="replace"))
            if guest is not None:
                callback(guest)
