"""What somebody changed is told in words that name the link and the thing."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest
from dsecos_agent.links.protocol import Carrier, Encapsulation
from dsecos_agent.zones.naming import bridge_of, transit_name, transit_of
from dsecos_agent.zones.plan import Seen, Wanted, changes

from ..guests.samples import ZONE_UID  # noqa: TID252
from .samples import TRANSIT, observed, spanning

WANTED = Wanted(bridge_of("dt", spanning()), transit_of("dt", spanning()))
RIGHT = observed(WANTED)
assert RIGHT.bridge is not None
assert RIGHT.transit is not None
HERE, ELSEWHERE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.9")
VXLAN, VLAN = Encapsulation.VXLAN, Encapsulation.VLAN
LINK = transit_name("dt", ZONE_UID)


def test_nothing_was_changed() -> None:
    assert changes(WANTED, RIGHT) == []


def test_what_is_gone() -> None:
    bridge = f"bridge {WANTED.bridge.name} was deleted"
    assert changes(WANTED, Seen(None, None)) == [bridge, f"transit link {LINK} was deleted"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"up": False}, "bridge {bridge} was taken down"),
        ({"mtu": 1300}, "the MTU of bridge {bridge} was 1300"),
        ({"mac": "02:00:00:00:00:99"}, "the MAC of bridge {bridge} was 02:00:00:00:00:99"),
        ({"addresses6": ()}, "address fd00:20::1/64 of bridge {bridge} was missing"),
        (
            {"addresses": (WANTED.bridge.gateway, IPv4Interface("10.99.0.1/24"))},
            "bridge {bridge} had the address 10.99.0.1/24",
        ),
        (
            {"unrouted": (WANTED.bridge.gateway.network,)},
            "route 10.20.0.0/24 over bridge {bridge} was missing",
        ),
        ({"owner_uid": None}, "bridge {bridge} was marked as nobody's"),
    ],
)
def test_a_bridge(change: dict[str, object], words: str) -> None:
    assert RIGHT.bridge is not None
    found = replace(RIGHT, bridge=replace(RIGHT.bridge, **change))
    assert changes(WANTED, found) == [words.format(bridge=WANTED.bridge.name)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"up": False, "routes": frozenset()}, "transit link {link} was taken down"),
        ({"mtu": 1300}, "the MTU of {link} was 1300"),
        ({"carrier": Carrier(VXLAN, 7, (HERE,), True)}, "transit link {link} was VXLAN id 7 at 192.0.2.1"),
        (
            {"carrier": Carrier(VXLAN, 4213, (ELSEWHERE,), True)},
            "transit link {link} was VXLAN id 4213 at 192.0.2.9",
        ),
        ({"carrier": Carrier(VLAN, 4213, (HERE,), True)}, "transit link {link} was 802.1Q id 4213 at 192"),
        ({"carrier": None}, "transit link {link} was a link of another kind"),
        ({"closed": False}, "transit link {link} was opened"),
        (
            {"forwarding": frozenset({("02:00:c0:00:02:02", ELSEWHERE)})},
            "forwarding entry 02:00:c0:00:02:02 of {link} pointed to 192.0.2.9",
        ),
        ({"forwarding": frozenset()}, "forwarding entry 02:00:c0:00:02:02 of {link} was missing"),
        (
            {"strangers": ("forwarding entry 00:00:00:00:00:00 dst 192.0.2.9",)},
            "{link} had forwarding entry 00:00:00:00:00:00 dst 192.0.2.9",
        ),
    ],
)
def test_a_transit_link(change: dict[str, object], words: str) -> None:
    assert RIGHT.transit is not None
    (found,) = changes(WANTED, replace(RIGHT, transit=replace(RIGHT.transit, **change)))
    assert found.startswith(words.format(link=LINK))


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ((HERE,), []),
        ((HERE, ELSEWHERE), []),
        ((ELSEWHERE,), [f"transit link {LINK} was 802.1Q id 213 at 192.0.2.9"]),
        ((), [f"transit link {LINK} was 802.1Q id 213 at no address"]),
    ],
)
def test_the_link_below_has_the_tunnel_address_and_maybe_others(
    addresses: tuple[IPv4Address, ...], words: list[str]
) -> None:
    zone = spanning(encapsulation={"type": "vlan"}, transit={**TRANSIT, "id": 213})
    wanted = Wanted(bridge_of("dt", zone), transit_of("dt", zone))
    found = observed(wanted)
    assert found.transit is not None
    carrier = Carrier(VLAN, 213, addresses, closed=True)
    assert changes(wanted, replace(found, transit=replace(found.transit, carrier=carrier))) == words


def test_a_route_that_was_added_or_taken() -> None:
    assert RIGHT.transit is not None
    guest, via = next((guest, via) for guest, via in RIGHT.transit.routes if guest.version == 4)
    routes = RIGHT.transit.routes - {(guest, via)} | {(IPv4Address("10.20.0.77"), ELSEWHERE)}
    assert changes(WANTED, replace(RIGHT, transit=replace(RIGHT.transit, routes=routes))) == [
        f"route 10.20.0.20 of {LINK} was missing",
        f"route 10.20.0.77 of {LINK} was added, to 192.0.2.9",
    ]


def test_of_many_only_some_are_named() -> None:
    assert RIGHT.transit is not None
    routes = RIGHT.transit.routes | {
        (IPv4Address(f"10.20.0.{number}"), ELSEWHERE) for number in range(30, 50)
    }
    words = changes(WANTED, replace(RIGHT, transit=replace(RIGHT.transit, routes=routes)))
    assert len(words) == 6
    assert words[-1] == "and 15 more entries"
