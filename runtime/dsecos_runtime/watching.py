"""kopf, and what it is not trusted with.

kopf lists and watches, and hands every event to one handler that puts the object in the cache. It stores
nothing on objects, posts nothing, adds no finalizer, scans for no new kinds. An API server that is away is
waited for without end.

kopf 1.45 drops a watcher task that was cancelled, and logs one that failed, and goes on without it. So three
things are watched over here: kopf's root tasks, one watcher task for each kind and namespace (known by its
name), and the time since each of them last asked the API server for anything. If one fails, the process ends
and is started anew.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, cast

import kopf
from kopf._cogs.configs.diffbase import DiffBaseStorage
from kopf._cogs.configs.progress import StatusProgressStorage

from dsecos_runtime import metrics
from dsecos_runtime.cache import Cache, Watch
from dsecos_runtime.credentials import Credentials
from dsecos_runtime.errors import WatchEnded
from dsecos_runtime.logs import get_logger
from dsecos_runtime.resources import Resource
from dsecos_runtime.session import Phase, open_session

START = 60.0
"""Seconds that the watchers may take to appear."""
LOOK = 2.0
"""Seconds between two looks at the watchers."""


class Backoffs:
    """Seconds between attempts to reach the API server; each iteration begins anew and never ends."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.1, 0.2, 0.5, 1.0)
        while True:
            yield 2.0


class NoDiffBase(DiffBaseStorage):
    """Remembers nothing: no handler asks what has changed."""

    def build(self, **_: Any) -> Any:
        """No essence, and no copy of the object for it."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing is known."""

    def store(self, **_: Any) -> None:
        """Nothing is kept."""


class NoProgress(StatusProgressStorage):
    """Keeps no handler's state on objects."""

    def fetch(self, **_: Any) -> None:
        """Nothing is known."""

    def store(self, **_: Any) -> None:
        """Nothing is kept."""

    def touch(self, **_: Any) -> None:
        """Nothing is touched."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing is to be removed."""
        return essence


def operator_settings(watch_timeout: float, request_timeout: float) -> kopf.OperatorSettings:
    """kopf's settings; both timeouts in seconds."""
    settings = kopf.OperatorSettings()
    settings.watching.server_timeout = int(watch_timeout)
    settings.watching.client_timeout = watch_timeout + 10
    settings.watching.connect_timeout = min(30.0, request_timeout)
    settings.watching.reconnect_backoff = 0.01
    settings.networking.request_timeout = max(60.0, request_timeout)  # a list of everything takes its time
    settings.networking.connect_timeout = min(30.0, request_timeout)
    settings.networking.error_backoffs = cast(Iterable[float], Backoffs())
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 1.0
    # All handlers are coroutines: no thread is needed.
    settings.execution.executor = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    settings.process.ultimate_exiting_timeout = None  # the supervisor kills what does not end
    return settings


class Watching:
    """kopf in our event loop, feeding the cache."""

    def __init__(
        self,
        cache: Cache,
        credentials: Credentials,
        *,
        watch_timeout: float = 300.0,
        request_timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`watch_timeout`: seconds after which the API server ends a watch, and kopf begins the next."""
        self._cache, self._credentials, self._clock = cache, credentials, clock
        self._watch_timeout, self._request_timeout = watch_timeout, request_timeout
        self._roots: set[asyncio.Task[Any]] = set()
        self._paths: dict[str, Watch] = {}
        self._asked: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._failing: set[str] = set()

    async def start(self) -> None:
        """Begin to watch all that the cache tracks. The signal handlers that kopf sets are the caller's to
        replace.
        """
        registry = kopf.OperatorRegistry()
        settings = operator_settings(self._watch_timeout, self._request_timeout)
        namespaces: set[str] = set()
        for watch in self._cache.watches:
            resource = watch.resource
            where = (resource.group, resource.version, resource.plural)
            kopf.on.event(*where, registry=registry, id="cache")(self._handler(resource))
            if watch.labels:
                settings.watching.label_selectors[where] = watch.labels
            if watch.fields:
                settings.watching.field_selectors[where] = watch.fields
            namespaces |= set(watch.namespaces) if resource.namespaced else set()
            for namespace in watch.namespaces:
                path = "/" + resource.path(namespace)
                self._paths[path] = watch
                self._asked[path] = self._clock()
                self._names[path] = _watcher_name(resource, namespace)
        kopf.on.login(registry=registry)(self._login)
        only = sorted(namespaces - {""})
        self._roots = set(
            await kopf.spawn_tasks(
                registry=registry,
                settings=settings,
                standalone=True,
                clusterwide=not only,
                namespaces=only,
            )
        )

    async def supervise(self) -> NoReturn:
        """Raise WatchEnded when a watch has ended for good."""
        began, seen = self._clock(), set[str]()
        while True:
            done, _ = await asyncio.wait(self._roots, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            if done:
                raise WatchEnded(f"kopf ended: {', '.join(_outcome(task) for task in done)}")
            now = self._clock()
            alive = {task.get_name() for task in asyncio.all_tasks()}
            for path, name in self._names.items():
                if name in alive:
                    seen.add(path)
                elif path in seen or now - began > START:
                    raise WatchEnded(f"the watch of {path} has ended")
                if now - self._asked[path] > self._watch_timeout + 2 * START:
                    raise WatchEnded(f"the watch of {path} has not asked the API server for too long")

    async def stop(self) -> None:
        """End kopf's tasks."""
        for task in self._roots:
            task.cancel()
        if self._roots:
            await asyncio.wait(self._roots, timeout=5.0)

    def _handler(self, resource: Resource[Any]) -> Any:
        async def on_event(event: Any, **_: Any) -> None:
            self._cache.ingest(resource, event["type"] == "DELETED", event["object"])

        return on_event

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=self._credentials.server,
            aiohttp_session=open_session(self._credentials, self._observe),
        )

    def _observe(self, path: str, phase: Phase, why: str) -> None:
        watch = self._paths.get(path)
        if watch is None:
            return
        self._asked[path] = self._clock()
        log = get_logger(path=path)
        if phase is Phase.FAILED:
            if path not in self._failing:
                log.warning("watch failed, trying again until it succeeds", reason=why)
            self._failing.add(path)
            return
        if path in self._failing:
            log.info("watch goes on")
            self._failing.discard(path)
        if phase is Phase.LISTED:
            metrics.WATCH_RESTARTS.labels(watch.resource.kind).inc()
            self._cache.relist_soon(watch.resource)


def _watcher_name(resource: Resource[Any], namespace: str) -> str:
    """The name that kopf gives to the task of one watch (kopf._core.reactor.orchestration)."""
    plural = f"{resource.plural}.{resource.version}.{resource.group}".strip(".")
    return f"watcher for {plural}@{namespace if resource.namespaced and namespace else None}"


def _outcome(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return f"{task.get_name()} was cancelled"
    return f"{task.get_name()}: {task.exception()!r}"
