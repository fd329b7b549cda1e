"""What passes and what does not, with real packets between real namespaces."""

import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from dsecos_agent.firewall.model import (
    L4,
    Direction,
    Drift,
    EgressMode,
    EgressRule,
    ExposedPort,
    Policy,
)
from dsecos_agent.firewall.nft import NftFirewall

from ..links.netns import ip  # noqa: TID252 - tests have no package to name
from .world import DROPPED, NODE, OUTSIDE, PATIENT, Peer, World

ONE, TWO, THREE = (str(guest.address) for guest in World.guests)
ANYBODY = IPv4Network("0.0.0.0/0")


def policy(
    exposed: dict[str, tuple[ExposedPort, ...]] | None = None,
    egress: EgressMode = EgressMode.DENY,
    to: tuple[EgressRule, ...] = (),
    registry: int | None = None,
) -> Policy:
    guests = tuple(replace(guest, exposed=(exposed or {}).get(guest.name, ())) for guest in World.guests)
    zones = tuple(replace(zone, egress=egress, egress_to=to) for zone in World.zones)
    return Policy(zones, guests, registry_port=registry)


@pytest.fixture(params=["0", "1"], ids=["bridged frames pass iptables: no", "yes"])
def br_netfilter(request: pytest.FixtureRequest, network: None) -> None:
    for name in ("iptables", "ip6tables", "arptables"):
        put(f"bridge/bridge-nf-call-{name}", request.param)


def put(name: str, value: str) -> None:
    Path("/proc/sys/net", name).write_text(value)


async def listen(world: World) -> None:
    for name in ("one", "two", "three", "outside"):
        await world.peers[name].serve(80, 81)
        await world.peers[name].serve(53, protocol="udp")


async def test_nothing_passes_by_default(br_netfilter: None, world: World, firewall: NftFirewall) -> None:
    await listen(world)
    await firewall.apply(policy())
    one, outside = world.peers["one"], world.peers["outside"]
    for peer, host in ((one, TWO), (one, THREE), (one, OUTSIDE), (outside, ONE), (outside, THREE)):
        assert await peer.connect(host, 80) == "silence", host
        assert await peer.connect(host, 53, "udp") == "silence", host


async def test_without_the_rules_it_would_have_passed(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    assert await world.peers["one"].connect(THREE, 80, limit=PATIENT) == f"saw {ONE}"
    world.peers["one"].namespace.ip(f"route add {TWO}/32 dev eth0")
    world.peers["two"].namespace.ip(f"route add {ONE}/32 dev eth0")
    assert await world.peers["one"].connect(TWO, 80, limit=PATIENT) == f"saw {ONE}"
    await ipv6_addresses(world)
    assert (await world.peers["one"].namespace.run("busybox", "ping", "-c1", "-W1", "fd00::3"))[0] == 0
    assert await world.peers["outside"].connect(ONE, 80, limit=PATIENT) == f"saw {OUTSIDE}"


async def test_an_exposed_port_and_no_other(br_netfilter: None, world: World, firewall: NftFirewall) -> None:
    await listen(world)
    await firewall.apply(policy({"one": (ExposedPort(80, host_port=8080), ExposedPort(53, L4.UDP, 5353))}))
    outside = world.peers["outside"]
    assert await outside.connect(ONE, 80, limit=PATIENT) == f"saw {OUTSIDE}"
    assert await outside.connect(NODE, 8080, limit=PATIENT) == f"saw {OUTSIDE}"
    assert await outside.connect(NODE, 5353, "udp", limit=PATIENT) == f"saw {OUTSIDE}"
    assert await outside.connect(ONE, 81) == "silence"
    assert await outside.connect(TWO, 80) == "silence"
    assert await outside.connect(NODE, 80, limit=PATIENT) == "Connection refused"


async def test_an_exposed_port_is_for_its_sources_only(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    world.peers["outside"].namespace.ip("addr add 192.0.2.200/24 dev eth0")
    half = (IPv4Network("192.0.2.0/25"), IPv4Network("192.0.2.10/32"))
    await firewall.apply(policy({"one": (ExposedPort(80, host_port=8080, sources=half),)}))
    outside = world.peers["outside"]
    for host, port in ((ONE, 80), (NODE, 8080)):
        assert await outside.connect(host, port, limit=PATIENT) == f"saw {OUTSIDE}"
        assert await outside.connect(host, port, source="192.0.2.200") == "silence"


async def test_the_node_reaches_what_is_exposed(
    br_netfilter: None, world: World, firewall: NftFirewall
) -> None:
    await listen(world)
    await firewall.apply(policy({"one": (ExposedPort(80, host_port=8080),)}))
    from_node = await local_peer(world)
    assert (await from_node.connect("127.0.0.1", 8080, limit=PATIENT)).startswith("saw 10.213.1.1")
    assert (await from_node.connect(NODE, 8080, limit=PATIENT)).startswith("saw ")
    assert (await from_node.connect(ONE, 80, limit=PATIENT)) == "saw 10.213.1.1"
    assert await from_node.connect(ONE, 81) == "silence"


async def test_other_guests_do_not_reach_what_is_exposed(world: World, firewall: NftFirewall) -> None:
    """Guests speak to guests only where zones are peers, and there are none yet."""
    await listen(world)
    await firewall.apply(policy({"one": (ExposedPort(80, host_port=8080),)}, EgressMode.NAT))
    for name in ("two", "three"):
        for host, port in ((ONE, 80), (NODE, 8080), ("10.213.1.1", 8080), ("10.213.2.1", 8080)):
            assert await world.peers[name].connect(host, port) == "silence", (name, host)


@pytest.mark.parametrize("mode", list(EgressMode))
async def test_egress(br_netfilter: None, world: World, firewall: NftFirewall, mode: EgressMode) -> None:
    await listen(world)
    await firewall.apply(policy(egress=mode))
    expected, limit = {
        EgressMode.DENY: ("silence", DROPPED),
        EgressMode.NAT: (f"saw {NODE}", PATIENT),
        EgressMode.ALLOW: (f"saw {ONE}", PATIENT),
    }[mode]
    assert await world.peers["one"].connect(OUTSIDE, 80, limit=limit) == expected
    assert await world.peers["one"].connect(OUTSIDE, 53, "udp", limit=limit) == expected


async def test_egress_by_list(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    world.peers["outside"].namespace.ip("addr add 192.0.2.200/24 dev eth0")
    to = (
        EgressRule(IPv4Network("192.0.2.0/25"), frozenset({(L4.TCP, 80)})),
        EgressRule(IPv4Network("192.0.2.0/28"), frozenset({(L4.TCP, 80), (L4.UDP, 53)})),
        EgressRule(IPv4Network("192.0.2.200/32")),
    )
    await firewall.apply(policy(egress=EgressMode.NAT, to=to))
    one = world.peers["one"]
    assert await one.connect(OUTSIDE, 80, limit=PATIENT) == f"saw {NODE}"
    assert await one.connect(OUTSIDE, 53, "udp", limit=PATIENT) == f"saw {NODE}"
    assert await one.connect(OUTSIDE, 81) == "silence"
    assert await one.connect("192.0.2.200", 81, limit=PATIENT) == f"saw {NODE}"


async def test_link_local_is_out_of_reach_whatever_is_allowed(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    metadata = "169.254.169.254"
    world.peers["outside"].namespace.ip(f"addr add {metadata}/32 dev eth0")
    ip(f"route add {metadata}/32 via {OUTSIDE}")
    everywhere = (EgressRule(ANYBODY), EgressRule(IPv4Network(f"{metadata}/32"), frozenset({(L4.TCP, 80)})))
    for to in ((), everywhere):
        await firewall.apply(policy(egress=EgressMode.NAT, to=to))
        assert await world.peers["one"].connect(metadata, 80) == "silence"
        assert await world.peers["one"].connect(OUTSIDE, 80, limit=PATIENT) == f"saw {NODE}"


async def test_of_the_node_only_the_registry_is_reachable(
    br_netfilter: None, world: World, firewall: NftFirewall
) -> None:
    node = await local_peer(world)
    await node.serve(5000, 5001, 6443)
    await node.serve(53, protocol="udp")
    await firewall.apply(policy(egress=EgressMode.NAT, registry=5001))
    one = world.peers["one"]
    assert await one.connect("10.213.1.1", 5001, limit=PATIENT) == f"saw {ONE}"
    for host in ("10.213.1.1", "10.213.2.1", NODE):
        for port in (5000, 6443):
            assert await one.connect(host, port) == "silence"
        assert await one.connect(host, 53, "udp") == "silence"
    assert await one.connect("10.213.2.1", 5001) == "silence", "its own gateway only"
    assert await one.connect(NODE, 5001) == "silence"
    assert (await one.namespace.run("busybox", "ping", "-c1", "-W1", "10.213.1.1"))[0] == 0


async def test_names_are_asked_of_ones_own_gateway_only(
    br_netfilter: None, world: World, firewall: NftFirewall
) -> None:
    node = await local_peer(world)
    await node.serve(53, 54)
    await node.serve(53, 54, protocol="udp")
    one = world.peers["one"]
    await firewall.apply(replace(policy(egress=EgressMode.NAT), name_server=True))
    for protocol in ("tcp", "udp"):
        assert await one.connect("10.213.1.1", 53, protocol, limit=PATIENT) == f"saw {ONE}"
        assert await one.connect("10.213.1.1", 54, protocol) == "silence"
        for host in ("10.213.2.1", NODE):
            assert await one.connect(host, 53, protocol) == "silence", "another zone's, or the node's own"
    await firewall.apply(policy(egress=EgressMode.NAT))
    for protocol in ("tcp", "udp"):
        assert await one.connect("10.213.1.1", 53, protocol) == "silence"


async def test_the_nodes_loopback_is_out_of_reach(world: World, firewall: NftFirewall) -> None:
    node = await local_peer(world)
    await node.serve(7777)
    await firewall.apply(policy(egress=EgressMode.NAT))
    one = world.peers["one"]
    one.namespace.ip("link set lo down")
    one.namespace.ip("addr flush dev lo")
    one.namespace.ip("route add 127.0.0.0/8 via 10.213.1.1")
    await one.namespace.run("sysctl", "-w", "net.ipv4.conf.eth0.route_localnet=1")
    assert await one.connect("127.0.0.1", 7777) == "silence"


async def test_spoofing(br_netfilter: None, world: World, firewall: NftFirewall) -> None:
    await listen(world)
    everybody = policy({"two": (ExposedPort(80),)}, EgressMode.ALLOW)
    await firewall.apply(everybody)
    one = world.peers["one"]
    assert await one.connect(OUTSIDE, 80, limit=PATIENT) == f"saw {ONE}"

    one.namespace.ip(f"addr add {TWO}/32 dev eth0")
    assert await one.connect(OUTSIDE, 80, source=TWO) == "silence", "another guest's address"
    one.namespace.ip("addr add 198.51.100.7/32 dev eth0")
    assert await one.connect(OUTSIDE, 80, source="198.51.100.7") == "silence", "any address"
    denied = await firewall.denied()
    assert denied["one", Direction.SPOOFED].packets >= 2

    one.namespace.ip("link set eth0 address 02:00:00:00:00:99")
    one.namespace.ip("route replace default via 10.213.1.1 dev eth0")
    assert await one.connect(OUTSIDE, 80, source=ONE) == "silence", "another MAC"


async def test_nobody_answers_arp_for_another(
    br_netfilter: None, world: World, firewall: NftFirewall
) -> None:
    await firewall.apply(policy())
    one, two = world.peers["one"].namespace, world.peers["two"].namespace
    one.ip("addr flush dev eth0")
    one.ip("addr add 10.213.1.1/32 dev eth0")  # claims to be the gateway
    one.ip(f"route replace {TWO}/32 dev eth0")
    await one.run("busybox", "ping", "-c1", "-W1", TWO)
    two.ip("neigh flush all")
    assert (await two.run("busybox", "ping", "-c1", "-W1", "10.213.1.1"))[0] == 0
    assert "02:00:00:00:00:01" not in two.ip("neigh show")


async def test_neighbours_do_not_see_each_other(
    br_netfilter: None, world: World, firewall: NftFirewall
) -> None:
    await listen(world)
    await firewall.apply(policy({"two": (ExposedPort(80),)}, EgressMode.ALLOW))
    one, two = world.peers["one"].namespace, world.peers["two"].namespace
    one.ip(f"route add {TWO}/32 dev eth0")
    two.ip(f"route add {ONE}/32 dev eth0")
    one.ip(f"neigh add {TWO} lladdr 02:00:00:00:00:02 dev eth0")
    two.ip(f"neigh add {ONE} lladdr 02:00:00:00:00:01 dev eth0")
    assert await world.peers["one"].connect(TWO, 80) == "silence"
    one.ip(f"neigh del {TWO} dev eth0")
    assert (await one.run("busybox", "ping", "-c1", "-W1", TWO))[0] != 0


async def test_a_link_without_rules_gets_nothing(
    br_netfilter: None, world: World, firewall: NftFirewall
) -> None:
    await listen(world)
    await firewall.apply(replace(policy(egress=EgressMode.ALLOW), guests=World.guests[1:]))
    one = world.peers["one"]
    assert await one.connect(OUTSIDE, 80) == "silence"
    assert (await one.namespace.run("busybox", "ping", "-c1", "-W1", "10.213.1.1"))[0] != 0
    ip("link set dtg1 nomaster")
    ip("addr add 10.213.1.1/32 dev dtg1")
    assert (await one.namespace.run("busybox", "ping", "-c1", "-W1", "10.213.1.1"))[0] != 0, (
        "also outside of its bridge"
    )


async def test_ipv6_does_not_pass(world: World, firewall: NftFirewall) -> None:
    await firewall.apply(policy(egress=EgressMode.ALLOW))
    await ipv6_addresses(world)
    one = world.peers["one"].namespace
    assert (await one.run("busybox", "ping", "-c1", "-W1", "fd00::3"))[0] != 0


async def test_nobody_comes_from_outside_as_a_guest(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    put("ipv4/conf/all/rp_filter", "0")
    put("ipv4/conf/out0/rp_filter", "0")
    await firewall.apply(policy({"one": (ExposedPort(80, sources=(IPv4Network("10.213.1.0/24"),)),)}))
    outside = world.peers["outside"]
    outside.namespace.ip(f"addr add {TWO}/32 dev eth0")
    before = (await firewall.denied())["one", Direction.INGRESS]
    assert await outside.connect(ONE, 80, source=TWO) == "silence"
    assert (await firewall.denied())["one", Direction.INGRESS] == before, "dropped before anybody's counter"


async def test_instances_live_side_by_side(world: World, firewall: NftFirewall, tmp_path: Path) -> None:
    """Each is default drop for its own zones and says nothing about the other's."""
    await listen(world)
    other = NftFirewall("dtother", "du", tmp_path / "other")
    await other.apply(Policy())
    exposed = policy({"one": (ExposedPort(80, host_port=8080),)}, EgressMode.NAT)
    await firewall.apply(exposed)
    assert await world.peers["outside"].connect(NODE, 8080, limit=PATIENT) == f"saw {OUTSIDE}"
    assert await world.peers["outside"].connect(ONE, 81) == "silence"
    assert await world.peers["one"].connect(OUTSIDE, 80, limit=PATIENT) == f"saw {NODE}"
    await other.remove()
    assert await firewall.drift(exposed) is Drift.NONE


async def test_what_is_established_survives_a_replace(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    exposed = policy({"one": (ExposedPort(80, host_port=8080),)})
    await firewall.apply(exposed)
    outside = world.peers["outside"]
    assert await outside.connect(NODE, 8080, keep="a", limit=PATIENT) == f"saw {OUTSIDE}"
    await firewall.apply(replace(exposed, registry_port=5001))
    assert await outside.again("a", limit=PATIENT) == "again"


async def test_a_new_guest_does_not_inherit_connections(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    exposed = policy({"one": (ExposedPort(53, L4.UDP),)})
    await firewall.apply(exposed)
    outside = world.peers["outside"]
    assert await outside.connect(ONE, 53, "udp", keep="a", limit=PATIENT) == f"saw {OUTSIDE}"
    await firewall.apply(policy())
    assert (await outside.again("a", limit=PATIENT)) == OUTSIDE, "the same guest: its connection stays"
    await firewall.apply(replace(policy(), guests=World.guests[1:]))
    await firewall.apply(policy())
    assert await outside.again("a") == "silence"


async def test_denied_packets_are_counted_for_each_guest(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    await firewall.apply(policy())
    zero = await firewall.denied()
    assert set(zero) == {(g.name, d) for g in World.guests for d in Direction}
    assert not any(denied.packets for denied in zero.values())
    await world.peers["one"].connect(OUTSIDE, 80)
    await world.peers["outside"].connect(THREE, 80)
    await world.peers["one"].connect("10.213.1.1", 22)
    denied = await firewall.denied()
    assert denied["one", Direction.EGRESS].packets >= 2
    assert denied["one", Direction.EGRESS].bytes > 80
    assert denied["three", Direction.INGRESS].packets >= 1
    assert denied["two", Direction.EGRESS].packets == denied["two", Direction.INGRESS].packets == 0
    await firewall.apply(policy(egress=EgressMode.NAT))
    kept = await firewall.denied()
    assert kept["one", Direction.EGRESS].packets >= denied["one", Direction.EGRESS].packets
    await firewall.apply(Policy(World.zones, World.guests[1:]))
    assert {name for name, _ in await firewall.denied()} == {"two", "three"}


async def test_denied_packets_are_told_by_their_peers(world: World, firewall: NftFirewall) -> None:
    await firewall.apply(policy())
    await world.peers["one"].connect(OUTSIDE, 443)
    await world.peers["one"].pings(OUTSIDE)
    await world.peers["outside"].connect(THREE, 53, "udp")
    found = {
        (each.guest, each.direction, str(each.peer), each.protocol, each.port)
        for each in await firewall.denied_peers()
    }
    assert found == {
        ("one", Direction.EGRESS, OUTSIDE, "tcp", 443),
        ("one", Direction.EGRESS, OUTSIDE, "icmp", None),
        ("three", Direction.INGRESS, OUTSIDE, "udp", 53),
    }
    assert await firewall.drift(policy()) is Drift.NONE
    nft("add table inet theirs")
    assert await firewall.drift(policy()) is Drift.NONE, "what the kernel notes is nobody's change"


async def test_a_full_memory_of_peers_stops_nothing(world: World, firewall: NftFirewall) -> None:
    await listen(world)
    await firewall.apply(policy({"one": (ExposedPort(80),)}))
    elements = ", ".join(f"10.213.1.2 . 192.0.2.10 . tcp . {port}" for port in range(1, 4097))
    nft(f"add element inet dtfw ingress_peers {{ {elements} }}")
    outside = world.peers["outside"]
    before = (await firewall.denied())["one", Direction.INGRESS].packets
    assert await outside.connect(ONE, 5000) == "silence"
    assert (await firewall.denied())["one", Direction.INGRESS].packets > before
    assert await outside.connect(ONE, 80, limit=PATIENT) == f"saw {OUTSIDE}"
    assert len(await firewall.denied_peers()) == 4096


def nft(command: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=command, text=True, check=True)


async def ipv6_addresses(world: World) -> None:
    for name, address in (("one", "fd00::2/64"), ("two", "fd00::3/64")):
        world.peers[name].namespace.ip(f"-6 addr add {address} dev eth0 nodad")


async def local_peer(world: World) -> Peer:
    peer = Peer(None)
    await peer.start()
    world.peers["node"] = peer
    return peer
