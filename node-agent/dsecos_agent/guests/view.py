"""The host's datasets, bridges and ports as all guests share them.

One listing serves every guest. Whatever we change ourselves makes it old at once, and so does every event of
the kernel's links; what nobody tells is seen when it is `AGE` old.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from dsecos_agent.links.protocol import Links, ObservedBridge, ObservedPort
from dsecos_agent.storage.protocol import Dataset, DatasetKind, Pool

AGE = 30.0
"""Seconds."""

T = TypeVar("T")


class Shared(Generic[T]):
    """One listing."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._until = 0.0
        self._version = 0

    def expire(self) -> None:
        """What is known may be wrong now."""
        self._version += 1
        self._until = 0.0

    async def changing(self, change: Awaitable[object]) -> None:
        """Wait for a change of what is listed; however it ends, what is known may be wrong."""
        try:
            await change
        finally:
            self.expire()

    async def get(self) -> T:
        """The listing, at most `AGE` old and never from before the last `expire()`."""
        async with self._lock:
            while self._value is None or time.monotonic() >= self._until:
                version, now = self._version, time.monotonic()
                self._value = await self._read()
                if version == self._version:
                    self._until = now + AGE
                    break
            return self._value


@dataclass(frozen=True, slots=True)
class LinkView:
    """All links of this instance."""

    bridges: Mapping[str, ObservedBridge]
    ports: Mapping[str, ObservedPort]


class HostView:
    """What is shared."""

    def __init__(self, pools: Mapping[str, Pool], links: Links) -> None:
        self._links = links
        self.links = Shared(self._read_links)
        """Bridges and guests' ports."""
        self._pools = pools
        self._datasets: dict[str, Shared[Mapping[tuple[DatasetKind, str], Dataset]]] = {}

    async def datasets(self, pool: str) -> Mapping[tuple[DatasetKind, str], Dataset]:
        """What a pool holds, by kind and name."""
        if pool not in self._datasets:
            self._datasets[pool] = Shared(lambda: self._read_datasets(pool))
        return await self._datasets[pool].get()

    async def has_guest(self, name: str) -> bool:
        """Whether any pool holds a guest's disk."""
        held = [await self.datasets(pool) for pool in self._pools]
        return any((DatasetKind.GUEST, name) in datasets for datasets in held)

    def expire_datasets(self) -> None:
        """After a change to any pool."""
        for shared in self._datasets.values():
            shared.expire()

    async def _read_datasets(self, pool: str) -> Mapping[tuple[DatasetKind, str], Dataset]:
        return {(each.kind, each.name): each for each in await self._pools[pool].list_datasets()}

    async def _read_links(self) -> LinkView:
        bridges, ports = await asyncio.gather(self._links.list_bridges(), self._links.list_ports())
        return LinkView({each.name: each for each in bridges}, {each.name: each for each in ports})
