"""What controllers know without asking: every watched object, never older than it was once seen.

Three sources feed it: kopf's watches, the answers to our own writes (who writes reads what it wrote), and
lists. A watch that starts anew says nothing of what was deleted meanwhile, so each list that kopf makes is
followed by one of ours that is compared object by object; the same happens every `interval` seconds, come
what may.
"""

from __future__ import annotations

import asyncio
import builtins
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from dsecos_runtime import metrics
from dsecos_runtime.cluster import Cluster
from dsecos_runtime.errors import ClusterError, HistoryRewound
from dsecos_runtime.logs import get_logger
from dsecos_runtime.resources import Key, Object, Resource
from dsecos_runtime.store import Change, Entry, Store

T = TypeVar("T")

RETRY = (0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to list; the last one is repeated."""


@dataclass(frozen=True)
class Watch:
    """What is watched of a kind: namespaces ("" means all) and selectors."""

    resource: Resource[Any]
    namespaces: tuple[str, ...] = ("",)
    labels: str = ""
    fields: str = ""


class Cache:
    """Every watched object. Objects are shared between all who ask: never change one."""

    def __init__(self, cluster: Cluster, *, interval: float = 300.0) -> None:
        """`interval`: seconds after which a kind is compared with a fresh list."""
        self._cluster = cluster
        self._interval = interval
        self._watches: dict[Resource[Any], Watch] = {}
        self._stores: dict[Resource[Any], Store[Any]] = {}
        self._subscribers: dict[Resource[Any], list[Callable[[Change[Any]], None]]] = {}
        self._relist: dict[Resource[Any], asyncio.Event] = {}
        self._ready: dict[Resource[Any], asyncio.Event] = {}
        cluster.observers.append(self._written)

    # For controllers

    def get(self, resource: Resource[T], key: Key) -> T | None:
        """The object; None if it does not exist (or never could be read, see `unreadable`)."""
        return self._store(resource).get(key)

    def list(
        self, resource: Resource[T], namespace: str = "", *, label: tuple[str, str] | None = None
    ) -> builtins.list[T]:
        """Objects sorted by key, of one namespace and one label's value if these are given."""
        store = self._store(resource)
        found = (store.get(key) for key in store.keys(namespace, label))
        return [obj for obj in found if obj is not None]

    def keys(self, resource: Resource[Any], namespace: str = "") -> builtins.list[Key]:
        """Sorted keys, of one namespace if it is given."""
        return self._store(resource).keys(namespace)

    def ready(self, resource: Resource[Any] | None = None) -> bool:
        """Whether the kind (or all kinds) was listed, so that what is missing here does not exist."""
        wanted = self._ready if resource is None else (resource,)
        return all(self._ready[each].is_set() for each in wanted)

    def unreadable(self, resource: Resource[Any]) -> Mapping[Key, str]:
        """Objects whose newest version does not fit the model, and why."""
        return self._store(resource).errors

    # For the runtime

    @property
    def watches(self) -> Sequence[Watch]:
        """All that is watched."""
        return list(self._watches.values())

    def track(self, watch: Watch) -> None:
        """Keep a kind. Raises ValueError if it is kept with other selectors."""
        known = self._watches.setdefault(watch.resource, watch)
        if known != watch:
            raise ValueError(f"{watch.resource} is watched in two ways: {known} and {watch}")
        self._stores.setdefault(watch.resource, Store(watch.resource))
        self._relist.setdefault(watch.resource, asyncio.Event())
        self._ready.setdefault(watch.resource, asyncio.Event())

    def subscribe(self, resource: Resource[T], callback: Callable[[Change[T]], None]) -> None:
        """Call back with every change of a kind's objects."""
        self._subscribers.setdefault(resource, []).append(callback)

    def watches_all(self, resource: Resource[Any], namespace: str) -> bool:
        """Whether what is missing here does not exist: the kind is watched in this namespace without
        selectors.
        """
        watch = self._watches.get(resource)
        if watch is None or watch.labels or watch.fields or not self.ready(resource):
            return False
        return watch.namespaces == ("",) or namespace in watch.namespaces

    def entry(self, resource: Resource[T], key: Key) -> Entry[T] | None:
        """All that is known of an object; None as well where the kind is not watched."""
        store = self._stores.get(resource)
        return store.entry(key) if store else None

    def ingest(self, resource: Resource[Any], deleted: bool, raw: Object) -> None:
        """Take in one version of an object, or its deletion."""
        store = self._store(resource)
        change = store.remove(raw) if deleted else store.put(raw)
        if change is not None:
            self._publish(resource, [change])

    def relist_soon(self, resource: Resource[Any]) -> None:
        """Compare with a fresh list: a watch started anew."""
        self._relist[resource].set()

    async def wait_ready(self) -> None:
        """Return when all kinds have been listed."""
        for ready in self._ready.values():
            await ready.wait()

    async def keep(self, resource: Resource[Any]) -> None:
        """Compare with a list when asked to and every interval, for ever. Raises HistoryRewound."""
        wake = self._relist[resource]
        while True:
            try:
                async with asyncio.timeout(self._interval * random.uniform(0.9, 1.0)):  # noqa: S311
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()
            await self._compare(resource)
            self._ready[resource].set()

    async def _compare(self, resource: Resource[Any]) -> None:
        watch, store = self._watches[resource], self._store(resource)
        for namespace in watch.namespaces:
            attempt = 0
            while True:
                mark = store.newest
                try:
                    raws, version = await self._cluster.list_raw(
                        resource, namespace, labels=watch.labels, fields=watch.fields
                    )
                    break
                except ClusterError as error:
                    get_logger().warning("list failed", kind=resource.kind, error=str(error))
                    await asyncio.sleep(RETRY[min(attempt, len(RETRY) - 1)])
                    attempt += 1
            if version < mark:
                raise HistoryRewound(f"{resource}: listed at {version} after {mark} was seen")
            self._publish(resource, store.replace(raws, version, namespace))

    def _written(self, resource: Resource[Any], raw: Object, removed: bool) -> None:
        watch = self._watches.get(resource)
        # A selector decides what belongs here, and only the server can judge it: its watch will tell.
        if watch is None or watch.labels or watch.fields:
            known = self.entry(resource, Key.of(raw))
            if known is None:
                return
        elif watch.namespaces != ("",) and Key.of(raw).namespace not in watch.namespaces:
            return
        self.ingest(resource, removed, raw)

    def _publish(self, resource: Resource[Any], changes: Sequence[Change[Any]]) -> None:
        store = self._store(resource)
        metrics.CACHE_OBJECTS.labels(resource.kind).set(len(store))
        errors = store.errors
        metrics.UNREADABLE.labels(resource.kind).set(len(errors))
        for change in changes:
            if change.key in errors:
                get_logger().error(
                    "object does not fit its model",
                    kind=resource.kind,
                    namespace=change.key.namespace,
                    name=change.key.name,
                    error=errors[change.key],
                )
            for callback in self._subscribers.get(resource, ()):
                callback(change)

    def _store(self, resource: Resource[T]) -> Store[T]:
        try:
            return cast(Store[T], self._stores[resource])
        except KeyError:
            raise KeyError(f"{resource} is no input of any controller, so it is not watched") from None
