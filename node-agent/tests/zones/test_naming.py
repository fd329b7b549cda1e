"""From a ZoneAttachment to the links that it asks for."""

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest
from dsecos_agent.links.protocol import Encapsulation, Remote
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of, transit_of

from ..guests.samples import attachment  # noqa: TID252
from .samples import REMOTE, TRANSIT, spanning


def test_a_local_zone_asks_for_what_it_always_did() -> None:
    bridge = bridge_of("dt", attachment())
    assert (bridge.gateway, bridge.mtu, bridge.gateway6, bridge.mac) == (
        IPv4Interface("10.20.0.1/24"),
        1500,
        None,
        None,
    )
    assert transit_of("dt", attachment()) is None


def test_a_zone_that_spans_nodes_has_the_same_gateway_everywhere() -> None:
    bridge = bridge_of("dt", spanning())
    assert bridge.gateway6 == IPv6Interface("fd00:20::1/64")
    assert bridge.mac == "02:00:00:00:00:01"


def test_its_remotes_are_sorted() -> None:
    other = {**REMOTE, "node": "node-3", "address": "192.0.2.10", "guests": ["fd00:20::9", "10.20.0.9"]}
    transit = transit_of("dt", spanning(transit={**TRANSIT, "remotes": [other, REMOTE]}))
    assert transit is not None
    assert transit.mtu == 1450
    assert transit.remotes == (
        Remote(
            IPv4Address("192.0.2.2"),
            "02:00:c0:00:02:02",
            (IPv4Address("10.20.0.20"), IPv6Address("fd00:20::20")),
        ),
        Remote(
            IPv4Address("192.0.2.10"),
            "02:00:c0:00:02:02",
            (IPv4Address("10.20.0.9"), IPv6Address("fd00:20::9")),
        ),
    )


@pytest.mark.parametrize(
    ("encapsulation", "number"), [("vxlan", 2**24 - 1), ("vxlan", 1), ("vlan", 4094), ("vlan", 1)]
)
def test_its_encapsulation_and_id(encapsulation: str, number: int) -> None:
    zone = spanning(encapsulation={"type": encapsulation}, transit={**TRANSIT, "id": number})
    transit = transit_of("dt", zone)
    assert transit is not None
    assert (transit.encapsulation, transit.id) == (Encapsulation(encapsulation), number)


def test_a_zone_whose_nodes_are_not_known_yet_has_its_bridge() -> None:
    assert transit_of("dt", spanning(transit=None)) is None
    assert bridge_of("dt", spanning(transit=None)).mtu == 1450


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"encapsulation": {"type": "vlan"}, "transit": {**TRANSIT, "id": 4095}},
            "4095 is no 802.1Q id: these lie between 1 and 4094",
        ),
        ({"encapsulation": {"type": "local"}}, "encapsulation local has no link"),
        ({"gateway": "fd00:20::1", "prefixLength": 64}, "name an IPv4 network as well"),
        ({"gateway6": "fd00:99::1"}, "fd00:99::1 is in no IPv6 network"),
        ({"transit": {**TRANSIT, "address": "fd00::1"}}, "fd00::1 of this node is no IPv4 address"),
        (
            {"transit": {**TRANSIT, "remotes": [{**REMOTE, "address": "fd00::2"}]}},
            "fd00::2 of node node-2 is no IPv4 address",
        ),
    ],
)
def test_what_cannot_be_done_is_named(changes: dict[str, object], words: str) -> None:
    for call in (bridge_of, transit_of):
        with pytest.raises(UnsupportedZoneError, match=words):
            call("dt", spanning(**changes))


def test_a_guest_without_a_proper_address_is_named() -> None:
    zone = spanning(transit={**TRANSIT, "remotes": [{**REMOTE, "guests": ["10.20.0.999"]}]})
    with pytest.raises(UnsupportedZoneError, match="node node-2 has a guest without an address"):
        transit_of("dt", zone)
