"""Any policy on real links: what passes is exactly what a reading of the policy says.

The oracle below is the policy's meaning in a few lines of Python; the firewall is compared with it, packet by
packet.
"""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from dsecos_agent.firewall.model import L4, EgressMode, EgressRule, ExposedPort, Policy
from dsecos_agent.firewall.nft import NftFirewall
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .world import NODE, OUTSIDE, Peer, World

PORTS = (80, 81)
HOST_PORTS = (8080, 8081, 8082)
networks = st.sampled_from(
    [
        IPv4Network(text)
        for text in ("0.0.0.0/0", "192.0.2.0/24", "192.0.2.10/32", "192.0.2.128/25", "10.0.0.0/8")
    ]
)
sources = st.lists(networks, min_size=1, max_size=2).map(tuple)
rules = st.builds(
    EgressRule, networks, st.frozensets(st.tuples(st.sampled_from(L4), st.sampled_from(PORTS)), max_size=2)
)


@st.composite
def small_policies(draw: st.DrawFn) -> Policy:
    zones = tuple(
        replace(
            zone,
            egress=draw(st.sampled_from(EgressMode)),
            egress_to=tuple(draw(st.lists(rules, max_size=2))),
        )
        for zone in World.zones
    )
    flags = st.lists(st.booleans(), min_size=12, max_size=12)
    chosen = iter(draw(flags))
    free = list(HOST_PORTS)
    guests = []
    for guest in World.guests:
        exposed = tuple(
            ExposedPort(port, L4.TCP, free.pop() if next(chosen) and free else None, draw(sources))
            for port in PORTS
            if next(chosen)
        )
        guests.append(replace(guest, exposed=exposed))
    return Policy(zones, tuple(guests))


def may_leave(policy: Policy, guest: str, target: str, protocol: L4, port: int) -> bool:
    bridge = next(g.bridge for g in policy.guests if g.name == guest)
    zone = next(z for z in policy.zones if z.bridge == bridge)
    if zone.egress is EgressMode.DENY:
        return False
    return not zone.egress_to or any(
        IPv4Address(target) in rule.cidr and (not rule.ports or (protocol, port) in rule.ports)
        for rule in zone.egress_to
    )


def may_enter(policy: Policy, guest: str, source: str, port: int) -> bool:
    return any(
        one.port == port and any(IPv4Address(source) in network for network in one.sources)
        for g in policy.guests
        if g.name == guest
        for one in g.exposed
    )


@pytest.fixture
async def serving(world: World) -> World:
    for peer in world.peers.values():
        await peer.serve(*PORTS)
        await peer.serve(*PORTS, protocol="udp")
    return world


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(policy=small_policies())
async def test_what_passes_is_what_the_policy_says(
    serving: World, firewall: NftFirewall, policy: Policy
) -> None:
    await firewall.apply(policy)
    outside = serving.peers["outside"]
    expected: dict[str, bool] = {}
    tried: dict[str, asyncio.Task[str]] = {}

    def attempt(what: str, passes: bool, peer: Peer, host: str, port: int, protocol: str = "tcp") -> None:
        expected[what] = passes
        tried[what] = asyncio.create_task(peer.connect(host, port, protocol, limit=0.4))

    for guest in policy.guests:
        peer = serving.peers[guest.name]
        for port in PORTS:
            passes = may_enter(policy, guest.name, OUTSIDE, port)
            attempt(f"outside -> {guest.name}:{port}", passes, outside, str(guest.address), port)
            leaves = may_leave(policy, guest.name, OUTSIDE, L4.TCP, port)
            attempt(f"{guest.name} -> outside:{port}", leaves, peer, OUTSIDE, port)
            leaves = may_leave(policy, guest.name, OUTSIDE, L4.UDP, port)
            attempt(f"{guest.name} -> outside:{port}/udp", leaves, peer, OUTSIDE, port, "udp")
            for other in policy.guests:
                if other is not guest:
                    attempt(f"{guest.name} -> {other.name}:{port}", False, peer, str(other.address), port)
    for host_port in HOST_PORTS:
        passes = any(
            one.host_port == host_port and may_enter(policy, guest.name, OUTSIDE, one.port)
            for guest in policy.guests
            for one in guest.exposed
        )
        attempt(f"outside -> node:{host_port}", passes, outside, NODE, host_port)
    seen = {what: (await task).startswith("saw") for what, task in tried.items()}
    assert seen == expected
