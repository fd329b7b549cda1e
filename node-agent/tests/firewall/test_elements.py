"""What we tell the kernel ourselves is what nft would have told it."""

import errno
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest
from dsecos_agent.firewall import netlink
from dsecos_agent.firewall.delta import Change, Kind, Verb, commands, delta
from dsecos_agent.firewall.elements import UnknownKindError, messages
from dsecos_agent.firewall.model import (
    L4,
    Crossing,
    Drift,
    EgressMode,
    ExposedPort,
    GuestPolicy,
    Policy,
    Tunnel,
    ZonePolicy,
)
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.firewall.render import render
from dsecos_agent.firewall.validate import Names
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from ..links.netns import own_network  # noqa: TID252 - tests have no package to name
from .kernel import listing, load
from .policies import crossings, policies

NAMES = Names("dsecos_delta", "dt")
EVERYTHING = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")

ZONE = ZonePolicy(
    "dtz1", IPv4Interface("10.213.1.1/24"), EgressMode.NAT, gateway6=IPv6Interface("fd00:213::1/64")
)
GUEST = GuestPolicy(
    "one", "dtg1", "dtz1", "02:00:00:00:00:01", IPv4Address("10.213.1.2"), (), IPv6Address("fd00:213::2")
)
OF_ENGINE = replace(
    GUEST,
    name="two",
    link="veth104i0",
    mac="02:00:00:00:00:02",
    address=IPv4Address("10.213.1.3"),
    address6=None,
    exposed=(
        ExposedPort(80, host_port=8080),
        ExposedPort(53, L4.UDP, 53, (IPv4Network("10.0.0.0/9"), IPv4Network("192.0.2.1/32"))),
    ),
)
BEFORE = Policy(
    zones=(ZONE,),
    guests=(OF_ENGINE,),
    crossings=(Crossing(EVERYTHING[0], ZONE.gateway.network, frozenset({(L4.UDP, 53)})),),
)


@pytest.fixture(scope="module")
def kernel() -> Iterator[None]:
    """A network namespace of our own."""
    with own_network():
        yield


def commit(changes: Sequence[Change]) -> None:
    if changes:
        netlink.commit(messages(changes, NAMES.instance), netlink.generation())


def ends_alike(before: Policy, after: Policy, carry_out: Callable[[Sequence[Change]], None]) -> None:
    step = delta(before, after, NAMES)
    if step is None:  # networks that lie within each other may make thousands of elements
        reject()
    load(render(before, NAMES))
    carry_out(step)
    by_step = listing(NAMES.instance)
    load(render(after, NAMES))
    assert by_step == listing(NAMES.instance)


@st.composite
def other_guests(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies that differ in guests: some came, some went, some have other ports or zones."""
    one, other = draw(policies()), draw(policies())
    bridges = {zone.bridge for zone in one.zones}
    guests = tuple(guest for guest in other.guests if guest.bridge in bridges)
    return one, replace(one, guests=guests)


@st.composite
def other_zones(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies that differ in what zones have agreed on, and in other nodes."""
    policy = draw(policies())
    tunnel = policy.tunnel and Tunnel(
        policy.tunnel.address,
        tuple(draw(st.sets(st.integers(1, 2**24 - 1), max_size=3))),
        tuple(map(IPv4Address, draw(st.sets(st.integers(1, 2**32 - 1), max_size=3)))),
    )
    agreed = tuple(draw(st.lists(crossings(), max_size=4)))
    return policy, replace(policy, crossings=agreed, tunnel=tunnel)


@settings(max_examples=30)
@given(other_guests())
@example((BEFORE, replace(BEFORE, guests=(OF_ENGINE, GUEST))))
@example((BEFORE, replace(BEFORE, guests=(replace(OF_ENGINE, exposed=()),))))
@example((BEFORE, replace(BEFORE, guests=(OF_ENGINE, replace(GUEST, link="veth105i0")))))
@example(
    (
        replace(BEFORE, guests=(OF_ENGINE, GUEST)),
        # The node's port changes hands.
        replace(
            BEFORE,
            guests=(replace(OF_ENGINE, exposed=()), replace(GUEST, exposed=OF_ENGINE.exposed)),
        ),
    )
)
def test_guests_come_and_go_in_one_transaction(kernel: None, pair: tuple[Policy, Policy]) -> None:
    links = [{not NAMES.is_port(guest.link) for guest in policy.guests} for policy in pair]
    if links[0] == links[1]:
        assert delta(*pair, NAMES) is not None
        ends_alike(*pair, commit)


@settings(max_examples=30)
@given(other_zones())
@example(
    (
        BEFORE,
        replace(
            BEFORE,
            crossings=(
                Crossing(EVERYTHING[0], ZONE.gateway.network),
                Crossing(EVERYTHING[1], IPv6Network("fd00:213::/64"), frozenset({(L4.TCP, 1), (L4.UDP, 2)})),
            ),
        ),
    )
)
def test_what_zones_agree_on_as_far_as_we_can_tell_it(kernel: None, pair: tuple[Policy, Policy]) -> None:
    def by_either(changes: Sequence[Change]) -> None:
        for change in changes:
            try:
                commit([change])
            except UnknownKindError:
                assert change.kind is not None
                assert change.kind.interval
                assert "." not in change.kind.of, "only intervals of one field are left to nft"
                load(commands([change], NAMES.instance))

    ends_alike(*pair, by_either)


@pytest.mark.parametrize(
    ("of", "interval", "element"),
    [
        ("type ipv4_addr", True, "10.0.0.0/8"),
        ("type ipv4_addr", False, "10.0.0.0/8"),
        ("type ipv4_addr", False, "10.0.0.1 . 10.0.0.2"),
        ("type ipv4_addr", False, "10.0.0.1 timeout 1s"),
        ("type ifname", False, '"dtz*"'),
        ("type ifname", False, '"a-name-of-16-char"'),
        ("type ifname : verdict", False, '"dtz1" : goto egress_dtz1'),
        ("type inet_proto", False, "icmp"),
        ("type inet_service", False, "65536"),
        ("type inet_service", False, "http"),
        ("type ether_addr", False, "02:00:00:00:00"),
        ("type mark", False, "1"),
        ("typeof @th,64,12", False, "1"),
        ("typeof @th,64,8", False, "256"),
        ("typeof ip saddr", False, "10.0.0.1"),
        ("", False, "1"),
    ],
)
def test_what_we_are_not_certain_of_is_left_to_nft(of: str, interval: bool, element: str) -> None:
    with pytest.raises(UnknownKindError):
        messages([Change("add", "inet", "s", (element,), Kind(of, interval))], "x")


def exposed(verb: Verb, *elements: str) -> list[Change]:
    return [Change(verb, "inet", "exposed", elements, Kind("type ipv4_addr . inet_proto . inet_service"))]


OPEN = "10.213.1.2 . tcp . 80"


def test_all_or_nothing(kernel: None) -> None:
    load(render(BEFORE, NAMES))
    before = listing(NAMES.instance)
    commit(exposed("add", OPEN))
    with pytest.raises(OSError, match="File exists") as refused:
        commit(exposed("add", "10.213.1.2 . tcp . 81", OPEN))
    assert refused.value.errno == errno.EEXIST
    with pytest.raises(OSError, match="No such file"):
        commit(exposed("delete", OPEN, "10.213.1.2 . tcp . 82"))
    commit(exposed("delete", OPEN))
    assert listing(NAMES.instance) == before


def test_the_kernel_takes_nothing_from_who_does_not_know_of_a_change(kernel: None) -> None:
    load(render(BEFORE, NAMES))
    known = netlink.generation()
    load("add table inet somebody\ndelete table inet somebody\n")
    before = listing(NAMES.instance)
    with pytest.raises(OSError, match="refuses") as refused:
        netlink.commit(messages(exposed("add", OPEN), NAMES.instance), known)
    assert refused.value.errno == errno.ERESTART
    assert listing(NAMES.instance) == before


def test_thousands_of_elements_at_once(kernel: None) -> None:
    load(render(BEFORE, NAMES))
    commit(exposed("add", *(f"10.213.1.2 . tcp . {port}" for port in range(1, 2001))))
    assert sum(name == "exposed" for _, name, _ in listing(NAMES.instance)[1]) == 2001


FOREIGN = "insert rule inet dtfw forward accept"


def listed(what: str) -> str:
    return subprocess.run(["nft", "list", *what.split()], check=True, capture_output=True, text=True).stdout


def with_ports(*ports: int) -> Policy:
    return replace(BEFORE, guests=(OF_ENGINE, replace(GUEST, exposed=tuple(map(ExposedPort, ports)))))


async def test_one_port_needs_no_nft(
    firewall: NftFirewall, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await firewall.apply(with_ports(80))
    monkeypatch.setenv("PATH", str(tmp_path))
    await firewall.apply(with_ports(443))
    monkeypatch.undo()
    assert await firewall.drift(with_ports(443)) is Drift.NONE
    found = listed("set inet dtfw exposed")
    assert "10.213.1.2 . tcp . 443" in found
    assert "10.213.1.2 . tcp . 80" not in found


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_change_of_others_in_the_same_moment_is_undone(
    firewall: NftFirewall, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    await firewall.apply(with_ports(80))
    found: list[int | None] = []

    def among_others(changes: Sequence[netlink.Message], generation: int) -> None:
        if when == "before":
            load(FOREIGN)
        try:
            ours(changes, generation)
        except OSError as error:
            found.append(error.errno)
            raise
        load(FOREIGN)

    ours = netlink.commit
    monkeypatch.setattr(netlink, "commit", among_others)
    await firewall.apply(with_ports(443))
    assert found == ([errno.ERESTART] if when == "before" else [])
    assert "\taccept\n" not in listed("chain inet dtfw forward")
    assert await firewall.drift(with_ports(443)) is Drift.NONE
