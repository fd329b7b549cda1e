"""What attachments say about other zones and other nodes."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_network
from typing import Any

from dsecos_agent.firewall.model import L4, Crossing, EgressMode, EgressRule, ExposedPort, Policy, Tunnel
from dsecos_agent.links.protocol import Encapsulation
from dsecos_agent.nodefirewall.render import Forgotten
from dsecos_agent.zones.naming import transit_name
from dsecos_api import Reason, ZoneAttachment

from ..guests.samples import ZONE_UID, attachment, guest  # noqa: TID252
from .test_render import at, port, rendered

SIX: dict[str, Any] = {"cidrs": ["10.20.0.0/24", "fd00:20::/64"], "gateway6": "fd00:20::1"}
FRONTEND: dict[str, Any] = {
    "zone": "frontend",
    "namespace": "acme",
    "cidrs": ["10.30.0.0/24", "fd00:30::/64"],
}
TRANSIT: dict[str, Any] = {
    "id": 42,
    "address": "192.0.2.1",
    "mac": "02:00:c0:00:02:01",
    "remotes": [
        {"node": "node-2", "address": "192.0.2.2", "mac": "02:00:c0:00:02:02", "guests": ["10.20.0.9"]}
    ],
}


def spanning(**changes: Any) -> ZoneAttachment:
    return attachment(
        **{
            **SIX,
            "encapsulation": {"type": "vxlan", "id": 42},
            "transit": TRANSIT,
            "ingress": [FRONTEND],
            **changes,
        }
    )


def test_a_zone_of_both_families_on_many_nodes() -> None:
    policy = rendered([], [spanning()]).policy
    (zone,) = policy.zones
    assert zone.gateway6 == IPv6Interface("fd00:20::1/64")
    assert zone.transit == transit_name("dt", ZONE_UID)
    assert policy.tunnel == Tunnel(IPv4Address("192.0.2.1"), (42,), (IPv4Address("192.0.2.2"),))


def test_a_vlan_has_no_tunnel_and_its_senders_are_known() -> None:
    vlan = spanning(encapsulation={"type": "vlan", "id": 42})
    policy = rendered([], [vlan]).policy
    (zone,) = policy.zones
    assert (zone.transit, zone.encapsulation) == (transit_name("dt", ZONE_UID), Encapsulation.VLAN)
    assert zone.senders == ("02:00:c0:00:02:02",)
    assert policy.tunnel is None
    assert rendered([], [spanning()]).policy.zones[0].senders == zone.senders, "so has VXLAN"
    paused = spanning(paused=True, encapsulation={"type": "vlan", "id": 42}, ingress=[], transit=None)
    assert rendered([], [paused], previous=policy).policy == policy
    guests = [at("10.20.0.2", port(53, 4789, protocol="UDP"))]
    assert rendered(guests, [vlan]).conflicts == {}, "the port of VXLAN is free"


def test_a_vlan_beside_a_vxlan_is_none_of_the_tunnels() -> None:
    other = spanning(
        name="frontend-1",
        uid="5e0f6b8e-0000-4000-8000-0000000000bb",
        cidrs=["10.30.0.0/24"],
        gateway="10.30.0.1",
        gateway6=None,
        encapsulation={"type": "vlan", "id": 43},
        transit={
            **TRANSIT,
            "id": 43,
            "remotes": [{**TRANSIT["remotes"][0], "node": "node-3", "address": "192.0.2.3"}],
        },
        ingress=[],
    )
    policy = rendered([], [spanning(), other]).policy
    assert policy.tunnel == Tunnel(IPv4Address("192.0.2.1"), (42,), (IPv4Address("192.0.2.2"),))
    paused = spanning(paused=True)
    assert rendered([], [paused, other], previous=policy).policy == policy


def test_who_may_come_in_is_judged_within_its_family() -> None:
    ingress = [{**FRONTEND, "ports": [{"port": 80, "protocol": "TCP"}]}]
    policy = rendered([], [spanning(ingress=ingress)]).policy
    ports = frozenset({(L4.TCP, 80)})
    assert set(policy.crossings) == {
        Crossing(IPv4Network("10.30.0.0/24"), IPv4Network("10.20.0.0/24"), ports),
        Crossing(IPv6Network("fd00:30::/64"), IPv6Network("fd00:20::/64"), ports),
    }


def test_a_zone_without_ipv6_takes_none_of_its_peers() -> None:
    policy = rendered([], [attachment(ingress=[FRONTEND])]).policy
    assert policy.crossings == (Crossing(IPv4Network("10.30.0.0/24"), IPv4Network("10.20.0.0/24")),)
    assert policy.tunnel is None


def test_all_zones_of_the_node_together() -> None:
    other = spanning(
        name="frontend-1",
        uid="5e0f6b8e-0000-4000-8000-0000000000bb",
        cidrs=["10.30.0.0/24"],
        gateway="10.30.0.1",
        gateway6=None,
        transit={
            **TRANSIT,
            "id": 43,
            "remotes": [{**TRANSIT["remotes"][0], "node": "node-3", "address": "192.0.2.3"}],
        },
        ingress=[],
    )
    forwards = rendered([], [spanning(), other]).policy
    assert forwards == rendered([], [other, spanning()]).policy
    peers = (IPv4Address("192.0.2.2"), IPv4Address("192.0.2.3"))
    assert forwards.tunnel == Tunnel(IPv4Address("192.0.2.1"), (42, 43), peers)


def test_a_paused_zone_keeps_who_may_come_in_and_from_where() -> None:
    before = rendered([], [spanning()]).policy
    changed = spanning(paused=True, ingress=[], transit={**TRANSIT, "remotes": []})
    assert rendered([], [changed], previous=before).policy == before


def test_who_was_left_running_has_no_way_to_other_nodes() -> None:
    before = rendered([at("10.20.0.2")], [spanning()]).policy
    left = rendered([], [], forgotten=(Forgotten(before.zones[0], before.guests[0]),)).policy
    assert left.guests == before.guests
    assert (left.zones[0].transit, left.zones[0].senders) == (None, ())
    assert left.crossings == ()
    assert left.tunnel is None


def test_a_guest_speaks_ipv6_where_its_zone_does() -> None:
    network = {
        **guest().spec.network.model_dump(mode="json", by_alias=True, exclude_none=True),  # type: ignore[union-attr] # it has one
        "address6": "fd00:20::2",
        "gateway6": "fd00:20::1",
        "ports": [port(80, None, "0.0.0.0/0", "::/0")],
    }
    (found,) = rendered([guest(network=network)], [attachment(**SIX)]).policy.guests
    assert found.address6 == IPv6Address("fd00:20::2")
    assert found.exposed == (ExposedPort(80, sources=(ip_network("0.0.0.0/0"), ip_network("::/0"))),)
    (found,) = rendered([guest(network=network)]).policy.guests
    assert found.address6 is None
    assert found.exposed == (ExposedPort(80),)


def test_one_ipv6_address_twice_the_first_keeps_it() -> None:
    def six(address: str) -> Any:
        network = at(address).spec.network
        assert network is not None
        return at(address).model_copy(
            update={
                "spec": at(address).spec.model_copy(
                    update={"network": network.model_copy(update={"address6": "fd00:20::2"})}
                )
            }
        )

    found = rendered([six("10.20.0.2"), six("10.20.0.3")], [attachment(**SIX)])
    assert [each.name for each in found.policy.guests] == ["guest-2"]
    assert found.conflicts["guest-3"].reason is Reason.ADDRESS_CONFLICT


def test_egress_by_lists_of_both_families() -> None:
    to = [{"cidr": "192.0.2.0/24"}, {"cidr": "2001:db8::/32"}]
    zone = rendered([], [attachment(**SIX, egress={"mode": "NAT", "to": to})]).policy.zones[0]
    assert zone.egress_to == (
        EgressRule(ip_network("192.0.2.0/24")),
        EgressRule(ip_network("2001:db8::/32")),
    )


def test_an_ipv6_list_opens_nothing_in_ipv4() -> None:
    zone = rendered(
        [], [attachment(**SIX, egress={"mode": "NAT", "to": [{"cidr": "2001:db8::/32"}]})]
    ).policy.zones[0]
    assert zone.egress is EgressMode.NAT
    assert [rule.cidr.version for rule in zone.egress_to] == [6]


def test_the_port_by_which_zones_span_nodes_is_no_guests() -> None:
    guests = [at("10.20.0.2", port(53, 4789, protocol="UDP"))]
    found = rendered(guests, [spanning()])
    assert found.policy.guests[0].exposed[0].host_port is None
    assert found.conflicts["guest-2"].message == (
        "udp port 4789 of the node belongs to the zones that span nodes"
    )
    assert rendered(guests).conflicts == {}


def test_a_tunnel_by_ipv6_is_not_in_this_version() -> None:
    assert rendered([], [spanning(transit={**TRANSIT, "address": "2001:db8::1"})]).policy == Policy(
        registry_port=5001
    )
