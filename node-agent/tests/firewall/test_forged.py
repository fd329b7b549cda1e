"""What liars send: guests in neighbour discovery, strangers and other nodes through the tunnel."""

import struct
from dataclasses import replace
from ipaddress import IPv6Address

from dsecos_agent.firewall.model import Direction, EgressMode
from dsecos_agent.links.entries import link_local
from dsecos_agent.links.protocol import VXLAN_PORT

from ..links.netns import ip  # noqa: TID252 - tests have no package to name
from .frames import (
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    REDIRECT,
    ROUTER_ADVERTISEMENT,
    SOURCE_OPTION,
    TARGET_OPTION,
    ethernet,
    icmpv6,
    neighbour,
    udp,
    vxlan,
)
from .nodes import FAR_MAC, GUESTS, IDS, MACS, NEAR, NEAR_MAC, PLAIN, VXLAN_ALONE, ZONES, Nodes, agreed
from .world import Peer

ONE, TWO, THREE, FOUR, FIVE = GUESTS
GATEWAY_MAC, GATEWAY = MACS["dtz1"], "fd00:1::1"
OWN, OTHER = str(ONE.address6), str(TWO.address6)
OWN_LOCAL, OTHER_LOCAL = str(link_local(ONE.mac)), str(link_local(TWO.mac))
NS, NA = NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT
STRANGER_MAC = "02:00:c6:12:00:99"
EVERYBODY = "33:33:00:00:00:01"

LIES = {
    "the other's address is at my MAC": neighbour(OTHER, GATEWAY, NA, OTHER, (TARGET_OPTION, ONE.mac)),
    "so I say under my own name": neighbour(OWN, GATEWAY, NA, OTHER, (TARGET_OPTION, ONE.mac)),
    "and without an option": neighbour(OWN, GATEWAY, NA, OTHER),
    "the other asks, from my MAC": neighbour(OTHER, GATEWAY, NS, GATEWAY, (SOURCE_OPTION, ONE.mac)),
    "from its link-local address": neighbour(OTHER_LOCAL, GATEWAY, NS, GATEWAY, (SOURCE_OPTION, ONE.mac)),
    "I am the gateway": neighbour(GATEWAY, OTHER, NA, GATEWAY, (TARGET_OPTION, ONE.mac)),
    "the gateway is at my MAC": neighbour(OWN, OTHER, NA, GATEWAY, (TARGET_OPTION, ONE.mac)),
    "I am at the other's MAC": neighbour(OWN, GATEWAY, NA, OWN, (TARGET_OPTION, TWO.mac)),
    "I ask from the other's MAC": neighbour(OWN, GATEWAY, NS, GATEWAY, (SOURCE_OPTION, TWO.mac)),
    "in a second option": neighbour(
        OWN, GATEWAY, NS, GATEWAY, (SOURCE_OPTION, ONE.mac), (SOURCE_OPTION, TWO.mac)
    ),
    "the other's address is taken": neighbour("::", "ff02::1:ff00:3", NS, OTHER),
    "I am a router": icmpv6(
        OWN_LOCAL, "ff02::1", ROUTER_ADVERTISEMENT, struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    ),
    "there is a better way": icmpv6(
        GATEWAY, OTHER, REDIRECT, bytes(4) + IPv6Address(OWN).packed + IPv6Address("2001:db8::9").packed
    ),
    "I am the other": udp(OTHER, GATEWAY, 80),
    "I have one more address": udp("fd00:1::99", GATEWAY, 80),
    "and one more of the link": udp("fe80::99", GATEWAY, 80),
}


def entry_of_the_other() -> str:
    return ip(f"-6 neigh show {OTHER} dev dtz1")


async def spoofed(nodes: Nodes) -> int:
    return (await nodes.firewall.denied())["one", Direction.SPOOFED].packets


@VXLAN_ALONE
async def test_without_the_rules_the_node_believes_a_guest(nodes: Nodes) -> None:
    assert await nodes.peers["two"].pings(GATEWAY)
    assert TWO.mac in entry_of_the_other()
    lie = LIES["the other's address is at my MAC"]
    await nodes.peers["one"].frame(ethernet(ONE.mac, GATEWAY_MAC, lie))
    assert await nodes.peers["one"].pings(GATEWAY)
    assert ONE.mac in entry_of_the_other()


@VXLAN_ALONE
async def test_a_guest_speaks_for_itself_alone(nodes: Nodes) -> None:
    await nodes.apply(PLAIN)
    one, two = nodes.peers["one"], nodes.peers["two"]
    for number, (what, lie) in enumerate(LIES.items()):
        assert await two.pings(GATEWAY), what
        for target in (GATEWAY_MAC, EVERYBODY):
            await one.frame(ethernet(ONE.mac, target, lie))
        assert await one.pings(GATEWAY), "what came before is judged by now"
        assert await spoofed(nodes) == 2 * number + 2, what
        assert TWO.mac in entry_of_the_other(), what


@VXLAN_ALONE
async def test_another_mac_is_nobodys(nodes: Nodes) -> None:
    await nodes.apply(PLAIN)
    one = nodes.peers["one"]
    own = neighbour("::", "ff02::1:ff00:2", NS, OWN)
    await one.frame(ethernet(TWO.mac, "33:33:ff:00:00:02", own))
    await one.frame(ethernet(TWO.mac, GATEWAY_MAC, udp(OWN, GATEWAY, 80)))
    assert await one.pings(GATEWAY)
    assert await spoofed(nodes) == 2


@VXLAN_ALONE
async def test_what_every_guest_says_is_no_lie(nodes: Nodes) -> None:
    await nodes.apply(PLAIN)
    one = nodes.peers["one"]
    honest = [
        neighbour("::", "ff02::1:ff00:2", NS, OWN),
        neighbour(OWN, "ff02::1:ff00:1", NS, GATEWAY, (SOURCE_OPTION, ONE.mac)),
        neighbour(OWN_LOCAL, GATEWAY, NS, GATEWAY),
        neighbour(OWN, GATEWAY, NA, OWN, (TARGET_OPTION, ONE.mac)),
        icmpv6(OWN_LOCAL, "ff02::2", 133, bytes(4)),
        icmpv6(OWN_LOCAL, "ff02::16", 143, bytes(4)),
    ]
    for message in honest:
        await one.frame(ethernet(ONE.mac, GATEWAY_MAC, message))
    one.namespace.ip("link set eth0 down")
    one.namespace.ip("link set eth0 up")
    one.namespace.ip(f"-6 addr replace {OWN}/128 dev eth0 nodad")
    one.namespace.ip(f"-6 route replace default via {GATEWAY} dev eth0 onlink")
    assert await one.pings(GATEWAY)
    assert await spoofed(nodes) == 0


def inside(source: str, target: str, say: str, mac: str = FAR_MAC) -> bytes:
    """As another node sends it."""
    return ethernet(mac, NEAR_MAC, udp(source, target, 53, say.encode()))


@VXLAN_ALONE
async def test_strangers_bring_nothing_through_the_tunnel(nodes: Nodes) -> None:
    for guest in ("one", "three"):
        await nodes.peers[guest].serve(53, protocol="udp")
    outside, one = nodes.peers["outside"], nodes.peers["one"]

    async def forge(say: str) -> None:
        for address in (str(NEAR), "192.0.2.1"):
            for source, target in ((FOUR.address, ONE.address), (FOUR.address6, ONE.address6)):
                packet = vxlan(IDS["dtz1"], inside(str(source), str(target), f"{say}-{source}-{address}"))
                await outside.datagram(address, VXLAN_PORT, packet)

    await forge("before")
    for source in (FOUR.address, FOUR.address6):
        for address in (NEAR, "192.0.2.1"):
            await one.heard(f"before-{source}-{address}")  # without rules it is taken, at every address
    await nodes.apply(replace(PLAIN, crossings=agreed("dtz2", "dtz1")))
    await forge("after")
    await nodes.peers["four"].connect(str(ONE.address), 53, "udp", say="honest", limit=1)
    assert "after" not in " ".join(await one.heard("honest"))


@VXLAN_ALONE
async def test_vxlan_of_others_is_not_our_business(nodes: Nodes) -> None:
    ip("link add other type vxlan id 99 dstport 4789 local 192.0.2.1 nolearning")
    ip("addr add 203.0.113.1/24 dev other")
    ip("link set other address 02:00:00:00:00:99 up")
    here = Peer(None)
    nodes.peers["here"] = here
    await here.start()
    await here.serve(53, protocol="udp")
    await nodes.apply(PLAIN)
    frame = ethernet(FAR_MAC, "02:00:00:00:00:99", udp("203.0.113.2", "203.0.113.1", 53, b"theirs"))
    await nodes.peers["outside"].datagram("192.0.2.1", VXLAN_PORT, vxlan(99, frame))
    assert await here.heard("theirs") == ["theirs"]


async def test_another_node_brings_its_own_guests_packets_alone(nodes: Nodes) -> None:
    """It was broken into: no rules there, and it sends what it likes."""
    for guest in ("one", "three", "outside"):
        await nodes.peers[guest].serve(53, protocol="udp")
    far, one, three = nodes.peers["far"], nodes.peers["one"], nodes.peers["three"]
    everything = tuple(
        crossing for a in ("dtz1", "dtz2") for b in ("dtz1", "dtz2") for crossing in agreed(a, b)
    )
    zones = tuple(replace(zone, egress=EgressMode.ALLOW) for zone in ZONES)
    await nodes.apply(replace(PLAIN, crossings=everything, zones=zones))
    nodes.open_there()
    first, second = (str(zone.transit) for zone in ZONES)
    forged = [
        (str(TWO.address), str(ONE.address), first),
        (str(TWO.address6), str(ONE.address6), first),
        (str(THREE.address), str(ONE.address), first),
        (str(THREE.address6), str(ONE.address6), first),
        ("10.213.1.1", str(ONE.address), first),
        (str(link_local(FAR_MAC)), str(ONE.address6), first),
        ("192.0.2.10", str(ONE.address), first),
        ("198.18.0.2", str(ONE.address), first),
        ("2001:db8::10", str(ONE.address6), first),
        # A zone's link brings what is for this zone.
        (str(FOUR.address), str(ONE.address), second),
        (str(FOUR.address6), str(ONE.address6), second),
        (str(FIVE.address), str(THREE.address), first),
        (str(FIVE.address), str(FOUR.address), first),
        (str(FIVE.address), "192.0.2.10", first),
        (str(FIVE.address6), "2001:db8::10", first),
    ]
    for source, target, link in forged:
        await far.frame(inside(source, target, "forged"), link)
    await far.frame(inside(str(FIVE.address), str(ONE.address), "honest"), first)
    await far.frame(inside(str(FOUR.address6), str(THREE.address6), "honest"), second)
    assert await one.heard("honest") == ["honest"]
    assert await three.heard("honest") == ["honest"]
    await one.connect("192.0.2.10", 53, "udp", say="mine")
    assert "forged" not in await nodes.peers["outside"].heard("mine")


async def test_who_is_no_node_of_the_zone_brings_nothing_though_it_is_on_the_link(nodes: Nodes) -> None:
    """In a VLAN is whoever the switch lets in."""
    one, far, link = nodes.peers["one"], nodes.peers["far"], str(ZONES[0].transit)
    await one.serve(53, protocol="udp")
    ways = ((FIVE.address, ONE.address), (FIVE.address6, ONE.address6))

    async def forge(say: str) -> None:
        for source, target in ways:
            await far.frame(inside(str(source), str(target), f"{say}-{source}", STRANGER_MAC), link)

    await forge("before")
    for source, _ in ways:
        await one.heard(f"before-{source}")  # without rules it is taken
    await nodes.apply(replace(PLAIN, crossings=agreed("dtz1", "dtz1")))
    await forge("after")
    for source, target in ways:
        await far.frame(inside(str(source), str(target), f"honest-{source}"), link)
    for source, _ in ways:
        assert "after" not in " ".join(await one.heard(f"honest-{source}"))


async def test_nobody_speaks_to_a_node_through_a_zone(nodes: Nodes) -> None:
    here = Peer(None)
    nodes.peers["here"] = here
    await here.start()
    await here.serve(53, protocol="udp")
    await nodes.apply(replace(PLAIN, crossings=agreed("dtz1", "dtz1")))
    nodes.open_there()
    far = nodes.peers["far"]
    for source, target in (
        (FIVE.address, "10.213.1.1"),
        (FIVE.address, "192.0.2.1"),
        (FIVE.address6, "fd00:1::1"),
        (FIVE.address6, "2001:db8::1"),
    ):
        await far.frame(inside(str(source), target, "forged"), str(ZONES[0].transit))
    await nodes.peers["outside"].datagram("192.0.2.1", 53, b"honest")
    assert await here.heard("honest") == ["honest"]
