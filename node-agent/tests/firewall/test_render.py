"""The renderer: whatever the policy, the kernel takes it, its order does not matter, and the end of every
chain is a drop.
"""

import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random
from typing import TypeVar

import pytest
from dsecos_agent.firewall.model import (
    L4,
    Crossing,
    Denied,
    Direction,
    ExposedPort,
    GuestPolicy,
    InvalidPolicyError,
    Policy,
    Tunnel,
)
from dsecos_agent.firewall.render import render
from dsecos_agent.firewall.validate import Names
from dsecos_agent.links.protocol import VXLAN_PORT, Encapsulation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .policies import policies
from .world import World

NAMES = Names("dtfw", "dt")
T = TypeVar("T")
POLICY = Policy(World.zones, World.guests)
TUNNEL = Tunnel(IPv4Address("192.0.2.1"), (7,), (IPv4Address("192.0.2.2"),))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=policies())
def test_every_policy_loads(network: None, policy: Policy) -> None:
    """Into the kernel, in a namespace of the test's own: what `nft -c` accepts can still be refused there."""
    text = render(policy, NAMES)
    loaded = subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True, check=False)
    assert loaded.returncode == 0, loaded.stderr


def test_ports_that_an_engine_names_are_guests_ports(network: None) -> None:
    guest = replace(World.guests[0], link="veth20000i0")
    text = render(replace(POLICY, guests=(guest,)), NAMES)
    loaded = subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    chains = chains_of(text)
    assert chains["from_port"][0] == 'iifname != "dtg*" iifname != @engine_ports accept'
    assert "iifname @engine_ports drop" in chains["early"]
    assert "engine_ports" not in render(POLICY, NAMES)
    with pytest.raises(InvalidPolicyError):
        render(replace(POLICY, guests=(replace(guest, link="veth1234567"),)), NAMES)


def test_names_are_two_rules_however_many_guests_there_are() -> None:
    closed = chains_of(render(POLICY, NAMES))["input"]
    for guests in (World.guests, World.guests[:1]):
        opened = chains_of(render(replace(POLICY, guests=guests, name_server=True), NAMES))["input"]
        assert [rule for rule in opened if rule not in closed] == [
            f"iifname . {ip} daddr @gateways{suffix} meta l4proto {{ tcp, udp }} th dport 53 accept"
            for ip, suffix in (("ip", ""), ("ip6", "6"))
        ]


@settings(deadline=None)
@given(policy=policies(), random=st.randoms())
def test_order_does_not_matter(policy: Policy, random: Random) -> None:
    def shuffled(things: tuple[T, ...]) -> tuple[T, ...]:
        copy = list(things)
        random.shuffle(copy)
        return tuple(copy)

    other = replace(
        policy,
        zones=shuffled(tuple(replace(zone, egress_to=shuffled(zone.egress_to)) for zone in policy.zones)),
        guests=shuffled(
            tuple(
                replace(
                    guest,
                    exposed=shuffled(
                        tuple(replace(port, sources=shuffled(port.sources)) for port in guest.exposed)
                    ),
                )
                for guest in policy.guests
            )
        ),
        crossings=shuffled(policy.crossings),
        tunnel=policy.tunnel
        and replace(policy.tunnel, ids=shuffled(policy.tunnel.ids), peers=shuffled(policy.tunnel.peers)),
        protected=shuffled(policy.protected),
        elsewhere=shuffled(policy.elsewhere),
    )
    assert render(other, NAMES) == render(policy, NAMES)


@settings(deadline=None)
@given(policy=policies())
def test_whatever_concerns_a_zone_ends_in_a_drop(policy: Policy) -> None:
    chains = chains_of(render(policy, NAMES))
    ends = ("drop", "goto deny_egress", "goto deny_ingress")
    for name in ("from_port", "from_port6", "neighbours", "own_neighbours", "between_ports"):
        assert chains[name][-1] == "drop", name
    for name in ("deny_egress", "deny_ingress"):
        assert chains[name][-1] == "drop", name
    for name in ("from_zone", "to_zone", "between_zones", "input"):
        assert chains[name][-1] in ends, name
    assert chains["forward"][-2:] == ['iifname "dtz*" goto from_zone', "goto to_zone"]
    assert chains["output"][-1] == "goto to_zone"
    for name, rules in chains.items():
        if name.startswith(("egress_", "egress6_")):
            assert rules[-1] in ends or rules == ["accept"], name


def chains_of(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    rules: list[str] | None = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("chain "):
            rules = found.setdefault(line.split()[1], [])
        elif line == "}":
            rules = None
        elif rules is not None and not line.startswith("type "):
            rules.append(line)
    return found


def test_counters_begin_with_what_they_are_given() -> None:
    text = render(
        POLICY, NAMES, {("one", Direction.INGRESS): Denied(7, 420), ("gone", Direction.EGRESS): Denied(1, 1)}
    )
    assert "counter ingress-one { packets 7 bytes 420 }" in text
    assert "counter egress-one { packets 0 bytes 0 }" in text
    assert "gone" not in text


@pytest.mark.parametrize(
    "wrong",
    [
        replace(POLICY, zones=POLICY.zones[:1]),
        replace(POLICY, zones=(*POLICY.zones, POLICY.zones[0])),
        replace(POLICY, guests=(*POLICY.guests, POLICY.guests[0])),
        replace(POLICY, guests=(replace(POLICY.guests[0], name="x; flush ruleset"),)),
        replace(POLICY, guests=(replace(POLICY.guests[0], name="Up"),)),
        replace(POLICY, guests=(replace(POLICY.guests[0], link='dtg1" accept'),)),
        replace(POLICY, guests=(replace(POLICY.guests[0], link="eth0"),)),
        replace(POLICY, guests=(replace(POLICY.guests[0], mac="02-00-00-00-00-01"),)),
        replace(POLICY, guests=(replace(POLICY.guests[0], address=POLICY.zones[0].gateway.ip),)),
        replace(POLICY, zones=(replace(POLICY.zones[0], bridge="br0"), POLICY.zones[1])),
        replace(POLICY, registry_port=0),
        replace(POLICY, guests=(replace(POLICY.guests[0], exposed=(ExposedPort(70000),)),)),
        replace(
            POLICY,
            guests=tuple(
                replace(guest, exposed=(ExposedPort(80, host_port=80),)) for guest in POLICY.guests[:2]
            ),
        ),
        replace(
            POLICY, guests=tuple(replace(guest, address6=IPv6Address("fd00::2")) for guest in POLICY.guests)
        ),
        replace(POLICY, guests=(replace(POLICY.guests[0], address6=IPv6Address("fe80::2")),)),
        replace(POLICY, zones=tuple(replace(zone, transit="dtv1") for zone in POLICY.zones), tunnel=TUNNEL),
        replace(POLICY, zones=(replace(POLICY.zones[0], transit="vxlan0"), POLICY.zones[1]), tunnel=TUNNEL),
        replace(POLICY, zones=(replace(POLICY.zones[0], transit="dtv1"), POLICY.zones[1])),
        replace(POLICY, tunnel=replace(TUNNEL, ids=(2**24,))),
        replace(POLICY, zones=(replace(POLICY.zones[0], senders=("02:00",)), POLICY.zones[1])),
        replace(
            POLICY,
            tunnel=TUNNEL,
            guests=(replace(POLICY.guests[0], exposed=(ExposedPort(53, L4.UDP, VXLAN_PORT),)),),
        ),
        replace(POLICY, crossings=(Crossing(IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/64")),)),
        replace(
            POLICY,
            crossings=(
                Crossing(IPv4Network("10.0.0.0/8"), IPv4Network("10.0.0.0/8"), frozenset({(L4.TCP, 70000)})),
            ),
        ),
    ],
)
def test_what_contradicts_itself_is_refused(wrong: Policy) -> None:
    with pytest.raises(InvalidPolicyError):
        render(wrong, NAMES)


def test_8021q_needs_no_tunnel_and_has_its_senders_all_the_same() -> None:
    senders = ("02:00:c0:00:02:02", "02:00:c0:00:02:03")
    zone = replace(POLICY.zones[0], transit="dtv1", encapsulation=Encapsulation.VLAN, senders=senders)
    text = render(replace(POLICY, zones=(zone, POLICY.zones[1])), NAMES)
    assert all(f'"dtv1" . {mac},' in text for mac in senders)
    assert "tunnel" not in text
    assert chains_of(text)["fitting"], "the way may be narrower than the zone's link"


def test_one_host_port_for_tcp_and_one_for_udp() -> None:
    both = (ExposedPort(53, L4.TCP, 53), ExposedPort(53, L4.UDP, 53))
    text = render(replace(POLICY, guests=(replace(POLICY.guests[0], exposed=both),)), NAMES)
    assert "tcp . 53 : 10.213.1.2 . 53" in text
    assert "udp . 53 : 10.213.1.2 . 53" in text


def test_rules_do_not_grow_with_guests() -> None:
    def rules(count: int) -> int:
        guests = tuple(
            GuestPolicy(
                f"g{n}",
                f"dtg{n}",
                "dtz1",
                f"02:00:00:00:00:{n:02x}",
                IPv4Address("10.213.1.2") + n,
                (ExposedPort(80, host_port=8000 + n, sources=(IPv4Network("192.0.2.0/24"),)),),
                IPv6Address("fd00::2") + n,
            )
            for n in range(count)
        )
        crossings = tuple(
            Crossing(IPv4Network(f"10.{n}.0.0/16"), IPv4Network("10.0.0.0/16")) for n in range(count)
        )
        policy = replace(POLICY, guests=guests, crossings=crossings)
        return sum(map(len, chains_of(render(policy, NAMES)).values()))

    assert rules(1) == rules(200)
