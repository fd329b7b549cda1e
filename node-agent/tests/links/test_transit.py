"""A zone's link between nodes, on a real kernel: what it carries, that nothing else stays on it, and that
guests reach each other through it.
"""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from itertools import permutations
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotOursError
from dsecos_agent.links.entries import link_local
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Bridge, Carrier, Encapsulation, ObservedTransit, Remote, Transit
from dsecos_agent.links.rtnetlink import Channel

from .encapsulations import ENCAPSULATIONS, VLAN, VXLAN
from .netns import ip, own_network
from .nodes import Inside, Node, cluster, reaches, start

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-000000000002"
NAME = "dtv00000001"
BRIDGE = Bridge(
    name="dtz00000001",
    owner_uid=OWNER,
    gateway=IPv4Interface("10.213.1.1/24"),
    mtu=1450,
    gateway6=IPv6Interface("fd00:213:1::1/64"),
    mac="02:00:00:00:00:01",
)


def mac(node: int) -> str:
    return f"02:00:c0:00:02:{node:02x}"


def guests(*numbers: int) -> tuple[IPv4Address | IPv6Address, ...]:
    return (
        *(IPv4Address(f"10.213.1.{number}") for number in numbers),
        *(IPv6Address(f"fd00:213:1::{number}") for number in numbers),
    )


def remote(node: int, *numbers: int) -> Remote:
    return Remote(IPv4Address(f"192.0.2.{node}"), mac(node), guests(*numbers))


@dataclass(frozen=True)
class Zone:
    """What a node has of it, in one encapsulation."""

    encapsulation: Encapsulation

    @property
    def id(self) -> int:
        return {VXLAN: 4213, VLAN: 213}[self.encapsulation]

    @property
    def make(self) -> str:
        """For `ip link add`, as another's link of the same id."""
        if self.encapsulation is VLAN:
            return f"link add link uplink name {{}} type vlan id {self.id}"
        return f"link add {{}} type vxlan id {self.id} local 192.0.2.1 dstport 4789 nolearning"

    def transit(self, node: int, *remotes: Remote) -> Transit:
        address = IPv4Address(f"192.0.2.{node}")
        return Transit(NAME, OWNER, self.id, address, mac(node), 1450, remotes, self.encapsulation)

    def right(self, node: int, *remotes: Remote) -> ObservedTransit:
        """As it is when it is as wanted."""
        wanted = self.transit(node, *remotes)
        return ObservedTransit(
            name=NAME,
            owner_uid=OWNER,
            carrier=Carrier(self.encapsulation, wanted.id, (wanted.address,), closed=True),
            mac=wanted.mac,
            mtu=wanted.mtu,
            up=True,
            closed=True,
            forwarding=frozenset((each.mac, each.address) for each in remotes if self.encapsulation is VXLAN),
            neighbours=frozenset(
                (hop, each.mac)
                for each in remotes
                for hop in (each.address, *([link_local(each.mac)] if each.guests else []))
            ),
            routes=frozenset(
                (guest, each.address if guest.version == 4 else link_local(each.mac))
                for each in remotes
                for guest in each.guests
            ),
        )


@pytest.fixture(params=ENCAPSULATIONS, ids=str)
def zone(request: pytest.FixtureRequest) -> Zone:
    return Zone(request.param)


def bridge(command: str) -> None:
    subprocess.run(["bridge", *command.split()], check=True, capture_output=True)


@pytest.fixture
def links(tmp_path: Path) -> Iterator[NetlinkLinks]:
    with own_network():
        ip("link add uplink type bridge")
        ip("addr add 192.0.2.1/24 dev uplink")
        ip("link set uplink up")
        ip("link add other type bridge")
        ip("addr add 192.0.2.7/32 dev other")
        ip("link set other up")
        yield NetlinkLinks("dt", tmp_path)


async def seen(links: NetlinkLinks) -> ObservedTransit:
    (found,) = await links.list_transits()
    return found


async def test_it_carries_what_is_asked_for_and_nothing_else(links: NetlinkLinks, zone: Zone) -> None:
    remotes = (remote(2, 20, 21), remote(3))
    assert await links.ensure_transit(zone.transit(1, *remotes))
    assert await seen(links) == zone.right(1, *remotes)


async def test_twice_changes_nothing(links: NetlinkLinks, zone: Zone) -> None:
    await links.ensure_transit(zone.transit(1, remote(2, 20), remote(3, 30)))
    assert not await links.ensure_transit(zone.transit(1, remote(2, 20), remote(3, 30)))


async def test_it_follows_guests_and_nodes_that_come_move_and_go(links: NetlinkLinks, zone: Zone) -> None:
    for remotes in (
        (remote(2, 20, 21), remote(3, 30)),
        (remote(2, 21), remote(3, 20, 30)),
        (remote(3, 20),),
        (replace(remote(3, 20), mac=mac(9)),),
        (replace(remote(3, 20), address=IPv4Address("192.0.2.33")),),
        (),
    ):
        assert await links.ensure_transit(zone.transit(1, *remotes))
        assert await seen(links) == zone.right(1, *remotes)


async def test_another_id_or_address_makes_it_anew(links: NetlinkLinks, zone: Zone) -> None:
    await links.ensure_transit(zone.transit(1, remote(2, 20)))
    for change in ({"id": 77}, {"address": IPv4Address("192.0.2.7")}, {"mac": mac(9)}, {"mtu": 1400}):
        wanted = replace(zone.transit(1, remote(2, 20)), **change)
        assert await links.ensure_transit(wanted)
        found = await seen(links)
        assert found.carrier == Carrier(zone.encapsulation, wanted.id, (wanted.address,), closed=True)
        assert (found.mac, found.mtu) == (wanted.mac, wanted.mtu)
        assert found.routes == zone.right(1, remote(2, 20)).routes
        assert not await links.ensure_transit(wanted)


TAMPERING = {
    "taken down": f"link set {NAME} down",
    "another MTU": f"link set {NAME} mtu 1300",
    "another MAC": f"link set {NAME} address 02:00:00:00:00:99",
    "another group": f"link set {NAME} group 7",
    "asks for neighbours": f"link set {NAME} arp on",
    "a port of a bridge": f"link set {NAME} master other",
    "an address": f"addr add 10.99.0.1/24 dev {NAME}",
    "an IPv6 address": f"addr add fd00:99::1/64 dev {NAME}",
    "its address gone": f"addr del 192.0.0.8/32 dev {NAME}",
    "a route gone": f"route del 10.213.1.20/32 dev {NAME}",
    "an IPv6 route gone": f"-6 route del fd00:213:1::20/128 dev {NAME}",
    "a route to another node": f"route replace 10.213.1.20/32 via 192.0.2.9 dev {NAME} onlink",
    "a route to another link": "route replace 10.213.1.20/32 dev uplink",
    "a route of its own": f"route add 10.213.1.50/32 via 192.0.2.2 dev {NAME} onlink",
    "a network": f"route add 10.98.0.0/16 via 192.0.2.2 dev {NAME} onlink",
    "a default route": f"-6 route add default via fe80::99 dev {NAME} onlink",
    "a route in another table": f"route add 10.97.0.0/16 via 192.0.2.2 dev {NAME} onlink table 77",
    "a route as the kernel's": f"route add 10.96.0.0/16 dev {NAME} proto kernel",
    "a neighbour gone": f"neigh del 192.0.2.2 dev {NAME}",
    "another neighbour": f"neigh replace 192.0.2.2 lladdr 02:00:00:00:00:77 dev {NAME} nud permanent",
    "a neighbour that ages": f"neigh replace 192.0.2.2 lladdr {mac(2)} dev {NAME} nud reachable",
    "a neighbour of its own": f"neigh add 192.0.2.77 lladdr {mac(2)} dev {NAME} nud permanent",
    "an IPv6 neighbour": f"-6 neigh replace fe80::77 lladdr {mac(3)} dev {NAME} nud stale",
    "deleted": f"link del {NAME}",
}


VXLAN_TAMPERING = {
    "learns": f"link set {NAME} type vxlan learning",
    "forwarding gone": f"fdb del {mac(2)} dev {NAME} dst 192.0.2.2",
    "forwarding to another": f"fdb replace {mac(2)} dev {NAME} dst 192.0.2.9",
    "forwarding by another port": f"fdb replace {mac(2)} dev {NAME} dst 192.0.2.2 port 5000",
    "forwarding of its own": f"fdb add 02:00:00:00:00:55 dev {NAME} dst 192.0.2.9",
    "floods": f"fdb append 00:00:00:00:00:00 dev {NAME} dst 192.0.2.9",
    "learnt": f"fdb add 02:00:00:00:00:56 dev {NAME} dst 192.0.2.9 dynamic",
}
VLAN_TAMPERING = {
    "tells switches": f"link set {NAME} type vlan gvrp on",
    "tells newer switches": f"link set {NAME} type vlan mvrp on",
    "stays up without the link below": f"link set {NAME} type vlan loose_binding on",
    "is up as a bridge's ports are": f"link set {NAME} type vlan bridge_binding on",
    "shows its tag": f"link set {NAME} type vlan reorder_hdr off",
    "sends with priority": f"link set {NAME} type vlan egress 0:3",
    "takes priority": f"link set {NAME} type vlan ingress 3:1",
    "another id": f"link del {NAME};link add link uplink name {NAME} type vlan id 77",
    "upon another link": f"link del {NAME};link add link other name {NAME} type vlan id 213",
    "another protocol": f"link del {NAME};link add link uplink name {NAME} type vlan proto 802.1ad id 213",
    "another kind": f"link del {NAME};link add {NAME} type bridge",
}
OF_KIND = {VXLAN: VXLAN_TAMPERING, VLAN: VLAN_TAMPERING}
CASES = [
    pytest.param(Zone(kind), command, id=f"{kind}-{what}")
    for kind in ENCAPSULATIONS
    for what, command in {**TAMPERING, **OF_KIND[kind]}.items()
]


@pytest.mark.parametrize(("zone", "command"), CASES)
async def test_what_somebody_changed_is_seen_told_and_put_right(
    links: NetlinkLinks, zone: Zone, command: str
) -> None:
    wanted = zone.transit(1, remote(2, 20), remote(3, 30))
    await links.ensure_transit(wanted)
    for each in command.split(";"):
        if each.startswith("fdb"):
            bridge(each)
        else:
            ip(each)
    if " group " not in command:
        assert await links.list_transits() != [zone.right(1, *wanted.remotes)]
    assert await links.ensure_transit(wanted)
    assert await seen(links) == zone.right(1, *wanted.remotes)
    assert not await links.ensure_transit(wanted)


async def test_what_a_stranger_put_there_is_named(links: NetlinkLinks, zone: Zone) -> None:
    await links.ensure_transit(zone.transit(1))
    ip(f"addr add 10.99.0.1/24 dev {NAME}")
    ip(f"route add 10.98.0.0/16 via 192.0.2.2 dev {NAME} onlink")
    named = {"the address 10.99.0.1/24", "route 10.98.0.0/16 via 192.0.2.2"}
    if zone.encapsulation is VXLAN:
        bridge(f"fdb append 00:00:00:00:00:00 dev {NAME} dst 192.0.2.9")
        named.add("forwarding entry 00:00:00:00:00:00 dst 192.0.2.9")
    assert named <= set((await seen(links)).strangers)


async def test_foreign_links_are_left_alone(links: NetlinkLinks, zone: Zone) -> None:
    await links.ensure_transit(zone.transit(1))
    for call in (
        links.ensure_transit(replace(zone.transit(1), owner_uid=STRANGER)),
        links.remove_transit(NAME, STRANGER),
    ):
        with pytest.raises(NotOursError):
            await call
    ip("link add dtv00000009 type bridge")
    ip("link set dtv00000009 up")
    with pytest.raises(NotOursError):
        await links.ensure_transit(replace(zone.transit(1), name="dtv00000009", id=7))
    found = [(each.name, each.carrier and each.carrier.id) for each in await links.list_transits()]
    assert found == [(NAME, zone.id), ("dtv00000009", None)]
    for name in ("eth0", "uplink", BRIDGE.name):
        with pytest.raises(AdapterError):
            await links.remove_transit(name, OWNER)


async def test_an_id_that_another_link_of_the_host_has_is_an_error_that_says_so(
    links: NetlinkLinks, zone: Zone
) -> None:
    ip(zone.make.format("others"))
    with pytest.raises(AdapterError, match=f"has {zone.encapsulation} id {zone.id}"):
        await links.ensure_transit(zone.transit(1))


async def test_what_a_killed_agent_left_half_made_is_finished(links: NetlinkLinks, zone: Zone) -> None:
    ip(zone.make.format(NAME))
    assert await links.ensure_transit(zone.transit(1, remote(2, 20)))
    assert await seen(links) == zone.right(1, remote(2, 20))


async def test_it_goes(links: NetlinkLinks, zone: Zone) -> None:
    await links.ensure_transit(zone.transit(1, remote(2, 20)))
    await links.remove_transit(NAME, OWNER)
    await links.remove_transit(NAME, OWNER)
    assert await links.list_transits() == []


async def test_the_entries_of_a_link_that_has_just_gone_are_none(links: NetlinkLinks) -> None:
    with Channel() as channel:
        assert channel.entries({4213}, {4213}) == {4213: []}


async def test_five_thousand_guests_elsewhere_are_no_trouble(links: NetlinkLinks, zone: Zone) -> None:
    many = tuple(
        replace(
            remote(node),
            guests=(
                *(IPv4Address(f"10.{node}.{number // 250}.{number % 250}") for number in range(1000)),
                *(IPv6Address(f"fd00:{node}::{number:x}") for number in range(1, 1001)),
            ),
        )
        for node in range(2, 7)
    )
    begin = time.perf_counter()
    assert await links.ensure_transit(zone.transit(1, *many))
    made = time.perf_counter()
    assert len((await seen(links)).routes) == 10_000
    looked = time.perf_counter()
    assert not await links.ensure_transit(zone.transit(1, *many))
    print(f"10,000 routes: made in {made - begin:.2f} s, listed in {looked - made:.2f} s")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    with cluster(3, tmp_path) as nodes:
        yield nodes


def attach(zone: Zone, node: Node, number: int, *remotes: Remote) -> None:
    node.inside.run(node.links.ensure_forwarding())
    node.inside.run(node.links.ensure_forwarding6())
    node.inside.run(node.links.ensure_bridge(BRIDGE))
    node.inside.run(node.links.ensure_transit(zone.transit(number, *remotes)))


def guest(node: Node, number: int) -> Inside:
    return start(
        node,
        BRIDGE.name,
        f"dtg{number:08x}",
        f"10.213.1.{number}/32",
        f"fd00:213:1::{number}/128",
        gateways=("10.213.1.1", "fd00:213:1::1"),
        mtu=1450,
    )


def test_guests_of_three_nodes_reach_each_other(nodes: list[Node], zone: Zone) -> None:
    for number, node in enumerate(nodes, 1):
        attach(zone, node, number, *(remote(other, 10 * other) for other in (1, 2, 3) if other != number))
    inside = {number: guest(node, 10 * number) for number, node in enumerate(nodes, 1)}
    for (sender, here), (receiver, there) in permutations(inside.items(), 2):
        for address in guests(10 * receiver):
            assert reaches(here, there, str(address)), f"{sender} to {address}"
    assert reaches(inside[1], inside[2], "10.213.1.20", size=1450 - 28), "the largest packet"


def test_a_guest_that_moves_is_reached_where_it_is(nodes: list[Node], zone: Zone) -> None:
    one, two, three = nodes
    attach(zone, one, 1, remote(2, 20))
    attach(zone, two, 2, remote(1, 10))
    attach(zone, three, 3, remote(1, 10), remote(2, 20))
    first, before = guest(one, 10), guest(two, 20)
    assert reaches(first, before, "10.213.1.20")
    two.guests.pop("dtg00000014").close()
    one.inside.run(one.links.ensure_transit(zone.transit(1, remote(3, 20))))
    two.inside.run(two.links.ensure_transit(zone.transit(2, remote(1, 10), remote(3, 20))))
    three.inside.run(three.links.ensure_transit(zone.transit(3, remote(1, 10))))
    after = guest(three, 20)
    for address in guests(20):
        assert reaches(first, after, str(address))
    for address in guests(10):
        assert reaches(after, first, str(address))


def test_guests_of_two_zones_reach_each_other_whatever_the_host_says_about_reverse_paths(
    nodes: list[Node], zone: Zone
) -> None:
    """What zone 1's guest sends to zone 2's arrives by zone 2's link and is answered by zone 1's."""
    one, two, _ = nodes
    other = replace(
        BRIDGE,
        name="dtz00000002",
        gateway=IPv4Interface("10.213.2.1/24"),
        gateway6=None,
        mac="02:00:00:00:00:02",
    )
    second = replace(zone.transit(1), name="dtv00000002", id=zone.id + 1)
    there = Remote(IPv4Address("192.0.2.2"), mac(2), (IPv4Address("10.213.2.20"),))
    for number, node in enumerate((one, two), 1):
        node.inside.call(lambda: Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1"))
        attach(zone, node, number, *([remote(1, 10)] if number == 2 else []))
        node.inside.run(node.links.ensure_bridge(other))
        here = replace(second, address=IPv4Address(f"192.0.2.{number}"), mac=mac(number))
        node.inside.run(node.links.ensure_transit(replace(here, remotes=(there,) if number == 1 else ())))
    sender = guest(one, 10)
    receiver = start(two, other.name, "dtg00000099", "10.213.2.20/32", gateways=("10.213.2.1",), mtu=1450)
    assert reaches(sender, receiver, "10.213.2.20")
