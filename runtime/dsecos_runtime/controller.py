"""A controller: what wakes it, and how often it looks.

The life of a wake-up: an input's object changes, `keys` maps it to keys, each key enters the controller's
queue once; a free worker takes it and calls `reconcile`; what that returns or raises says when to look again.
An event carries no meaning beyond "look": all that reconcile knows it observes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import structlog
from dsecos_api import KubeObject

from dsecos_runtime import metrics
from dsecos_runtime.cache import Cache
from dsecos_runtime.errors import Conflict, LeadershipLost, Terminal, Unavailable
from dsecos_runtime.logs import get_logger
from dsecos_runtime.resources import Key, Resource
from dsecos_runtime.store import Change
from dsecos_runtime.workqueue import WorkQueue

T = TypeVar("T")

RESTART = 1.0
"""Seconds until a controller's background is started again after it failed."""


def own_key(obj: Any) -> Iterable[Key]:
    """An object wakes the key that it bears itself."""
    return (Key.of(obj),)


def any_change(old: Any, new: Any) -> bool:
    """Whether anything but the version differs."""
    return _essence(old) != _essence(new) if old is not None else True


def ignoring_status(old: Any, new: Any) -> bool:
    """Whether something beside the status differs: for kinds whose status this controller itself writes."""
    return _essence(old, status=False) != _essence(new, status=False) if old is not None else True


def _essence(obj: Any, *, status: bool = True) -> Any:
    if isinstance(obj, KubeObject):
        meta = obj.metadata.model_copy(update={"resource_version": None})
        return meta, getattr(obj, "spec", None), getattr(obj, "status", None) if status else None
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    body = {name: value for name, value in obj.items() if name != "metadata" and (status or name != "status")}
    return metadata, body


@dataclass(frozen=True)
class Input(Generic[T]):
    """A watched kind and whom its objects wake.

    `keys` maps an object (also one that is gone) to keys. `changed(old, new)` False: not worth a wake-up (old
    is None for a new object; a deletion always wakes). `labels` and `fields` are selectors of the watch
    itself, the same for all controllers of the process.
    """

    resource: Resource[T]
    keys: Callable[[T], Iterable[Key]] = own_key
    changed: Callable[[T | None, T], bool] = any_change
    labels: str = ""
    fields: str = ""

    def woken(self, change: Change[T]) -> set[Key]:
        """Whom a change wakes: those of the object as it was and as it is."""
        old, new = change.old, change.new
        if new is not None and not self.changed(old, new):
            return set()
        return {key for obj in (old, new) if obj is not None for key in self.keys(obj)}


class Requeue(NamedTuple):
    """Look again in `after` seconds, or sooner if anything wakes the key."""

    after: float


class Backoff:
    """How long a key waits after a failure, by the kind of failure. Pure but for the jitter."""

    def __init__(self, first: float = 1.0, most: float = 60.0, jitter: float = 0.2) -> None:
        """`first` and `most` in seconds; `jitter` is the part of it that is left to chance."""
        self.first, self.most, self.jitter = first, most, jitter

    def seconds(self, error: BaseException, failures: int) -> float | None:
        """Seconds until the next try after `failures` in a row; None: do not try."""
        match error:
            case Terminal():
                return None
            case Conflict():
                base = min(0.05 * 2 ** (failures - 1), self.most)
            case Unavailable():
                # Short, so that an API server that is back is used at once; the cache's lists tell of what
                # changed.
                base = max(error.retry_after or 0.0, min(self.first * 2 ** (failures - 1), 5.0))
            case _:
                base = min(self.first * 2 ** min(failures - 1, 16), self.most)
        return float(base) * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311


class Controller(ABC):
    """One noun's controller. Subclasses set `name` and `inputs`, and implement `reconcile`."""

    name: ClassVar[str]
    inputs: Sequence[Input[Any]] = ()
    outputs: Sequence[Resource[Any]] = ()
    workers: int = 4
    """Keys that are reconciled at a time."""
    resync: float = 600.0
    """Seconds after which every known key is looked at again, less up to a tenth; 0: never."""
    timeout: float = 600.0
    """Seconds that one reconcile may take."""
    backoff = Backoff()

    def __init__(self) -> None:
        self._queue: WorkQueue[Key] = WorkQueue()
        self._changed = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cache: Cache | None = None
        self._log = get_logger(controller=self.name)

    # What a controller is

    @abstractmethod
    async def reconcile(self, key: Key) -> Requeue | None:
        """Look at one thing and bring it nearer to what is wanted.

        Raise to be called again: after 1 s doubling to 60 s with jitter; Conflict: at once; Unavailable:
        within 5 s, or after its retry_after; Terminal: not before the next wake-up or resync.
        """

    async def background(self) -> None:  # noqa: B027 - most have none
        """Runs beside reconcile, for example listens to netlink and calls `wake`. Started again 1 s after it
        raises.
        """

    async def seed(self) -> Iterable[Key]:
        """Keys beyond those of the inputs to look at on start and on each resync."""
        return ()

    # Wake-ups

    def wake(self, key: Key, *, after: float = 0.0) -> None:
        """Look at the key now, or `after` seconds from now. Call it in the event loop's thread."""
        if after > 0:
            self._queue.add_at(key, time.monotonic() + after)
        else:
            self._queue.add(key)
        self._changed.set()

    def wake_threadsafe(self, key: Key) -> None:
        """Look at the key now; for any thread. Silent before the controller has started: it looks at all
        then.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.wake, key)

    def wake_all(self) -> None:
        """Look at every key that the inputs know."""
        if self._cache is not None:
            for each in self.inputs:
                for obj in self._cache.list(each.resource):
                    for key in each.keys(obj):
                        self.wake(key)

    # How it runs

    async def run(self, cache: Cache, *, grace: Callable[[], float]) -> None:
        """Reconcile until cancelled; then workers have `grace()` seconds to finish. Raises LeadershipLost."""
        self._loop, self._cache = asyncio.get_running_loop(), cache
        for each in self.inputs:
            cache.subscribe(each.resource, self._subscriber(each))
        workers: set[asyncio.Task[None]] = set()
        beside = [
            asyncio.create_task(self._resync(), name=f"{self.name} resync"),
            asyncio.create_task(self._background(), name=f"{self.name} background"),
        ]
        try:
            await self._dispatch(workers)
        finally:
            for task in beside:
                task.cancel()
            if workers:
                _, late = await asyncio.wait(workers, timeout=grace())
                for task in late:
                    self._log.warning("worker did not finish in time", worker=task.get_name())
                    task.cancel()
            await asyncio.gather(*beside, *workers, return_exceptions=True)

    def _subscriber(self, source: Input[Any]) -> Callable[[Change[Any]], None]:
        def on_change(change: Change[Any]) -> None:
            try:
                woken = source.woken(change)
            except Exception:  # noqa: BLE001
                # A mapper that stumbles over one object must not end the watch of all.
                self._log.exception("mapper failed", kind=source.resource.kind, key=str(change.key))
                return
            for key in woken:
                self.wake(key)

        return on_change

    async def _dispatch(self, workers: set[asyncio.Task[None]]) -> None:
        while True:
            for task in [task for task in workers if task.done()]:
                workers.remove(task)
                task.result()
            key = self._queue.take(time.monotonic()) if len(workers) < self.workers else None
            metrics.QUEUE_DEPTH.labels(self.name).set(len(self._queue))
            if key is not None:
                task = asyncio.create_task(self._work(key), name=f"{self.name} {key}")
                task.add_done_callback(lambda _: self._changed.set())
                workers.add(task)
                continue
            due = self._queue.next_due() if len(workers) < self.workers else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                    await self._changed.wait()
            self._changed.clear()

    async def _work(self, key: Key) -> None:
        structlog.contextvars.bind_contextvars(controller=self.name, namespace=key.namespace, name=key.name)
        start = time.monotonic()
        result = "done"
        try:
            async with asyncio.timeout(self.timeout):
                again = await self.reconcile(key)
            self._failures.pop(key, None)
            if again is not None:
                self._queue.add_at(key, time.monotonic() + again.after)
        except LeadershipLost:
            result = "leadership-lost"
            raise
        except Exception as error:  # noqa: BLE001 - anything that a controller raises means: again
            result = type(error).__name__
            self._failed(key, error)
        finally:
            self._queue.done(key)
            metrics.RECONCILES.labels(self.name, result).inc()
            metrics.RECONCILE_SECONDS.labels(self.name).observe(time.monotonic() - start)

    def _failed(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = self.backoff.seconds(error, failures)
        expected = isinstance(error, Conflict | Unavailable | Terminal)
        self._log.log(
            20 if isinstance(error, Conflict) else 30,
            "reconcile failed",
            error=str(error) or repr(error),
            failures=failures,
            again_in=None if seconds is None else round(seconds, 2),
            exc_info=None if expected else error,
        )
        if seconds is None:
            self._failures.pop(key, None)
        else:
            self._queue.add_at(key, time.monotonic() + seconds)

    async def _resync(self) -> None:
        while True:
            self.wake_all()
            try:
                for key in await self.seed():
                    self.wake(key)
            except Exception:  # noqa: BLE001
                self._log.exception("seed failed")
            if not self.resync:
                return
            await asyncio.sleep(self.resync * random.uniform(0.9, 1.0))  # noqa: S311

    async def _background(self) -> None:
        while True:
            try:
                await self.background()
                return
            except Exception:  # noqa: BLE001
                self._log.exception("background failed")
            await asyncio.sleep(RESTART)
