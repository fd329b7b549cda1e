"""Whose packets were dropped, with real packets: from the kernel's memory to the metric."""

import asyncio
import random
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest
from dsecos_agent.firewall.model import Direction, Policy
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.nodefirewall.denied import LOOK_EVERY, DeniedPackets
from dsecos_agent.nodefirewall.peermetric import MOST_OF_GUEST, NAME, PEERS
from prometheus_client import REGISTRY

from .world import OUTSIDE, Peer, World

POLICY = Policy(World.zones, World.guests)
ONE, _, THREE = (str(guest.address) for guest in World.guests)
SCANNED = 300


class Watched:
    """What the controller does, at a clock of our own."""

    def __init__(self, firewall: NftFirewall) -> None:
        self._firewall = firewall
        self._now = 0.0
        self._denied = DeniedPackets(lambda: self._now)
        self.lists = 0

    async def round(self) -> dict[str, str]:
        """The events of one."""
        self._now += LOOK_EVERY
        self._denied.seen(await self._firewall.denied())
        if not self._denied.look():
            return {}
        self.lists += 1
        return self._denied.looked(await self._firewall.denied_peers())


@pytest.fixture
async def watched(world: World, firewall: NftFirewall) -> Watched:
    await firewall.apply(POLICY)
    watched = Watched(firewall)
    await watched.round()
    return watched


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    PEERS.show(())


def series() -> dict[tuple[str, str, str, str, str], float]:
    """Packets by guest, direction, protocol, port and peer."""
    keys = ("guest", "direction", "protocol", "port", "peer")
    found = [one for metric in REGISTRY.collect() if metric.name == NAME for one in metric.samples]
    return {
        (labels[0], labels[1], labels[2], labels[3], labels[4]): one.value
        for one in found
        for labels in [[one.labels[key] for key in keys]]
    }


def forget() -> None:
    """As the kernel does after ten minutes."""
    subprocess.run(["nft", "flush", "set", "inet", "dtfw", "egress_peers"], check=True)


async def scan(peer: Peer, hosts: list[str], seed: int) -> None:
    """To ports at random: hardly one of them twice."""
    chance = random.Random(seed)
    await asyncio.gather(
        *(peer.datagram(chance.choice(hosts), chance.randint(1, 65535), b"?") for _ in range(SCANNED))
    )


async def test_what_is_dropped_is_a_series_of_its_peer(world: World, watched: Watched) -> None:
    for _ in range(3):
        await world.peers["one"].datagram(OUTSIDE, 443, b"?")
    await world.peers["outside"].datagram(THREE, 53, b"?")
    await world.peers["one"].pings(OUTSIDE)
    events = await watched.round()

    assert series() == {
        ("one", "egress", "udp", "443", OUTSIDE): 3,
        ("one", "egress", "icmp", "", OUTSIDE): 1,
        ("three", "ingress", "udp", "53", OUTSIDE): 1,
    }
    assert f"UDP port 53 from {OUTSIDE}" in events["three"]


async def test_an_idle_node_lists_nothing(world: World, watched: Watched) -> None:
    for _ in range(5):
        await watched.round()

    assert watched.lists == 0


async def test_what_the_kernel_forgets_goes_and_then_nothing_is_listed(
    world: World, watched: Watched
) -> None:
    await world.peers["one"].datagram(OUTSIDE, 443, b"?")
    await watched.round()
    assert series()
    forget()
    await watched.round()
    assert series() == {}
    before = watched.lists
    await watched.round()
    assert watched.lists == before


async def test_scans_from_inside_and_outside_yield_few_series(world: World, watched: Watched) -> None:
    busy = world.peers["outside"]
    for _ in range(5):
        await busy.datagram(THREE, 22, b"?")
    nowhere = [f"192.0.2.{number}" for number in range(50, 250)]
    await scan(world.peers["one"], nowhere, seed=1)
    await scan(busy, [THREE], seed=2)
    await watched.round()

    of_guests = Counter((guest, direction) for guest, direction, *_ in series())
    assert of_guests == {
        ("one", Direction.EGRESS): MOST_OF_GUEST,
        ("three", Direction.INGRESS): MOST_OF_GUEST,
    }
    assert series()["three", "ingress", "udp", "22", OUTSIDE] >= 5, "the busiest is among them"


async def test_who_sends_under_a_forged_address_is_counted_and_has_no_peer(
    world: World, watched: Watched
) -> None:
    one = world.peers["one"]
    one.namespace.ip("addr add 10.213.1.77/32 dev eth0")
    await one.connect(OUTSIDE, 80, source="10.213.1.77")
    events = await watched.round()

    assert "not its own" in events["one"]
    assert series() == {}
