"""How much at a time: parallel clones and creations end in "can't lock file ... got timeout" and full disks.

Taken in the order template, storage, node; so nobody waits for somebody who waits for him.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dsecos_agent.engines.proxmox.settings import ProxmoxSettings


class Gates:
    """Semaphores by node, storage and template, of one event loop."""

    def __init__(self, settings: ProxmoxSettings) -> None:
        """All open."""
        self._nodes = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(settings.node_tasks))
        self._storages = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(settings.storage_tasks)
        )
        # Two clones of one template at once: "CT is locked (disk)".
        self._templates = defaultdict[str, asyncio.Lock](asyncio.Lock)

    @asynccontextmanager
    async def node(self, node: str) -> AsyncIterator[None]:
        """One more task of ours on a node."""
        async with self._nodes[node]:
            yield

    @asynccontextmanager
    async def storage(self, storage: str) -> AsyncIterator[None]:
        """One more disk written on a storage."""
        async with self._storages[storage]:
            yield

    @asynccontextmanager
    async def template(self, template: str) -> AsyncIterator[None]:
        """The only one that uploads, or clones from, this template."""
        async with self._templates[template]:
            yield
