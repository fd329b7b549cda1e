"""Notice that a guest has stopped, or is on another node: one look at the cluster now and then for all that
are watched.

There is nothing to wait on: the API has no events. The listing's status may be some ten seconds old, also
just after a start, so a guest that seems to have stopped is asked for itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.places import Listing, Place, Places
from dsecos_agent.engines.proxmox.refusals import GuestGoneError


class _Handle:
    """Ends one watch, unless a later one has taken its place."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def close(self) -> None:
        """End it; twice is fine."""
        self._end()


class StateWatches:
    """At most one watch a guest, of its present life; nothing is asked while nothing is watched."""

    def __init__(
        self,
        places: Places,
        runs: Callable[[Place], Awaitable[bool]],
        clock: Clock,
        interval: float,
    ) -> None:
        """`runs` asks a guest's node; `interval` is in seconds. Must be used on one event loop."""
        self._runs = runs
        self._places = places
        self._clock = clock
        self._interval = interval
        self._watched: dict[str, Callable[[str], None]] = {}
        self._nodes: dict[str, str] = {}
        """Where they were at the last look."""
        self._looking: asyncio.Task[None] | None = None

    def add(self, name: str, callback: Callable[[str], None]) -> _Handle:
        """Call back once when the guest does not run (any more), or is on another node than before."""
        self._watched[name] = callback
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return _Handle(lambda: self._remove_if(name, callback))

    async def close(self) -> None:
        """End all."""
        self._watched.clear()
        self._nodes.clear()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
            self._looking = None

    async def _look(self) -> None:
        while self._watched:
            watched = list(self._watched)
            told: list[str] = []
            try:
                listing = await self._places.listing()
                told += self._moved(watched, listing)
                told += [name for name in watched if not await self._may_run(name, listing)]
            except AdapterError as error:
                get_logger().info("watched guests cannot be seen", error=str(error))
            for name in told:
                if callback := self._watched.pop(name, None):
                    callback(name)
            await self._clock.sleep(self._interval)
        self._looking = None

    def _moved(self, watched: Sequence[str], listing: Listing) -> list[str]:
        """Those that are not where they were at the look before."""
        marked = {
            place.marks.guest: place.node for place in listing.places.values() if place.marks is not None
        }
        before, self._nodes = self._nodes, {name: marked[name] for name in watched if name in marked}
        return [name for name, node in self._nodes.items() if before.get(name, node) != node]

    async def _may_run(self, name: str, listing: Listing) -> bool:
        places = [p for p in listing.places.values() if p.marks is not None and p.marks.guest == name]
        # A node that is away says nothing, and one that has just come back says "unknown".
        if any(place.node in listing.away or place.status != "stopped" for place in places):
            return True
        try:
            return any([await self._runs(place) for place in places])
        except GuestGoneError:
            return False

    def _remove_if(self, name: str, callback: Callable[[str], None]) -> None:
        if self._watched.get(name) is callback:
            del self._watched[name]
