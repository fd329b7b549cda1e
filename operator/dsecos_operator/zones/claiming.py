"""How a zone gets its id: one at a time, written down before anything is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dsecos_api import NetworkZone
from dsecos_api.networkzone import NetworkZoneStatus
from dsecos_api.peering import encapsulation
from dsecos_runtime import NETWORK_ZONE, ZONE_ATTACHMENT, Conflict, Key, Runtime, fault_point

from dsecos_operator.zones import ids

FAULT_POINT = "zone-claim"
"""Passed after the claim was written (`fault_point`)."""


class Claiming:
    """Gives out ids. Only the leader does, and it does so from what the API server has, not from the cache.

    A new leader's cache may lack the last claim of the one before, and a write whose answer got lost may
    still arrive: so all zones are read anew, and what was tried is remembered until it is seen.
    """

    def __init__(self, runtime: Runtime, vlan_ids: ids.IdRange) -> None:
        """`vlan_ids`: 802.1Q ids that zones can have."""
        self._runtime = runtime
        self._vlan_ids = vlan_ids
        self._lock = asyncio.Lock()
        self._promised: dict[str, int] = {}

    async def claim(self, zone: NetworkZone, claimed: Callable[[int], NetworkZoneStatus]) -> None:
        """Write an id to the zone's status; `claimed` makes the status that has it.

        Raises Refused (IdTaken), ClusterError.
        """
        async with self._lock:
            zones = await self._runtime.cluster.list(NETWORK_ZONE)
            fresh = next((each for each in zones if each.uid == zone.uid), None)
            if fresh is None or fresh.deleting:
                raise Conflict("the zone is gone, or was replaced")
            attachments = self._runtime.cache.list(ZONE_ATTACHMENT)
            known = ids.claims(encapsulation(fresh), zones, attachments)
            seen = {holder.uid for holder in known.values()}
            present = {each.uid for each in zones}
            self._promised = {
                uid: number for uid, number in self._promised.items() if uid in present and uid not in seen
            }
            number = ids.choose(fresh, zones, known, self._promised, self._vlan_ids)
            self._promised[zone.uid] = number
            await self._runtime.status.write(NETWORK_ZONE, fresh, claimed(number), urgent=True)
            written = self._runtime.cache.get(NETWORK_ZONE, Key.of(zone))
            if written is None or written.uid != zone.uid or written.status.id != number:
                raise Conflict("the claim was not taken: the zone is gone, or was replaced")
        fault_point(FAULT_POINT)
