"""Events: what happened, as `kubectl describe` shows it.

An event never fails and never delays the work that it tells of: it is put in a bounded queue and posted
beside. The same event again raises the count of the one that is there; one object and reason may post only so
often, and what was held back is in the next count. Source: events.k8s.io/v1.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, NoReturn

from dsecos_runtime import metrics
from dsecos_runtime.cluster import Cluster
from dsecos_runtime.conditions import utcnow
from dsecos_runtime.errors import ClusterError, NotFound
from dsecos_runtime.leader import micro_time
from dsecos_runtime.logs import get_logger
from dsecos_runtime.resources import EVENT, Key, Object, Resource

MOST_SERIES = 4096
"""Series that are remembered; the one that was idle longest is forgotten first."""
SERIES_IDLE = 600.0
"""Seconds after which the same event begins a new series."""
NOTE_BYTES = 1024
"""Longest note that the API takes (events.k8s.io/v1)."""
CLUSTER_EVENTS = "default"
"""Namespace of the events of cluster-scoped objects: the API server takes this one."""


class TokenBucket:
    """At most `burst` at once, and one more every `refill` seconds. Pure: time is an argument."""

    def __init__(self, burst: int, refill: float, now: float) -> None:
        self._burst, self._refill = burst, refill
        self._tokens, self._at = float(burst), now

    def take(self, now: float) -> bool:
        """Whether one may pass now."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._refill)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Happening(NamedTuple):
    """What was told."""

    regarding: tuple[tuple[str, str], ...]
    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    action: str


@dataclass
class Series:
    """An event that was posted, and how often it happened."""

    key: Key | None
    count: int
    at: float


class EventRecorder:
    """Tells what happened to an object. Call it in the event loop's thread."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        component: str,
        instance: str,
        burst: int = 5,
        refill: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        """One object and reason: `burst` events at once and one more every `refill` seconds."""
        self._cluster, self._component, self._instance = cluster, component, instance
        self._burst, self._refill = burst, refill
        self._clock, self._now = clock, now
        self._queue: asyncio.Queue[Happening] = asyncio.Queue(maxsize=1000)
        self._buckets: OrderedDict[tuple[Any, str], TokenBucket] = OrderedDict()
        self._series: OrderedDict[Happening, Series] = OrderedDict()

    def normal(
        self, resource: Resource[Any], obj: Any, reason: str, message: str, *, action: str = "Reconcile"
    ) -> None:
        """Something happened as wanted."""
        self._put(resource, obj, "Normal", reason, message, action)

    def warning(
        self, resource: Resource[Any], obj: Any, reason: str, message: str, *, action: str = "Reconcile"
    ) -> None:
        """Something happened that somebody should look at."""
        self._put(resource, obj, "Warning", reason, message, action)

    async def run(self) -> NoReturn:
        """Post what was told, for ever."""
        while True:
            happening = await self._queue.get()
            try:
                await self._post(happening)
            except ClusterError as error:
                metrics.EVENTS_DROPPED.labels("failed").inc()
                get_logger().warning("event not posted", reason=happening.reason, error=str(error))
            finally:
                self._queue.task_done()

    async def drain(self, seconds: float) -> None:
        """Wait until all is posted, at most `seconds`. `run` must be running."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._queue.join()

    def _put(  # noqa: PLR0917 - the two callers above
        self,
        resource: Resource[Any],
        obj: Any,
        type: Literal["Normal", "Warning"],  # noqa: A002
        reason: str,
        message: str,
        action: str,
    ) -> None:
        try:
            metadata = resource.encode(obj)["metadata"]
            regarding = {"apiVersion": resource.api_version, "kind": resource.kind}
            regarding |= {name: metadata[name] for name in ("name", "namespace", "uid") if metadata.get(name)}
            note = message.encode()[:NOTE_BYTES].decode(errors="ignore")
            happening = Happening(tuple(regarding.items()), type, str(reason), note, action)
            if self._passes(happening):
                self._queue.put_nowait(happening)
            else:
                metrics.EVENTS_DROPPED.labels("rate").inc()
        except asyncio.QueueFull:
            metrics.EVENTS_DROPPED.labels("full").inc()
        except Exception:  # noqa: BLE001
            # Telling of the work must not break the work.
            get_logger().exception("event not told", reason=reason)

    def _passes(self, happening: Happening) -> bool:
        """Count it, and say whether it is to be posted now."""
        now = self._clock()
        series = self._series.get(happening)
        if series is None or now - series.at > SERIES_IDLE:
            series = self._series[happening] = Series(None, 0, now)
        series.count, series.at = series.count + 1, now
        self._series.move_to_end(happening)
        slot = (happening.regarding, happening.reason)
        bucket = self._buckets.setdefault(slot, TokenBucket(self._burst, self._refill, now))
        self._buckets.move_to_end(slot)
        for remembered in (self._series, self._buckets):
            while len(remembered) > MOST_SERIES:
                remembered.popitem(last=False)
        return bucket.take(now)

    async def _post(self, happening: Happening) -> None:
        series = self._series.get(happening) or Series(None, 1, self._clock())
        moment = micro_time(self._now())
        count = {"series": {"count": series.count, "lastObservedTime": moment}} if series.count > 1 else {}
        if series.key is not None:
            try:
                await self._cluster.patch(EVENT, series.key, count)
                return
            except NotFound:
                pass  # the API server keeps events for an hour
        regarding = dict(happening.regarding)
        namespace = regarding.get("namespace") or CLUSTER_EVENTS
        raw: Object = {
            "metadata": {"name": f"{regarding['name'][:200]}.{secrets.token_hex(8)}", "namespace": namespace},
            "eventTime": moment,
            "reportingController": f"dsecos.io/{self._component}",
            "reportingInstance": self._instance[:128],
            "action": happening.action,
            "reason": happening.reason,
            "regarding": regarding,
            "note": happening.note,
            "type": happening.type,
            **count,
        }
        series.key = Key.of(await self._cluster.create(EVENT, raw))
