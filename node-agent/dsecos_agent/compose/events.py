"""Being told that something changed in a guest's Docker: its event stream as a wake-up, connected again by
itself.

What an event says is not read. So a hostile guest can wake us, at most every INTERVAL, and nothing else.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.compose import socket
from dsecos_agent.compose.protocol import PROJECT
from dsecos_agent.compose.services import LABEL

INTERVAL = 0.1
"""Seconds between two calls back."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds before connecting again."""

KINDS = ["start", "die", "oom", "pause", "unpause", "destroy", "health_status"]

log = logging.getLogger(__name__)


class EventWatch:
    """Follows one guest until closed."""

    def __init__(self, shared: Path, callback: Callable[[], None]) -> None:
        """Must be made on the event loop."""
        self._shared = shared
        self._callback = callback
        self._connected = False
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def close(self) -> None:
        """End it; twice is fine."""
        self._task.cancel()

    async def _follow(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            try:
                await self._stream()
                pause = SHORTEST_PAUSE
            except AdapterError as error:
                log.debug("no events from %s: %s", self._shared.parent.name, error)
                pause = min(LONGEST_PAUSE, pause * 2)
            if self._connected:
                self._connected = False
                self._callback()  # dockerd itself may have ended
            await asyncio.sleep(pause)

    async def _stream(self) -> None:
        wanted = socket.filters(type=["container"], event=KINDS, label=[f"{LABEL}.project={PROJECT}"])
        async with socket.response(self._shared, "/events", {"filters": wanted}, None) as answer:
            # Whatever happened while nobody listened.
            self._callback()
            self._connected = True
            while await answer.content.readany():
                self._callback()
                await asyncio.sleep(INTERVAL)
