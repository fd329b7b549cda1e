"""Time, so that tests can hold it."""

import asyncio
import time


class Clock:
    """The host's."""

    def now(self) -> float:
        """Seconds since 1970; may jump."""
        return time.time()

    def elapsed(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let others work for so long."""
        await asyncio.sleep(seconds)
