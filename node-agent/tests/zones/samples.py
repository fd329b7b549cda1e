"""A zone that spans nodes, and its links as they are when all is right."""

from typing import Any

from dsecos_agent.links.entries import Forwarding, Neighbour, Route
from dsecos_agent.links.entries import wanted as entries
from dsecos_agent.links.protocol import Carrier, ObservedBridge, ObservedTransit
from dsecos_agent.zones.plan import Seen, Wanted
from dsecos_api import ZoneAttachment

from ..guests.samples import attachment  # noqa: TID252

REMOTE = {
    "node": "node-2",
    "address": "192.0.2.2",
    "mac": "02:00:c0:00:02:02",
    "guests": ["10.20.0.20", "fd00:20::20"],
}
TRANSIT = {"id": 4213, "address": "192.0.2.1", "mac": "02:00:c0:00:02:01", "remotes": [REMOTE]}


def spanning(**changes: Any) -> ZoneAttachment:
    found = {
        "cidrs": ["10.20.0.0/24", "fd00:20::/64"],
        "encapsulation": {"type": "vxlan"},
        "mtu": 1450,
        "gateway6": "fd00:20::1",
        "mac": "02:00:00:00:00:01",
        "transit": TRANSIT,
    }
    return attachment(**{**found, **changes})


def observed(wanted: Wanted) -> Seen:
    bridge, transit = wanted.bridge, wanted.transit
    found = ObservedBridge(
        bridge.name,
        bridge.owner_uid,
        (bridge.gateway,),
        True,
        bridge.mtu,
        (),
        () if bridge.gateway6 is None else (bridge.gateway6,),
        bridge.mac,
    )
    if transit is None:
        return Seen(found)
    carried = entries(transit)
    return Seen(
        found,
        ObservedTransit(
            name=transit.name,
            owner_uid=transit.owner_uid,
            carrier=Carrier(transit.encapsulation, transit.id, (transit.address,), closed=True),
            mac=transit.mac,
            mtu=transit.mtu,
            up=True,
            closed=True,
            forwarding=frozenset((each.mac, each.node) for each in carried if isinstance(each, Forwarding)),
            neighbours=frozenset((each.hop, each.mac) for each in carried if isinstance(each, Neighbour)),
            routes=frozenset((each.guest, each.via) for each in carried if isinstance(each, Route)),
        ),
    )
