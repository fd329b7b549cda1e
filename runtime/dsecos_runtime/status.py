"""Writing status: only what differs, and progress not too often.

Each write is an event for everybody who watches. So a pass that changes nothing writes nothing; and while an
object is Reconciling, its progress is written once, then at most every `interval` seconds. What is final is
written at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dsecos_api import Type
from pydantic import BaseModel

from dsecos_runtime.cache import Cache
from dsecos_runtime.cluster import Cluster, dump
from dsecos_runtime.conditions import is_true
from dsecos_runtime.errors import ClusterError, Conflict, NotFound
from dsecos_runtime.logs import get_logger
from dsecos_runtime.ownership import changes
from dsecos_runtime.resources import Key, Object, Resource

T = TypeVar("T")
Slot = tuple[Resource[Any], Key]


@dataclass
class Progress:
    """When an object's progress was last written, of which generation, and what waits."""

    written: float
    generation: int | None
    waiting: tuple[Any, Object] | None = None
    timer: asyncio.TimerHandle | None = None


class StatusWriter:
    """Applies statuses under one field manager."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        *,
        interval: float = 10.0,
        field_manager: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval`: least seconds between two progress writes of one object."""
        self._cluster = cluster
        self._cache = cache
        self._interval = interval
        self._manager = field_manager or cluster.field_manager
        self._clock = clock
        self._progress: dict[Slot, Progress] = {}
        self._flushes: dict[Slot, asyncio.Task[None]] = {}

    async def write(
        self, resource: Resource[T], obj: T, status: BaseModel | Object, *, urgent: bool = False
    ) -> None:
        """Bring the object's status in the API to `status`, as far as it is ours.

        While Reconciling is True, one object gets a write at most every interval: a later one waits, and a
        newer one takes its place. A final status (not Reconciling), the first of a generation and an `urgent`
        one go at once. An object that is gone or was replaced is passed over: there is nobody to tell. Raises
        other ClusterErrors.
        """
        wanted = dump(status)
        slot = (resource, Key.of(resource.encode(obj)))
        known = self._progress.get(slot)
        if known is not None and known.timer is not None:
            known.timer.cancel()
            known.timer = known.waiting = None
        if slot in self._flushes:  # an older status that is on its way must not arrive after this one
            await asyncio.wait([self._flushes[slot]])
        if not is_true(wanted, Type.RECONCILING):
            self._progress.pop(slot, None)
            await self._apply(resource, obj, wanted)
            return
        if not self._differs(resource, obj, wanted):
            return
        generation = wanted.get("observedGeneration")
        now = self._clock()
        if known is None or known.generation != generation or urgent or now - known.written >= self._interval:
            self._progress[slot] = Progress(now, generation)
            await self._apply(resource, obj, wanted)
            return
        known.waiting = (obj, wanted)
        wait = known.written + self._interval - now
        known.timer = asyncio.get_running_loop().call_later(wait, self._flush_soon, slot)

    async def flush(self) -> None:
        """Write all that waits; errors are logged."""
        for slot in list(self._progress):
            await self._flush(slot)
        if self._flushes:
            await asyncio.wait(self._flushes.values())

    def _flush_soon(self, slot: Slot) -> None:
        task = asyncio.create_task(self._flush(slot), name=f"status {slot[0]} {slot[1]}")
        self._flushes[slot] = task
        task.add_done_callback(lambda _: self._flushes.pop(slot, None))

    async def _flush(self, slot: Slot) -> None:
        progress = self._progress.get(slot)
        if progress is None or progress.waiting is None:
            return
        (obj, wanted), progress.waiting = progress.waiting, None
        if progress.timer is not None:
            progress.timer.cancel()
            progress.timer = None
        progress.written = self._clock()
        try:
            await self._apply(slot[0], obj, wanted)
        except ClusterError as error:
            # The next pass of the controller writes again what still holds.
            get_logger().warning("progress not written", key=str(slot[1]), error=str(error))

    async def _apply(self, resource: Resource[T], obj: T, wanted: Object) -> None:
        if not self._differs(resource, obj, wanted):
            return
        try:
            await self._cluster.apply_status(resource, obj, wanted, field_manager=self._manager)
        except (NotFound, Conflict) as error:
            self._progress.pop((resource, Key.of(resource.encode(obj))), None)
            get_logger().debug("nobody to tell", error=str(error))

    def _differs(self, resource: Resource[T], obj: T, wanted: Object) -> bool:
        """Whether an apply would change the newest version that is known."""
        raw = resource.encode(obj)
        entry = self._cache.entry(resource, Key.of(raw))
        owned: Object = {}
        if entry is not None and entry.obj is not None:
            newest = resource.encode(entry.obj)
            if newest["metadata"].get("uid") == raw["metadata"].get("uid"):
                raw = newest
                owned = json.loads(entry.applied.get((self._manager, "status"), b"{}")).get("f:status", {})
        return changes(raw.get("status") or {}, wanted, owned)
