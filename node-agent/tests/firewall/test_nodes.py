"""Zones that span nodes, in both families, with real packets between two nodes: both judge what passes."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from dsecos_agent.firewall.model import (
    L4,
    Direction,
    EgressMode,
    ExposedPort,
    GuestPolicy,
)
from dsecos_agent.firewall.nft import NftFirewall

from ..links.netns import ip  # noqa: TID252 - tests have no package to name
from .nodes import (
    GUESTS,
    HERE,
    NODE6,
    OUTSIDE6,
    PLAIN,
    VXLAN_ALONE,
    ZONES,
    Nodes,
    agreed,
)
from .world import OUTSIDE, PATIENT, Peer

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
ONE, TWO, THREE, FOUR, FIVE = GUESTS


async def listen(nodes: Nodes) -> None:
    for peer in nodes.peers.values():
        await peer.serve(80, 81)
        await peer.serve(53, protocol="udp")


def both(guest: GuestPolicy) -> tuple[str, str]:
    return str(guest.address), str(guest.address6)


async def reached(nodes: Nodes, source: str, target: GuestPolicy) -> dict[str, bool]:
    """What gets from a guest to another."""
    peer = nodes.peers[source]
    found: dict[str, asyncio.Task[bool]] = {}
    for host in both(target):
        for port, protocol in ((80, "tcp"), (81, "tcp"), (53, "udp")):
            found[f"{host} {port}/{protocol}"] = asyncio.create_task(_connects(peer, host, port, protocol))
        found[f"{host} icmp"] = asyncio.create_task(peer.pings(host))
    return {what: await task for what, task in found.items()}


async def _connects(peer: Peer, host: str, port: int, protocol: str) -> bool:
    return (await peer.connect(host, port, protocol, limit=2)).startswith("saw")


async def test_without_the_rules_everything_passes(nodes: Nodes) -> None:
    """So what does not pass below is not for lack of a way."""
    await listen(nodes)
    for source, target in ((ONE, FOUR), (FOUR, ONE), (ONE, FIVE), (ONE, THREE), (ONE, TWO)):
        found = await reached(nodes, source.name, target)
        assert all(found.values()), (source.name, target.name, found)


async def test_nothing_passes_by_default(nodes: Nodes) -> None:
    await listen(nodes)
    await nodes.apply(PLAIN)
    for source, target in ((ONE, FOUR), (FOUR, ONE), (ONE, FIVE), (ONE, THREE), (ONE, TWO)):
        found = await reached(nodes, source.name, target)
        assert not any(found.values()), (source.name, target.name, found)


async def test_zones_that_have_agreed(nodes: Nodes) -> None:
    """One direction: answers come back, nothing else does."""
    await listen(nodes)
    await nodes.apply(replace(PLAIN, crossings=agreed("dtz1", "dtz2")))
    for source, target in ((ONE, FOUR), (FIVE, THREE), (ONE, THREE), (FIVE, FOUR)):
        assert all((await reached(nodes, source.name, target)).values()), (source.name, target.name)
        assert not any((await reached(nodes, target.name, source)).values()), (target.name, source.name)
    assert not any((await reached(nodes, "one", FIVE)).values()), "not with itself"
    assert not any((await reached(nodes, "one", TWO)).values())


async def test_a_zone_that_has_agreed_with_itself(nodes: Nodes) -> None:
    await listen(nodes)
    await nodes.apply(replace(PLAIN, crossings=agreed("dtz1", "dtz1")))
    assert all((await reached(nodes, "one", TWO)).values())
    assert all((await reached(nodes, "one", FIVE)).values())
    assert not any((await reached(nodes, "one", FOUR)).values())


async def test_zones_that_have_agreed_on_ports(nodes: Nodes) -> None:
    await listen(nodes)
    ports = ((L4.TCP, 80), (L4.UDP, 53))
    await nodes.apply(replace(PLAIN, crossings=agreed("dtz1", "dtz2", *ports)))
    for target in (THREE, FOUR):
        found = await reached(nodes, "one", target)
        assert found == {what: what.endswith((" 80/tcp", " 53/udp")) for what in found}


async def test_both_nodes_judge(nodes: Nodes) -> None:
    await listen(nodes)
    open_both = replace(PLAIN, crossings=agreed("dtz1", "dtz2"))
    await nodes.apply(PLAIN)
    nodes.apply_there(open_both)
    assert not any((await reached(nodes, "one", FOUR)).values()), "the sender's node"
    assert not any((await reached(nodes, "five", THREE)).values()), "the receiver's node"
    denied = await nodes.firewall.denied()
    assert denied["one", Direction.EGRESS].packets
    assert denied["three", Direction.INGRESS].packets
    assert not denied["three", Direction.EGRESS].packets


async def test_what_crosses_keeps_its_address(nodes: Nodes) -> None:
    await listen(nodes)
    zones = tuple(replace(zone, egress=EgressMode.NAT) for zone in ZONES)
    await nodes.apply(replace(PLAIN, zones=zones, crossings=agreed("dtz1", "dtz2")))
    for own, host in zip(both(ONE), both(FOUR), strict=True):
        assert await nodes.peers["one"].connect(host, 80, limit=PATIENT) == f"saw {own}"


async def test_egress_and_exposures_in_both_families(nodes: Nodes, firewall: NftFirewall) -> None:
    await listen(nodes)
    exposed = replace(ONE, exposed=(ExposedPort(80, host_port=8080, sources=EVERYWHERE),))
    guests = (exposed, *HERE[1:])
    zones = tuple(replace(zone, egress=EgressMode.NAT) for zone in ZONES)
    await nodes.apply(replace(PLAIN, zones=zones, guests=guests))
    one, outside = nodes.peers["one"], nodes.peers["outside"]
    assert await one.connect(OUTSIDE6, 80, limit=PATIENT) == f"saw {NODE6}"
    assert await one.connect(OUTSIDE6, 53, "udp", limit=PATIENT) == f"saw {NODE6}"
    assert await one.connect(OUTSIDE, 80, limit=PATIENT) == "saw 192.0.2.1"
    for host in (str(ONE.address6), NODE6):
        port = 8080 if host == NODE6 else 80
        assert await outside.connect(host, port, limit=PATIENT) == f"saw {OUTSIDE6}", host
    assert await outside.connect(str(ONE.address6), 81) == "silence"
    assert await outside.connect(str(TWO.address6), 80) == "silence"
    assert await outside.connect(str(FIVE.address6), 80) == "silence", "not through a node to another"
    assert await outside.connect(str(FIVE.address), 80) == "silence"
    here = Peer(None)
    nodes.peers["here"] = here
    await here.start()
    assert (await here.connect(str(ONE.address6), 80, limit=PATIENT)).startswith("saw fd00:1::1")
    assert (await here.connect(NODE6, 8080, limit=PATIENT)).startswith("saw ")
    assert await here.connect("::1", 8080, limit=PATIENT) == "Connection refused", "rather than silence"
    assert await here.connect(str(ONE.address6), 81) == "silence"
    assert await here.connect(str(FIVE.address6), 80) != f"saw {NODE6}"


@VXLAN_ALONE
async def test_one_family_opens_nothing_to_the_other(nodes: Nodes) -> None:
    await listen(nodes)
    four = (ExposedPort(80, host_port=8080),)
    six = (ExposedPort(80, host_port=8081, sources=(ip_network("2001:db8::/64"),)),)
    guests = (replace(ONE, exposed=four), replace(TWO, exposed=six), THREE)
    await nodes.apply(replace(PLAIN, guests=guests))
    outside = nodes.peers["outside"]
    for guest, passes in ((ONE, (True, False)), (TWO, (False, True))):
        seen = [await outside.connect(host, 80, limit=0.5) != "silence" for host in both(guest)]
        assert tuple(seen) == passes, guest.name
    assert await outside.connect("192.0.2.1", 8080, limit=PATIENT) == f"saw {OUTSIDE}"
    assert await outside.connect(NODE6, 8080, limit=PATIENT) == "Connection refused"
    assert await outside.connect(NODE6, 8081, limit=PATIENT) == f"saw {OUTSIDE6}"
    assert await outside.connect("192.0.2.1", 8081, limit=PATIENT) == "Connection refused"


@VXLAN_ALONE
async def test_metadata_and_nodes_are_out_of_reach_whatever_is_allowed(nodes: Nodes) -> None:
    await listen(nodes)
    outside = nodes.peers["outside"].namespace
    hidden = ("169.254.169.254", "100.100.100.200", "fd00:ec2::254", "192.0.2.77", "2001:db8::77")
    for address in hidden:
        six = "-6 " if ":" in address else ""
        outside.ip(f"{six}addr add {address}/{128 if six else 32} dev eth0{' nodad' if six else ''}")
    ip(f"route add 169.254.169.254 via {OUTSIDE}")
    ip(f"route add 100.100.100.200 via {OUTSIDE}")
    ip(f"-6 route add fd00:ec2::254 via {OUTSIDE6}")
    zones = tuple(replace(zone, egress=EgressMode.NAT) for zone in ZONES)
    allowed = replace(PLAIN, zones=zones)
    one = nodes.peers["one"]
    protected = (IPv4Address("192.0.2.77"), IPv6Address("2001:db8::77"))
    elsewhere = (IPv4Network("192.0.2.76/30"), IPv6Network("2001:db8::70/124"))
    for forbidden in (replace(allowed, protected=protected), replace(allowed, elsewhere=elsewhere)):
        await nodes.apply(allowed)
        for address in hidden[3:]:
            assert (await one.connect(address, 80, limit=PATIENT)).startswith("saw"), address
        await nodes.apply(forbidden)
        for address in hidden:
            assert await one.connect(address, 80) == "silence", address
    assert (await one.connect(OUTSIDE6, 80, limit=PATIENT)).startswith("saw")


async def test_of_the_node_only_the_gateway_answers(nodes: Nodes, firewall: NftFirewall) -> None:
    here = Peer(None)
    nodes.peers["here"] = here
    await here.start()
    await here.serve(53, 5001, 6443)
    await here.serve(53, protocol="udp")
    agreement = agreed("dtz1", "dtz2")
    await nodes.apply(replace(PLAIN, registry_port=5001, name_server=True, crossings=agreement))
    one = nodes.peers["one"]
    assert await one.pings("fd00:1::1")
    assert await one.connect("fd00:1::1", 5001, limit=PATIENT) == f"saw {ONE.address6}"
    for host in ("fd00:1::1", "fd00:2::1", NODE6):
        assert await one.connect(host, 6443) == "silence", host
    assert await one.connect("fd00:2::1", 5001) == "silence", "its own gateway only"
    for protocol in ("tcp", "udp"):
        assert await one.connect("fd00:1::1", 53, protocol, limit=PATIENT) == f"saw {ONE.address6}"
        for host in ("fd00:2::1", NODE6):
            assert await one.connect(host, 53, protocol) == "silence", "its own gateway only"
    assert not await one.pings(NODE6)
    # From another node nobody reaches this one through a zone, nor the other way round.
    assert not await nodes.peers["four"].pings("fd00:1::1")
    nodes.open_there()
    far = nodes.peers["far"]
    assert not await far.pings(str(ONE.address))
    assert await here.connect(str(FOUR.address6), 80) != "Connection refused"


@VXLAN_ALONE
async def test_a_link_without_an_address6_speaks_no_ipv6(nodes: Nodes) -> None:
    silent = replace(ONE, address6=None)
    await nodes.apply(replace(PLAIN, guests=(silent, TWO, THREE)))
    assert not await nodes.peers["one"].pings("fd00:1::1")
    assert await nodes.peers["one"].pings("10.213.1.1")
    assert await nodes.peers["two"].pings("fd00:1::1")
    assert not (await nodes.firewall.denied())["one", Direction.SPOOFED].packets
