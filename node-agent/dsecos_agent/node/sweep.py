"""Finds what carries our mark and belongs to nobody.

It is reported, in a metric and an event, and left alone.
"""

import time
from collections import Counter
from collections.abc import Callable

from dsecos_runtime import GUEST, Cluster, get_logger
from prometheus_client import Gauge

from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.leftovers import Orphan, orphans
from dsecos_agent.guests.record import Records
from dsecos_agent.guests.view import HostView
from dsecos_agent.links.protocol import Links
from dsecos_agent.node.inventory import Inventory
from dsecos_agent.storage.protocol import Pool

EVERY = 300.0
"""Seconds between two sweeps."""

ORPHANS = Gauge("dsecos_orphans", "Things of ours on this node that no object accounts for", ["kind"])
KINDS = ("container", "disk", "port")


class Sweep:
    """Looks now and then."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        engine: Engine,
        links: Links,
        view: HostView,
        pools: dict[str, Pool],
        records: Records,
        namespace: str,
        inventory: Inventory,
        port_of: Callable[[str], str | None],
    ) -> None:
        """`port_of` tells a guest's port, where it is known."""
        self._cluster = cluster
        self._engine = engine
        self._links = links
        self._view = view
        self._pools = pools
        self._records = records
        self._namespace = namespace
        self._inventory = inventory
        self._port_of = port_of
        self._known: frozenset[Orphan] = frozenset()
        self._next = 0.0

    async def new_orphans(self) -> list[Orphan]:
        """Those that were not there at the last sweep; nothing between two sweeps. Raises ClusterError:
        without a complete answer of the API server nothing is an orphan.
        """
        if time.monotonic() < self._next:
            return []
        # Things first, the list after them: a guest that is made meanwhile is in the list.
        guests = await self._engine.list_guests()
        ports = await self._links.list_ports()
        datasets = [each for pool in self._pools for each in (await self._view.datasets(pool)).values()]
        known = [guest.name for guest in await self._cluster.list(GUEST, self._namespace)]
        found = orphans(
            known,
            records=self._records,
            engine=guests,
            datasets=datasets,
            ports=ports,
            port_of=self._port_of,
            engine_node=self._inventory.engine_node,
        )
        self._next = time.monotonic() + EVERY
        counts = Counter(orphan.kind for orphan in found)
        for kind in KINDS:
            ORPHANS.labels(kind).set(counts[kind])
        new = [orphan for orphan in found if orphan not in self._known]
        for orphan in new:
            get_logger().warning("orphan: reported, not touched", kind=orphan.kind, orphan=orphan.name)
        self._known = frozenset(found)
        return new
