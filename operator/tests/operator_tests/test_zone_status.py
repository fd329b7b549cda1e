"""What users read of a zone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dsecos_api import Condition, NetworkZone, Node, Reason, Stack, Type
from dsecos_operator.zones.whole import settle

from .objects import naming, peer, placed, zone

VXLAN: dict[str, Any] = {"encapsulation": {"type": "vxlan"}}


def told(*zones: NetworkZone, stacks: Iterable[Stack] = (), nodes: Iterable[Node] = ()) -> NetworkZone:
    """Zone `backend` with its status."""
    found, _ = settle(zones, stacks, [], [*nodes] or [peer(1), peer(2)])
    return next(each for each in found if each.name == "backend")


def condition(this: NetworkZone, kind: Type) -> Condition | None:
    return next((each for each in this.status.conditions if each.type == kind), None)


def agreed(this: NetworkZone) -> tuple[str, str, str]:
    """Status, reason and message of PeersAgreed."""
    found = condition(this, Type.PEERS_AGREED)
    assert found is not None
    return found.status, found.reason, found.message


def test_a_spanning_zone_shows_what_it_has() -> None:
    found = told(zone(cidr6="fd00:20::/64", **VXLAN, status={})).status
    assert (found.gateway, found.gateway6, found.mtu) == ("10.20.0.1", "fd00:20::1", 1450)
    assert found.id is not None
    assert found.addresses is not None
    assert (found.addresses.allocated, found.addresses.available) == (0, 253)


def test_a_local_zone_has_the_mtu_of_ethernet_and_no_id() -> None:
    found = told(zone()).status
    assert (found.id, found.gateway6, found.mtu) == (None, None, 1500)


class TestPeersAgreed:
    def test_it_is_not_there_for_a_zone_without_peers(self) -> None:
        assert condition(told(zone()), Type.PEERS_AGREED) is None

    def test_each_peer_that_has_not_agreed_is_named_with_the_reason(self) -> None:
        found = told(
            zone(**VXLAN, **naming("gone", "silent", "bad", "good")),
            zone("10.21.0.0/24", name="silent", **VXLAN),
            zone("10.22.0.0/30", name="bad", **VXLAN, **naming("backend")),
            zone("10.23.0.0/24", name="good", **VXLAN, **naming("backend")),
        )
        status, reason, message = agreed(found)
        assert (status, reason) == ("False", Reason.PEER_NOT_AGREED)
        assert message.startswith("nothing passes where a peer has not agreed: acme/gone does not exist")
        for words in (
            "acme/gone does not exist",
            "acme/silent does not name this zone",
            "acme/bad cannot be had (CidrInvalid)",
        ):
            assert words in message
        assert "good" not in message
        ready = condition(found, Type.READY)
        assert ready is not None
        assert ready.status == "True", "the rest is in force"

    def test_all_may_agree(self) -> None:
        found = told(
            zone(**VXLAN, **naming("good", "backend")),
            zone("10.23.0.0/24", name="good", **VXLAN, **naming("backend")),
        )
        assert agreed(found) == ("True", Reason.ALL_AGREED, "every peer names this zone too")

    def test_zones_of_different_kinds_are_agreed_and_meet_on_the_same_node_only(self) -> None:
        local, wide = zone(**naming("wide")), zone("10.23.0.0/24", name="wide", **VXLAN, **naming("backend"))
        status, _, message = agreed(told(local, wide))
        assert status == "True"
        assert "guests reach those of acme/wide on the same node only, as acme/backend is local" in message


class TestReady:
    def test_a_node_that_cannot_take_the_zone_stalls_it_and_the_rest_is_had(self) -> None:
        nodes = [peer(1), peer(2, capabilities=["zone/ipv6"])]
        stacks = [placed("one", "node-1", "10.20.0.2"), placed("two", "node-2", "10.20.0.3")]
        found = told(zone(**VXLAN), stacks=stacks, nodes=nodes)
        stalled = condition(found, Type.STALLED)
        assert stalled is not None
        assert (stalled.reason, "node-2" in stalled.message) == (Reason.NODE_INCAPABLE, True)
        assert found.status.gateway == "10.20.0.1", "Stacks can be had on the other node"

    def test_a_zone_that_cannot_be_had_gives_nothing_out(self) -> None:
        found = told(zone(**VXLAN, status={}), nodes=[peer(1, tunnel_mtu=600)])
        stalled = condition(found, Type.STALLED)
        assert stalled is not None
        assert stalled.reason == Reason.MTU_TOO_SMALL
        assert (found.status.gateway, found.status.id, found.status.mtu) == (None, None, None)
