"""Where a Stack goes, and what it is told when it cannot go anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_api import Reason
from dsecos_api.networkzone import EncapsulationType
from dsecos_api.types import GuestType
from dsecos_operator.rendering import Refused
from dsecos_operator.scheduling import Rules, Wanted, place, stay
from dsecos_operator.scheduling.network import Asks

from .objects import node, occupant, peer

VXLAN, VLAN = EncapsulationType.VXLAN, EncapsulationType.VLAN

RULES = Rules(cpu_overcommit=2.0, reserved_ports=frozenset({("TCP", 22)}))
GI = 2**30


def wanted(**more: Any) -> Wanted:
    values: dict[str, Any] = {
        "namespace": "acme",
        "stack": "shop",
        "uid": "uid-shop",
        "zone": "backend",
        "type": GuestType.CONTAINER,
        "selector": (),
        "cpu": 500,
        "memory": GI,
        "host_ports": frozenset(),
        "pools": frozenset(),
    }
    return Wanted(**{**values, **more})


def test_the_node_with_the_most_memory_left_is_taken() -> None:
    nodes = [node("a"), node("b")]
    assert place(wanted(), nodes, [], RULES) == "a"
    assert place(wanted(), nodes, [occupant("x", node="a", zone="other")], RULES) == "b"


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], list[Any], Reason, str, bool]] = {
    # wanted, node, occupants, reason, told, stalled
    "more memory than it has": (
        {"memory": 4096 * GI},
        {},
        [],
        Reason.NO_NODE_FITS,
        "node-1: memory 4Ti is wanted, 0 of 8Gi allocatable is taken",
        True,
    ),
    "more memory than is left": (
        {"memory": 4 * GI},
        {},
        [occupant("x", memory=6 * GI)],
        Reason.NO_NODE_FITS,
        "6Gi of 8Gi",
        False,
    ),
    "more cores than it has": ({"cpu": 8000}, {}, [], Reason.NO_NODE_FITS, "cpu 8 is wanted, it has 4", True),
    "more cores than may be promised": (
        {"cpu": 2000},
        {},
        [occupant("x", cpu=7000)],
        Reason.NO_NODE_FITS,
        "7 of 8 (2 times allocatable)",
        False,
    ),
    "no room": ({}, {"guests": "1"}, [occupant("x")], Reason.NO_NODE_FITS, "room for 1 guests", False),
    "not ready": ({}, {"ready": False}, [], Reason.NO_NODE_FITS, "not Ready (AgentLost)", False),
    "maintenance": ({}, {"maintenance": True}, [], Reason.NO_NODE_FITS, "maintenance", False),
    "a label": (
        {"selector": (("gpu", "yes"),)},
        {},
        [],
        Reason.NO_NODE_FITS,
        "lacks the label gpu=yes",
        True,
    ),
    "a pool": (
        {"pools": frozenset({"tape"})},
        {},
        [],
        Reason.POOL_NOT_FOUND,
        "no pool tape (it has default)",
        True,
    ),
    "a vm": (
        {"type": GuestType.VM},
        {},
        [],
        Reason.UNSUPPORTED,
        "engine lxc runs no guests of type vm",
        True,
    ),
    "a port": (
        {"host_ports": frozenset({("TCP", 8080)})},
        {},
        [occupant("x", host_ports=frozenset({("TCP", 8080)}))],
        Reason.PORT_CONFLICT,
        "host port 8080/TCP is taken by Stack acme/x",
        False,
    ),
    "a port of the node": (
        {"host_ports": frozenset({("TCP", 22)})},
        {"hostPorts": [{"port": 22}]},
        [],
        Reason.PORT_CONFLICT,
        "host port 22/TCP is the node's own",
        True,
    ),
    "a port that the node does not give out": (
        {"host_ports": frozenset({("TCP", 443)})},
        {},
        [],
        Reason.PORT_CONFLICT,
        "host port 443/TCP is not one that it gives out (its spec.hostPorts: 1024-65535)",
        True,
    ),
    "data elsewhere": (
        {"data_on": "node-9"},
        {},
        [],
        Reason.NO_NODE_FITS,
        "retained data is on node-9",
        True,
    ),
    "a zone elsewhere": (
        {},
        {},
        [occupant("x", node="node-9")],
        Reason.NO_NODE_FITS,
        "zone backend is local and lives on node-9",
        False,
    ),
    "a zone that it cannot take": (
        {"asks": Asks(VXLAN)},
        {"capabilities": ["container/Adopt"]},
        [],
        Reason.NODE_INCAPABLE,
        "node-1: it lacks zone/vxlan",
        True,
    ),
    "a zone of 802.1Q on a kernel without": (
        {"asks": Asks(VLAN)},
        {"capabilities": ["container/Adopt", "zone/vxlan"]},
        [],
        Reason.NODE_INCAPABLE,
        "node-1: it lacks zone/vlan (802.1Q)",
        True,
    ),
    "a zone that it may be able to take": (
        {"asks": Asks(ipv6=True)},
        {},
        [],
        Reason.NODE_INCAPABLE,
        "node-1: it lacks zone/ipv6",
        False,
    ),
    "a zone whose packets do not fit": (
        {"asks": Asks(VXLAN, ipv6=True)},
        {"capabilities": ["container/Adopt", "zone/vxlan", "zone/ipv6"], "tunnel_mtu": 1329},
        [],
        Reason.MTU_TOO_SMALL,
        "the MTU 1329 of its tunnel interface is too small: a zone with IPv6 needs 1330",
        True,
    ),
    "a zone whose packets do not fit though a tag takes nothing of them": (
        {"asks": Asks(VLAN, ipv6=True)},
        {"capabilities": ["container/Adopt", "zone/vlan", "zone/ipv6"], "tunnel_mtu": 1279},
        [],
        Reason.MTU_TOO_SMALL,
        "the MTU 1279 of its tunnel interface is too small: a zone with IPv6 needs 1280",
        True,
    ),
}


@pytest.mark.parametrize(
    ("wants", "has", "others", "reason", "told", "stalled"), REFUSED.values(), ids=REFUSED.keys()
)
def test_a_refusal_names_the_node_and_what_keeps_it(
    wants: dict[str, Any], has: dict[str, Any], others: list[Any], reason: Reason, told: str, stalled: bool
) -> None:
    with pytest.raises(Refused) as caught:
        place(wanted(**wants), [node(**has)], others, RULES)
    assert caught.value.reason == reason
    assert told in caught.value.message
    assert caught.value.stalled == stalled


def test_guests_of_a_zone_that_spans_nodes_may_be_anywhere() -> None:
    nodes, there = [peer(1), peer(2)], [occupant("x", node="node-1")]
    assert place(wanted(asks=Asks(VXLAN)), nodes, there, RULES) == "node-2"
    with pytest.raises(Refused, match="is local and lives on node-1"):
        place(wanted(), nodes[1:], there, RULES)


def test_a_node_that_can_take_the_zone_is_preferred_to_one_with_more_room() -> None:
    nodes = [peer(1, memory="2Gi"), node("node-2", capabilities=["container/Adopt"])]
    assert place(wanted(asks=Asks(VXLAN)), nodes, [], RULES) == "node-1"


def test_who_is_on_a_node_that_cannot_take_its_zone_any_more_stays_there() -> None:
    stay(wanted(asks=Asks(VXLAN)), node(), "node-1", [occupant("shop")], RULES)


def test_every_node_is_named() -> None:
    with pytest.raises(Refused) as caught:
        place(wanted(selector=(("gpu", "yes"),)), [node("a", ready=False), node("b")], [], RULES)
    assert "a: " in caught.value.message
    assert "b: " in caught.value.message


def test_without_nodes() -> None:
    with pytest.raises(Refused, match="there is no Node"):
        place(wanted(), [], [], RULES)


def test_the_same_port_of_another_protocol_is_another_port() -> None:
    other = occupant("x", host_ports=frozenset({("UDP", 8080)}))
    assert place(wanted(host_ports=frozenset({("TCP", 8080)})), [node()], [other], RULES) == "node-1"


@pytest.mark.parametrize("has", [{"ready": False}, {"maintenance": True}])
def test_who_is_there_stays_there(has: dict[str, Any]) -> None:
    me = occupant("shop")
    stay(wanted(), node(**has), "node-1", [me], RULES)


def test_a_port_that_is_held_is_kept_when_the_node_gives_out_others() -> None:
    held, other = frozenset({("TCP", 8080)}), frozenset({("TCP", 8443)})
    narrowed = node(hostPorts=[{"port": 443}, {"port": 9000, "endPort": 9999}])
    stay(wanted(host_ports=held), narrowed, "node-1", [occupant("shop", host_ports=held)], RULES)
    stay(wanted(host_ports=frozenset({("TCP", 443)})), narrowed, "node-1", [occupant("shop")], RULES)
    with pytest.raises(Refused, match=r"host port 8443/TCP is not one .* 443, 9000-9999"):
        stay(wanted(host_ports=other), narrowed, "node-1", [occupant("shop", host_ports=held)], RULES)
    claim = occupant("shop", host_ports=other, id_base=None)
    with pytest.raises(Refused, match="host port 8443/TCP"):
        stay(wanted(host_ports=other), narrowed, "node-1", [claim], RULES)


def test_who_is_there_is_not_counted_twice() -> None:
    stay(wanted(memory=8 * GI), node(), "node-1", [occupant("shop", memory=8 * GI)], RULES)


def test_who_is_there_and_asks_for_no_more_stays_however_full_others_make_the_node() -> None:
    small, crowd = node(guests="1"), occupant("x", memory=8 * GI, cpu=9000)
    me = occupant("shop")
    stay(wanted(), small, "node-1", [me, crowd], RULES)
    stay(wanted(cpu=100, memory=GI // 2), small, "node-1", [me, crowd], RULES)
    with pytest.raises(Refused, match="memory 2Gi is wanted, 8Gi of 8Gi") as caught:
        stay(wanted(memory=2 * GI), small, "node-1", [me, crowd], RULES)
    assert "cpu" not in caught.value.message
    claim = occupant("shop", id_base=None)
    with pytest.raises(Refused, match="room for 1 guests"):
        stay(wanted(), small, "node-1", [claim, crowd], RULES)
    stay(wanted(adopted=True), small, "node-1", [claim, crowd], RULES)


def test_who_is_there_cannot_grow_beyond_the_node() -> None:
    with pytest.raises(Refused, match="it does not fit: node-1: memory 9Gi"):
        stay(wanted(memory=9 * GI), node(), "node-1", [occupant("shop")], RULES)


def test_who_is_on_a_node_that_is_gone_is_told_so() -> None:
    with pytest.raises(Refused, match="does not exist any more"):
        stay(wanted(), None, "node-1", [], RULES)
