"""The firewall at scale, against the raw tool with the same text, and against no rules at all.

In network namespaces of its own: nothing of the host is touched.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from dsecos_agent.firewall.delta import commands, delta
from dsecos_agent.firewall.model import Crossing, EgressMode, ExposedPort, GuestPolicy, Policy, ZonePolicy
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.firewall.render import render
from dsecos_agent.firewall.validate import Names

from tests.network.namespaces import Space

NAMES = Names("dsecos_bench", "bn")
ZONES = 200
ROUNDS = 3
SIZES = (100, 1000, 5000)
"""Guests."""


def zone(number: int) -> ZonePolicy:
    """Each fourth may go out."""
    gateway = IPv4Interface(f"10.{20 + number // 8}.{number % 8 * 32}.1/19")
    return ZonePolicy(f"bnz{number:08x}", gateway, EgressMode.NAT if number % 4 == 0 else EgressMode.DENY)


def guest(number: int) -> GuestPolicy:
    """Each with a port for everybody and one for some."""
    home = zone(number % ZONES)
    return GuestPolicy(
        name=f"guest-{number}",
        link=f"bng{number:08x}",
        bridge=home.bridge,
        mac=f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        address=home.gateway.ip + 1 + number // ZONES,
        exposed=(ExposedPort(80), ExposedPort(5432, sources=(IPv4Network("192.0.2.0/24"),))),
    )


def policy(guests: int) -> Policy:
    """With each zone agreed with the next."""
    zones = [zone(number) for number in range(ZONES)]
    return Policy(
        zones=tuple(zones),
        guests=tuple(guest(number) for number in range(guests)),
        registry_port=5001,
        crossings=tuple(
            Crossing(one.gateway.network, other.gateway.network) for one, other in pairwise(zones)
        ),
    )


@pytest.fixture
def node() -> Iterator[Space]:
    space = Space()
    yield space
    space.close()


def raw(text: str) -> float:
    """Seconds that nft takes for it."""
    begun = time.perf_counter()
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)
    return time.perf_counter() - begun


def ours(firewall: NftFirewall, wanted: Policy) -> float:
    """Seconds until a policy is in force."""

    async def apply() -> float:
        begun = time.perf_counter()
        await firewall.apply(wanted)
        return time.perf_counter() - begun

    return asyncio.run(apply())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("guests", SIZES)
def test_apply(guests: int, node: Space, tmp_path: Path) -> None:
    wanted = policy(guests)
    text = render(wanted, NAMES)
    before = psutil.Process().memory_info().rss
    with node.entered():
        nft = [raw(text) for _ in range(ROUNDS)]
        firewall = NftFirewall(NAMES.instance, NAMES.link_prefix, tmp_path)
        whole = []
        for _ in range(ROUNDS):
            whole.append(ours(firewall, wanted))
            asyncio.run(firewall.remove())
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    best, apply = (statistics.median(each) for each in (nft, whole))
    print(
        f"\n{guests} guests, {ZONES} zones, {len(text) / 2**20:.1f} MiB of text:"
        f" nft -f {best:.3f} s; whole apply {apply:.3f} s, {apply / best:.1f} times as long;"
        f" agent +{grown:.0f} MiB, largest nft {largest:.0f} MiB"
    )


@pytest.mark.timeout(1800)
def test_one_port(node: Space, tmp_path: Path) -> None:
    print()
    took: dict[str, list[float]] = {"we": [], "nft": []}
    for guests in SIZES:
        wanted = policy(guests)
        first = wanted.guests[0]
        more = replace(first, exposed=(*first.exposed, ExposedPort(8080)))
        another = replace(wanted, guests=(more, *wanted.guests[1:]))
        steps = [delta(wanted, another, NAMES), delta(another, wanted, NAMES)]
        with node.entered():
            firewall = NftFirewall(NAMES.instance, NAMES.link_prefix, tmp_path)
            ours(firewall, wanted)
            change = [ours(firewall, each) for _ in range(ROUNDS) for each in (another, wanted)]
            nft = [raw(commands(step or (), NAMES.instance)) for _ in range(ROUNDS) for step in steps]
            asyncio.run(firewall.remove())
        for name, times in (("we", change), ("nft", nft)):
            took[name].append(statistics.median(times))
        print(
            f"{guests} guests: one port's change {took['we'][-1] * 1e3:.1f} ms,"
            f" nft for the same element {took['nft'][-1] * 1e3:.1f} ms;"
            f" {took['we'][-1] / took['nft'][-1]:.2f} times as long"
        )
    growth = {name: times[-1] / times[0] for name, times in took.items()}
    print(
        f"{SIZES[-1] // SIZES[0]} times the guests: {growth['we']:.1f} times the time,"
        f" of nft {growth['nft']:.1f} times"
    )
    assert took["we"][-1] < took["nft"][-1], "nft reads what all guests have for one element, we do not"


class Line:
    """outside -- node -- guest of zone 0, with the rules of a policy or none."""

    def __init__(self, stack: ExitStack) -> None:
        self.node, self.outside, self.guest = Space(), Space(), Space()
        for space in (self.node, self.outside, self.guest):
            stack.callback(space.close)
        one = zone(0)
        self.address: IPv4Address = guest(0).address
        self.node.ip(
            "link add bnz00000000 type bridge stp_state 0",
            f"addr add {one.gateway} dev bnz00000000",
            "link set bnz00000000 up",
            f"link add bng00000000 type veth peer name eth0 address {guest(0).mac} netns {self.guest.path}",
            "link set bng00000000 master bnz00000000 up",
            f"link add out0 type veth peer name eth0 netns {self.outside.path}",
            "addr add 192.0.2.1/24 dev out0",
            "link set out0 up",
        )
        self.node.feed(["sysctl", "-q", "-p", "-"], ["net.ipv4.ip_forward=1"])
        self.guest.ip(
            f"addr add {self.address}/32 dev eth0",
            "link set eth0 up",
            f"route add default via {one.gateway.ip} dev eth0 onlink",
        )
        self.outside.ip(
            "addr add 192.0.2.2/24 dev eth0", "link set eth0 up", "route add default via 192.0.2.1"
        )

    def throughput(self) -> float:
        """Gigabits a second of one TCP connection to the guest's open port."""
        with self.guest.entered():
            server = subprocess.Popen(
                ["iperf3", "-s", "-1", "-p", "80"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        time.sleep(0.3)
        with self.outside.entered():
            said = subprocess.run(
                ["iperf3", "-c", str(self.address), "-p", "80", "-t", "3", "-J"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        server.wait()
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9

    def new_connections(self) -> float:
        """Microseconds, the median, until a new TCP connection to the guest is made: each one's first packet
        goes through the whole chain.
        """
        with self.guest.entered():
            listener = socket.create_server((str(self.address), 80), backlog=512)
        times = []
        with self.outside.entered(), listener:
            for _ in range(1500):
                begun = time.perf_counter()
                made = socket.create_connection((str(self.address), 80))
                times.append(time.perf_counter() - begun)
                made.close()
                listener.accept()[0].close()
        return statistics.median(times) * 1e6


@pytest.mark.timeout(600)
def test_packets(tmp_path: Path) -> None:
    with ExitStack() as stack:
        line = Line(stack)
        figures: dict[str, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for name, text in {
                "no rules": "flush ruleset",
                "100 guests": render(policy(100), NAMES),
                "5000 guests": render(policy(5000), NAMES),
            }.items():
                with line.node.entered():
                    raw("flush ruleset")
                    raw(text)
                figures.setdefault(name, []).append((line.throughput(), line.new_connections()))
    print()
    plain = [statistics.median(each) for each in zip(*figures["no rules"], strict=True)]
    for name, found in figures.items():
        gigabits, micro = (statistics.median(each) for each in zip(*found, strict=True))
        print(
            f"{name}: {gigabits:.1f} Gbit/s ({gigabits / plain[0]:.2f} of no rules),"
            f" new connection {micro:.0f} us ({micro / plain[1]:.2f} times)"
        )
    assert len(figures) == 3
