"""Zones' bridges, and whose links are not as they should be."""

from dataclasses import replace

from dsecos_agent.links.protocol import ObservedBridge, ObservedPort
from dsecos_agent.zones.naming import bridge_name, bridge_of, port_name
from dsecos_agent.zones.plan import drifted, plan
from dsecos_api import Guest

from ..guests.samples import STRANGER, ZONE_UID, attachment, guest  # noqa: TID252

BRIDGE = bridge_of("dt", attachment())
RIGHT = ObservedBridge(BRIDGE.name, BRIDGE.owner_uid, (BRIDGE.gateway,), True, BRIDGE.mtu, ())
NAME = guest().name
PORT = ObservedPort(port_name("dt", NAME), BRIDGE.name, isolated=True, up=True)


def started() -> Guest:
    status = guest().status.model_copy(update={"started_at": "2026-11-21T00:00:00Z"})
    return guest().model_copy(update={"status": status})


def drift(bridge: ObservedBridge | None, port: ObservedPort | None, of: Guest) -> tuple[list[str], list[str]]:
    bridges = {bridge.name: bridge} if bridge else {}
    ports = {port.name: port} if port else {}
    return drifted(bridges, ports, [attachment()], [of], "dt", port_of=lambda name: port_name("dt", name))


def test_names_fit_and_differ() -> None:
    assert len(bridge_name("dt", ZONE_UID)) <= 15
    assert bridge_name("dt", ZONE_UID) != bridge_name("dt", STRANGER)
    assert len(port_name("dt", "x" * 49)) <= 15


def test_rules_come_before_the_bridge() -> None:
    assert [action.name for action in plan(BRIDGE, None)] == ["zone-firewall", "zone-bridge"]


def test_a_right_bridge_is_left_alone() -> None:
    assert [action.name for action in plan(BRIDGE, RIGHT)] == ["zone-firewall"]


def test_all_is_as_it_should_be() -> None:
    assert drift(RIGHT, PORT, started()) == ([], [])


def test_a_deleted_bridge_wakes_zone_and_guest() -> None:
    assert drift(None, replace(PORT, bridge=None), started()) == (["backend-1"], [NAME])


def test_a_changed_bridge_wakes_its_zone() -> None:
    assert drift(replace(RIGHT, addresses=()), PORT, started()) == (["backend-1"], [])


def test_a_lost_or_moved_port_wakes_its_guest() -> None:
    for port in (None, replace(PORT, bridge="other"), replace(PORT, isolated=False), replace(PORT, up=False)):
        assert drift(RIGHT, port, started()) == ([], [NAME])


def test_a_guest_that_was_never_started_has_no_port_to_lose() -> None:
    assert drift(RIGHT, None, guest()) == ([], [])


def test_a_guest_whose_network_is_its_own_has_no_port_to_lose() -> None:
    adopted = guest(adopt="104").model_copy(update={"status": started().status})
    assert drift(RIGHT, None, adopted) == ([], [])
