"""Any policy on real links: what passes is exactly what a reading of the policy says.

The oracle below is the policy's meaning in a few lines of Python; the firewalls of two nodes are compared
with it, packet by packet, in both families.
"""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from dsecos_agent.firewall.model import (
    L4,
    EgressMode,
    EgressRule,
    ExposedPort,
    GuestPolicy,
    Policy,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .nodes import GUESTS, HERE, NODE6, OUTSIDE6, PLAIN, VXLAN_ALONE, ZONES, Nodes, agreed
from .world import NODE, OUTSIDE, PATIENT, Peer

PORTS = (80, 81)
HOST_PORTS = (8080, 8081, 8082)
OUTSIDES = {4: OUTSIDE, 6: OUTSIDE6}
NODES = {4: NODE, 6: NODE6}
networks = st.sampled_from(
    [
        ip_network(text)
        for text in (
            "0.0.0.0/0",
            "192.0.2.10/32",
            "192.0.2.128/25",
            "10.0.0.0/8",
            "::/0",
            "2001:db8::/64",
            "2001:db8:0:1::/64",
            "fd00::/8",
        )
    ]
)
sources = st.lists(networks, min_size=1, max_size=3).map(tuple)
port_sets = st.frozensets(st.tuples(st.sampled_from(L4), st.sampled_from(PORTS)), max_size=2)
rules = st.builds(EgressRule, networks, port_sets)
zone_names = st.sampled_from([zone.bridge for zone in ZONES])


@st.composite
def small_policies(draw: st.DrawFn) -> Policy:
    zones = tuple(
        replace(
            zone,
            egress=draw(st.sampled_from(EgressMode)),
            egress_to=tuple(draw(st.lists(rules, max_size=3))),
        )
        for zone in ZONES
    )
    chosen = iter(draw(st.lists(st.booleans(), min_size=12, max_size=12)))
    free = list(HOST_PORTS)
    guests = []
    for guest in HERE:
        exposed = tuple(
            ExposedPort(port, L4.TCP, free.pop() if next(chosen) and free else None, draw(sources))
            for port in PORTS
            if next(chosen)
        )
        guests.append(replace(guest, exposed=exposed))
    consents = draw(st.lists(st.tuples(zone_names, zone_names, port_sets), max_size=3))
    # Two rules between the same zones would be one, of all their ports: what the operator never says.
    crossings = {(a, b): agreed(a, b, *ports) for a, b, ports in consents}
    families = draw(st.sampled_from([{4}, {6}, {4, 6}, {4, 6}]))
    return replace(
        PLAIN,
        zones=zones,
        guests=(*guests, *GUESTS[len(HERE) :]),
        crossings=tuple(
            crossing
            for pair in crossings.values()
            for crossing in pair
            if crossing.source.version in families
        ),
    )


def may_leave(policy: Policy, guest: GuestPolicy, target: str, protocol: L4, port: int) -> bool:
    zone = next(z for z in policy.zones if z.bridge == guest.bridge)
    if zone.egress is EgressMode.DENY:
        return False
    return not zone.egress_to or any(
        ip_address(target) in rule.cidr and (not rule.ports or (protocol, port) in rule.ports)
        for rule in zone.egress_to
    )


def may_enter(guest: GuestPolicy, source: str, port: int) -> bool:
    return any(
        one.port == port and any(ip_address(source) in network for network in one.sources)
        for one in guest.exposed
    )


def may_cross(policy: Policy, source: str, target: str, protocol: L4, port: int) -> bool:
    return any(
        ip_address(source) in crossing.source
        and ip_address(target) in crossing.destination
        and (not crossing.ports or (protocol, port) in crossing.ports)
        for crossing in policy.crossings
    )


def address(guest: GuestPolicy, family: int) -> str:
    return str(guest.address if family == 4 else guest.address6)


@pytest.fixture
async def serving(nodes: Nodes) -> Nodes:
    for peer in nodes.peers.values():
        await peer.serve(*PORTS)
        await peer.serve(*PORTS, protocol="udp")
    return nodes


@VXLAN_ALONE
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(policy=small_policies())
async def test_what_passes_is_what_the_policy_says(serving: Nodes, policy: Policy) -> None:
    await serving.apply(policy)
    outside = serving.peers["outside"]
    expected: dict[str, bool] = {}
    tried: dict[str, asyncio.Task[str]] = {}

    def attempt(what: str, passes: bool, peer: Peer, host: str, port: int, protocol: str = "tcp") -> None:
        expected[what] = passes
        limit = PATIENT if passes else 1.0
        tried[what] = asyncio.create_task(peer.connect(host, port, protocol, limit=limit))

    for family in (4, 6):
        beyond, node = OUTSIDES[family], NODES[family]
        for guest in policy.guests:
            peer, name = serving.peers[guest.name], f"{guest.name} v{family}"
            for protocol, port in ((L4.TCP, 80), (L4.UDP, 81)):
                for other in policy.guests:
                    if other is not guest:
                        host = address(other, family)
                        passes = may_cross(policy, address(guest, family), host, protocol, port)
                        attempt(f"{name} -> {other.name}:{port}", passes, peer, host, port, protocol)
        for guest in policy.guests[: len(HERE)]:
            peer, name = serving.peers[guest.name], f"{guest.name} v{family}"
            for port in PORTS:
                passes = may_enter(guest, beyond, port)
                attempt(f"outside -> {name}:{port}", passes, outside, address(guest, family), port)
                for protocol in L4:
                    leaves = may_leave(policy, guest, beyond, protocol, port)
                    attempt(f"{name} -> outside:{port}/{protocol}", leaves, peer, beyond, port, protocol)
        for host_port in HOST_PORTS:
            passes = any(
                one.host_port == host_port and any(ip_address(beyond) in network for network in one.sources)
                for guest in policy.guests
                for one in guest.exposed
            )
            attempt(f"outside -> node v{family}:{host_port}", passes, outside, node, host_port)
    seen = {what: (await task).startswith("saw") for what, task in tried.items()}
    assert {what for what in seen if seen[what] != expected[what]} == set()
