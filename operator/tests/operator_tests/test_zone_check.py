"""Networks that a zone can have, and those that it cannot."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from dsecos_api import NetworkZone, Node, Reason
from dsecos_operator.rendering import Refused
from dsecos_operator.scheduling import addresses
from dsecos_operator.settings import OperatorSettings
from dsecos_operator.zones.check import Networks, check
from hypothesis import given
from hypothesis import strategies as st

from .objects import zone


def aged(cidr: str, name: str, created: str, cidr6: str | None = None) -> NetworkZone:
    return zone(cidr, cidr6, name=name, metadata={"creationTimestamp": created})


def refusal(this: NetworkZone) -> Refused:
    with pytest.raises(Refused) as caught:
        check(this, [])
    return caught.value


def test_the_gateway_is_the_first_address() -> None:
    assert check(zone(), []) == Networks("10.20.0.0/24", "10.20.0.1")
    assert check(zone("10.20.0.0/24", "fd00:20::/64"), []) == Networks(
        "10.20.0.0/24", "10.20.0.1", "fd00:20::/64", "fd00:20::1"
    )


def test_the_order_of_the_networks_does_not_matter() -> None:
    this = NetworkZone.parse({"metadata": {"name": "a"}, "spec": {"cidrs": ["fd00::/64", "10.0.0.0/24"]}})
    assert check(this, []) == Networks("10.0.0.0/24", "10.0.0.1", "fd00::/64", "fd00::1")


@pytest.mark.parametrize(
    ("cidr", "told"),
    [
        ("10.20.0.1/24", "write 10.20.0.0/24"),
        ("10.0.0.0/15", "between /16 and /29"),
        ("10.20.0.0/30", "between /16 and /29"),
        ("127.0.0.0/24", "special meaning"),
        ("224.0.0.0/24", "special meaning"),
        ("169.254.0.0/24", "special meaning"),
        ("0.0.0.0/24", "special meaning"),
    ],
)
def test_a_network_that_cannot_be_one(cidr: str, told: str) -> None:
    refused = refusal(zone(cidr))
    assert refused.reason == Reason.CIDR_INVALID
    assert told in refused.message


@pytest.mark.parametrize(
    ("cidr6", "told"),
    [
        ("fd00:20::1/64", "write fd00:20::/64"),
        ("FD00:20::/64", "write fd00:20::/64"),
        ("fd00:20:0::/64", "write fd00:20::/64"),
        ("fd00::/47", "between /48 and /120"),
        ("fd00::/124", "between /48 and /120"),
        ("fd00::/120", "at most /112"),
        ("::/64", "special meaning"),
        ("::ffff:0:0/96", "special meaning"),
        ("64:ff9b::/96", "special meaning"),
        ("fe80::/64", "special meaning"),
        ("fec0::/64", "special meaning"),
        ("ff02::/64", "special meaning"),
    ],
)
def test_an_ipv6_network_that_cannot_be_one(cidr6: str, told: str) -> None:
    refused = refusal(zone("10.20.0.0/16", cidr6))
    assert refused.reason == Reason.CIDR_INVALID
    assert told in refused.message


def test_what_this_version_does_not_have_is_said() -> None:
    ipv6 = refusal(zone("fd00:20::/64"))
    assert ipv6.reason == Reason.UNSUPPORTED
    assert "name an IPv4 network as well" in ipv6.message


@pytest.mark.parametrize("cidr", ["10.20.0.0/24", "10.20.0.128/25", "10.20.0.0/16"])
def test_the_older_zone_keeps_its_network(cidr: str) -> None:
    old = aged("10.20.0.0/24", "old", "2026-01-01T00:00:00Z")
    young = aged(cidr, "young", "2026-01-02T00:00:00Z")
    assert check(old, [old, young]).gateway == "10.20.0.1"
    with pytest.raises(Refused, match="acme/old"):
        check(young, [old, young])


def test_networks_overlap_in_either_family() -> None:
    old = aged("10.20.0.0/24", "old", "2026-01-01T00:00:00Z", "fd00:20::/64")
    young = aged("10.21.0.0/24", "young", "2026-01-02T00:00:00Z", "fd00:20::/56")
    with pytest.raises(Refused, match="fd00:20::/56 overlaps fd00:20::/64 of NetworkZone acme/old") as caught:
        check(young, [old, young])
    assert caught.value.reason == Reason.CIDR_OVERLAPS
    check(aged("10.21.0.0/24", "young", "2026-01-02T00:00:00Z", "fd00:21::/64"), [old])


def test_neighbours_do_not_overlap() -> None:
    old = aged("10.20.0.0/25", "old", "2026-01-01T00:00:00Z")
    young = aged("10.20.0.128/25", "young", "2026-01-02T00:00:00Z")
    assert check(young, [old]).gateway == "10.20.0.129"


class TestTwoFamilies:
    def test_a_guest_is_as_far_from_the_beginning_of_both_networks(self) -> None:
        cidrs = ["10.20.0.0/16", "fd00:20::/64"]
        assert addresses.beside("10.20.0.2", cidrs) == "fd00:20::2"
        assert addresses.beside("10.20.1.0", list(reversed(cidrs))) == "fd00:20::100"

    def test_a_zone_of_one_family_gives_no_second_address(self) -> None:
        assert addresses.beside("10.20.0.2", ["10.20.0.0/16"]) is None

    @pytest.mark.parametrize("address", ["10.20.0.0", "10.20.0.1", "10.20.0.255", "10.21.0.2", "", "x"])
    def test_what_no_guest_can_have_has_no_second_address(self, address: str) -> None:
        assert addresses.beside(address, ["10.20.0.0/24", "fd00:20::/64"]) is None

    @given(
        st.integers(16, 29),
        st.integers(48, 112),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
        st.data(),
    )
    def test_guests_of_one_network_never_share_an_address_of_the_other(
        self, length: int, length6: int, number: int, number6: int, data: st.DataObject
    ) -> None:
        network = ip_network((number & (2**32 - 2 ** (32 - length)), length))
        network6 = ip_network((number6 << 64 & (2**128 - 2 ** (128 - length6)), length6))
        offsets = st.integers(2, 1 + addresses.count(str(network)))
        one, other = data.draw(offsets), data.draw(offsets)
        cidrs = [str(network), str(network6)]
        found = [addresses.beside(str(network[each]), cidrs) for each in (one, other)]
        assert (found[0] == found[1]) == (one == other)
        for each in found:
            assert each is not None
            assert ip_address(each) in network6
            assert ip_address(each) not in (network6[0], network6[1])


@pytest.mark.parametrize("place", ["spec", "status"])
@pytest.mark.parametrize("address", ["10.20.0.9", "fd00:20::9"])
def test_a_network_that_a_node_is_in_would_cut_the_node_off(place: str, address: str) -> None:
    known = {"addresses": {"management": address}}
    described = {"metadata": {"name": "rack1-a"}, "spec": {"engine": {"type": "lxc"}}, "status": {}}
    node = Node.parse({**described, place: {**described[place], **known}})
    with pytest.raises(Refused, match=f"holds {address} of Node rack1-a") as caught:
        check(zone("10.20.0.0/24", "fd00:20::/64"), [], [node])
    assert caught.value.reason == Reason.CIDR_OVERLAPS
    assert check(zone("10.21.0.0/24", "fd00:21::/64"), [], [node])


def test_zones_are_of_the_networks_that_an_administrator_gives_out() -> None:
    given = OperatorSettings(zone_networks="10.64.0.0/10, fd00::/16").zone_networks
    assert check(zone("10.64.0.0/24", "fd00:1::/64"), [], [], given)
    for cidrs in (("10.0.0.0/24", None), ("10.128.0.0/24", None), ("10.64.0.0/24", "fd01::/64")):
        with pytest.raises(Refused, match=r"zones may be of: 10\.64\.0\.0/10, fd00::/16") as caught:
            check(zone(*cidrs), [], [], given)
        assert caught.value.reason == Reason.CIDR_INVALID


def test_unless_told_otherwise_zones_are_private() -> None:
    private = OperatorSettings().zone_networks
    assert check(zone("192.168.7.0/24", "fd12::/64"), [], [], private)
    with pytest.raises(Refused, match=r"8\.8\.0\.0/16 is in none of"):
        check(zone("8.8.0.0/16"), [], [], private)
