"""What is done for a zone's links, and whose are not as they should be."""

from dataclasses import replace

from dsecos_agent.links.protocol import ObservedBridge, ObservedPort
from dsecos_agent.zones.naming import bridge_name, bridge_of, port_name, transit_name, transit_of
from dsecos_agent.zones.plan import Seen, Wanted, changes, lost_ports, plan, removal
from dsecos_api import Guest

from ..guests.samples import STRANGER, ZONE_UID, attachment, guest  # noqa: TID252
from .samples import observed, spanning

WANTED = Wanted(bridge_of("dt", attachment()))
BRIDGE = WANTED.bridge
RIGHT = ObservedBridge(BRIDGE.name, BRIDGE.owner_uid, (BRIDGE.gateway,), True, BRIDGE.mtu, ())
SPANNING = Wanted(bridge_of("dt", spanning()), transit_of("dt", spanning()))
ALL_RIGHT = observed(SPANNING)
NAME = guest().name
PORT = ObservedPort(port_name("dt", NAME), BRIDGE.name, isolated=True, up=True)


def started() -> Guest:
    status = guest().status.model_copy(update={"started_at": "2026-11-21T00:00:00Z"})
    return guest().model_copy(update={"status": status})


def lost(port: ObservedPort | None, of: Guest) -> list[str]:
    ports = {port.name: port} if port else {}
    return lost_ports({"backend-1": WANTED}, ports, [of], port_of=lambda name: port_name("dt", name))


def names(wanted: Wanted, seen: Seen) -> list[str]:
    return [action.name for action in plan(wanted, seen)]


def test_names_fit_and_differ() -> None:
    assert len(bridge_name("dt", ZONE_UID)) <= 15
    assert bridge_name("dt", ZONE_UID) != bridge_name("dt", STRANGER)
    assert len(port_name("dt", "x" * 49)) <= 15
    assert len(transit_name("dt", ZONE_UID)) <= 15


def test_rules_come_before_the_bridge_and_the_way_to_other_nodes_last() -> None:
    assert names(WANTED, Seen(None)) == ["zone-firewall", "zone-bridge"]
    assert names(SPANNING, Seen(None)) == ["zone-firewall", "zone-bridge", "zone-transit"]


def test_what_is_right_is_left_alone() -> None:
    assert names(WANTED, Seen(RIGHT)) == ["zone-firewall"]
    assert names(SPANNING, ALL_RIGHT) == ["zone-firewall"]


def test_a_bridge_of_a_local_zone_may_have_any_mac() -> None:
    assert changes(WANTED, Seen(replace(RIGHT, mac="02:12:34:56:78:9a"))) == []


def test_a_zone_that_spans_nodes_no_more_loses_its_way_to_them() -> None:
    local = Wanted(SPANNING.bridge)
    assert names(local, ALL_RIGHT) == ["zone-firewall", "zone-transit-remove"]
    assert ALL_RIGHT.transit is not None
    foreign = replace(ALL_RIGHT, transit=replace(ALL_RIGHT.transit, owner_uid=STRANGER))
    assert names(local, foreign) == ["zone-firewall"]


def test_a_zone_that_goes_is_cut_off_first() -> None:
    assert [action.name for action in removal(ZONE_UID, ALL_RIGHT)] == [
        "zone-transit-remove",
        "zone-bridge-remove",
    ]
    assert removal(STRANGER, ALL_RIGHT) == []
    assert removal(ZONE_UID, Seen(None)) == []


def test_all_ports_are_as_they_should_be() -> None:
    assert lost(PORT, started()) == []


def test_a_lost_or_moved_port_wakes_its_guest() -> None:
    for port in (None, replace(PORT, bridge="other"), replace(PORT, isolated=False), replace(PORT, up=False)):
        assert lost(port, started()) == [NAME]


def test_a_guest_that_was_never_started_has_no_port_to_lose() -> None:
    assert lost(None, guest()) == []


def test_a_guest_whose_network_is_its_own_has_no_port_to_lose() -> None:
    adopted = guest(adopt="104").model_copy(update={"status": started().status})
    assert lost(None, adopted) == []
