"""One policy from all zones and guests."""

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from dsecos_agent.firewall.model import L4, EgressMode, EgressRule, ExposedPort, Policy
from dsecos_agent.nodefirewall.render import Forgotten, Ports, Rendered, render
from dsecos_agent.zones.naming import port_name
from dsecos_api import Guest, ZoneAttachment
from dsecos_api.conditions import Reason

from ..guests.samples import attachment, guest, spec  # noqa: TID252


def rendered(
    guests: list[Guest],
    zones: list[ZoneAttachment] | None = None,
    previous: Policy | None = None,
    forgotten: tuple[Forgotten, ...] = (),
    ports: Ports = lambda name: port_name("dt", name),
) -> Rendered:
    zones = [attachment()] if zones is None else zones
    return render(
        zones,
        guests,
        forgotten,
        prefix="dt",
        ports=ports,
        registry_port=5001,
        previous=previous or Policy(),
    )


def at(address: str, *ports: dict[str, Any], **changes: Any) -> Guest:
    network = {**spec()["network"], "address": address, "ports": list(ports)}
    return guest(name=f"guest-{address.rsplit('.', maxsplit=1)[1]}", network=network, **changes)


def port(number: int, host_port: int | None = None, *sources: str, protocol: str = "TCP") -> dict[str, Any]:
    found: dict[str, Any] = {"port": number, "protocol": protocol, "from": list(sources or ["0.0.0.0/0"])}
    return found if host_port is None else {**found, "hostPort": host_port}


def test_a_guest_and_its_zone() -> None:
    policy = rendered([guest()]).policy
    assert len(policy.zones) == 1
    assert policy.zones[0].egress is EgressMode.DENY
    (found,) = policy.guests
    assert found.bridge == policy.zones[0].bridge
    assert found.link.startswith("dtg")
    assert found.exposed == (ExposedPort(3000, L4.TCP, 3000, (IPv4Network("0.0.0.0/0"),)),)
    assert policy.registry_port == 5001
    assert not policy.name_server, "closed, unless the node serves names"


@pytest.mark.parametrize("paused", [None, True])
def test_a_guest_whose_network_is_its_own_has_no_rules(paused: bool | None) -> None:
    found = rendered([guest(), guest(name="wiki-00000001", adopt="104", paused=paused)])
    assert [each.name for each in found.policy.guests] == [guest().name]
    assert found.conflicts == {}


def test_nobody_may_is_no_port() -> None:
    exposed = {**port(80), "from": []}
    assert rendered([at("10.20.0.2", exposed)]).policy.guests[0].exposed == ()


def test_ipv6_sources_open_nothing_to_ipv4() -> None:
    assert rendered([at("10.20.0.2", port(80, None, "fd00::/64"))]).policy.guests[0].exposed == ()


def test_egress() -> None:
    to = [{"cidr": "192.0.2.0/24", "ports": [{"port": 443, "protocol": "TCP"}]}]
    zone = attachment(egress={"mode": "NAT", "to": to})
    found = rendered([], [zone]).policy.zones[0]
    assert found.egress is EgressMode.NAT
    assert found.egress_to == (EgressRule(IPv4Network("192.0.2.0/24"), frozenset({(L4.TCP, 443)})),)


def test_egress_to_ipv6_only_is_none() -> None:
    zone = attachment(egress={"mode": "NAT", "to": [{"cidr": "2001:db8::/32"}]})
    assert rendered([], [zone]).policy.zones[0].egress is EgressMode.DENY


def test_a_guest_without_a_zone_has_no_rules() -> None:
    assert rendered([guest()], []).policy.guests == ()


def test_the_order_of_objects_does_not_matter() -> None:
    guests = [at("10.20.0.2", port(80)), at("10.20.0.3"), at("10.20.0.4")]
    assert rendered(guests).policy == rendered(guests[::-1]).policy


def test_one_address_twice_the_first_keeps_it() -> None:
    first, second = (
        at("10.20.0.2"),
        at("10.20.0.2").model_copy(update={"metadata": guest(name="zz").metadata}),
    )
    found = rendered([second, first])
    assert [each.name for each in found.policy.guests] == ["guest-2"]
    assert found.conflicts["zz"].reason is Reason.ADDRESS_CONFLICT


def test_who_has_an_address_keeps_it_against_a_newcomer() -> None:
    holder = at("10.20.0.2").model_copy(update={"metadata": guest(name="zz").metadata})
    before = rendered([holder]).policy
    found = rendered([at("10.20.0.2"), holder], previous=before)
    assert [each.name for each in found.policy.guests] == ["zz"]


def test_a_node_port_twice_costs_the_second_that_port_only() -> None:
    found = rendered([at("10.20.0.2", port(80, 8080)), at("10.20.0.3", port(80, 8080), port(443, 8443))])
    second = next(each for each in found.policy.guests if each.name == "guest-3")
    assert [(each.port, each.host_port) for each in second.exposed] == [(80, None), (443, 8443)]
    assert found.conflicts["guest-3"].reason is Reason.PORT_CONFLICT
    assert "guest-2" in found.conflicts["guest-3"].message


def test_the_same_port_by_udp_is_another_port() -> None:
    found = rendered([at("10.20.0.2", port(53, 53)), at("10.20.0.3", port(53, 53, protocol="UDP"))])
    assert found.conflicts == {}


def test_paused_keeps_what_it_had() -> None:
    before = rendered([at("10.20.0.2", port(80))]).policy
    found = rendered([at("10.20.0.2", port(81), paused=True)], previous=before)
    assert found.policy == before


def test_who_was_left_running_keeps_its_rules() -> None:
    before = rendered([at("10.20.0.2", port(80))]).policy
    forgotten = Forgotten(before.zones[0], before.guests[0])
    assert rendered([], [], forgotten=(forgotten,)).policy == before


def test_unsupported_zones_have_no_bridge() -> None:
    assert rendered([], [attachment(gateway="fd00:20::1")]).policy.zones == ()


def test_a_changed_port_changes_the_policy() -> None:
    first = rendered([at("10.20.0.2", port(80))]).policy
    assert replace(first) == first
    assert rendered([at("10.20.0.2", port(81))]).policy != first


def test_a_guest_whose_link_is_not_known_has_no_rules() -> None:
    assert rendered([guest()], ports=lambda _: None).policy.guests == ()
    assert rendered([guest()], ports=lambda _: "veth20000i0").policy.guests[0].link == "veth20000i0"
