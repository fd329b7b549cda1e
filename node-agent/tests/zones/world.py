"""A node with a zone: its controller on a real kernel. The API server's part is a double."""

import asyncio
import subprocess
from types import SimpleNamespace
from typing import Any, cast

from dsecos_agent.guests.view import HostView
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.names.model import NameServers
from dsecos_agent.zones.controller import ZoneController
from dsecos_agent.zones.naming import bridge_name, transit_name
from dsecos_agent.zones.serving import Serving
from dsecos_api import ZoneAttachment
from dsecos_api.conditions import Condition, Reason, Type
from dsecos_runtime import ZONE_ATTACHMENT, Key, Requeue

from ..guests.samples import NAMESPACE, ZONE_UID  # noqa: TID252
from ..links.netns import ip  # noqa: TID252
from .servers import Servers

MARK = "dtg0000ffff"
"""A guest's port that comes and goes, so that a look is taken."""

LONG = 60.0
"""Seconds that only a failure takes."""

BRIDGE, TRANSIT_LINK = bridge_name("dt", ZONE_UID), transit_name("dt", ZONE_UID)


class Surroundings:
    """What the controller is given instead of an API server and a firewall; remembers the order of all."""

    def __init__(self) -> None:
        self.zones: dict[str, ZoneAttachment] = {}
        self.servers = Servers()
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.status: Any = None
        self.synced = 0
        self.cache = self.cluster = self.events = self
        self.runtime = SimpleNamespace(cache=self, cluster=self, events=self, status=self)

    def get(self, _: object, key: Key) -> ZoneAttachment | None:
        return self.zones.get(key.name)

    def list(self, resource: object, _: str) -> list[ZoneAttachment]:
        return list(self.zones.values()) if resource is ZONE_ATTACHMENT else []

    async def add_finalizer(self, _: object, zone: ZoneAttachment, __: str) -> ZoneAttachment:
        return zone

    async def remove_finalizer(self, _: object, zone: ZoneAttachment, __: str) -> None:
        del self.zones[zone.name]

    async def write(self, _: object, __: ZoneAttachment, status: object) -> None:
        self.status = status

    def warning(self, _: object, __: ZoneAttachment, reason: Reason, text: str) -> None:
        assert reason is Reason.REPAIRED
        self.told.put_nowait(text)

    async def sync(self) -> None:
        self.synced += 1


class Watched(ZoneController):
    """Its queue is this event loop."""

    def __init__(self, around: Surroundings, links: NetlinkLinks, servers: NameServers | None = None) -> None:
        """Name servers are doubles unless they are given."""
        super().__init__(
            cast("Any", around.runtime),
            links=links,
            view=HostView({}, links),
            firewall=cast("Any", around),
            serving=Serving(servers or around.servers, "dt"),
            prefix="dt",
            namespace=NAMESPACE,
            wake_guest=lambda _: None,
            port_of=lambda _: None,
            orphaned=lambda: (),
        )
        self.woken = self.looks = 0
        self.again: Requeue | None = None
        self._looked = asyncio.Condition()
        self._one = asyncio.Lock()
        self._jobs: set[asyncio.Task[None]] = set()

    def wake(self, key: Key) -> None:
        self.woken += 1
        job = asyncio.create_task(self.pass_(key))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _look_at_links(self) -> None:
        await super()._look_at_links()
        async with self._looked:
            self.looks += 1
            self._looked.notify_all()

    async def looked(self, since: int) -> None:
        """Somebody was told of a change after `since` looks, and what came of it was done."""
        async with asyncio.timeout(LONG), self._looked:
            await self._looked.wait_for(lambda: self.looks > since)
        await asyncio.gather(*self._jobs)

    async def pass_(self, key: Key) -> None:
        async with self._one:
            self.again = await self.reconcile(key)


class Zone:
    """A node with one zone."""

    def __init__(self, around: Surroundings, links: NetlinkLinks, controller: Watched) -> None:
        self.around, self.links, self.controller = around, links, controller

    def condition(self, kind: Type) -> Condition | None:
        """As it was told last."""
        return next((each for each in self.around.status.conditions if each.type == kind), None)

    async def wants(self, zone: ZoneAttachment, generation: int = 1) -> None:
        metadata = zone.metadata.model_copy(update={"generation": generation})
        self.around.zones[zone.name] = zone.model_copy(update={"metadata": metadata})
        await self.controller.pass_(Key(NAMESPACE, zone.name))

    async def settled(self) -> None:
        """What was changed until now has been looked at, and nothing is left to be done."""
        while True:
            woken, looks = self.controller.woken, self.controller.looks
            ip(f"link add {MARK} type veth peer mark0")
            await self.controller.looked(looks)
            looks = self.controller.looks
            ip(f"link del {MARK}")
            await self.controller.looked(looks)
            if woken == self.controller.woken:
                return

    async def repaired(self, change: str) -> str:
        """What is told once something was changed by hand."""
        by_hand(change)
        async with asyncio.timeout(LONG):
            return await self.around.told.get()


def by_hand(change: str) -> None:
    subprocess.run(change.split(), check=True, capture_output=True)
