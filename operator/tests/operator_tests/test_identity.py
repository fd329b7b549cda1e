"""Addresses, id ranges and link-layer addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from dsecos_api import Reason
from dsecos_operator.rendering import Refused
from dsecos_operator.scheduling import ID_COUNT, addresses, id_base, mac
from hypothesis import given
from hypothesis import strategies as st

CIDR = "10.20.0.0/28"


@given(st.sets(st.integers(2, 14)))
def test_the_lowest_free_address_is_taken(used: set[int]) -> None:
    taken = {f"10.20.0.{number}": "acme/x" for number in used}
    free = [number for number in range(2, 15) if number not in used]
    if free:
        assert addresses.allocate(CIDR, taken) == f"10.20.0.{free[0]}"
    else:
        with pytest.raises(Refused) as caught:
            addresses.allocate(CIDR, taken)
        assert caught.value.reason == Reason.ADDRESSES_EXHAUSTED


@given(st.integers(16, 29))
def test_every_address_that_is_given_out_could_be_chosen_too(prefix: int) -> None:
    cidr = f"10.0.0.0/{prefix}"
    address = addresses.allocate(cidr, {})
    assert addresses.check(cidr, address, {}) == address
    assert address != addresses.gateway(cidr)
    assert addresses.count(cidr) == ip_network(cidr).num_addresses - 3


@pytest.mark.parametrize(
    ("wanted", "reason", "told"),
    [
        ("10.20.0.0", Reason.ADDRESS_INVALID, "the network itself"),
        ("10.20.0.1", Reason.ADDRESS_INVALID, "the gateway"),
        ("10.20.0.15", Reason.ADDRESS_INVALID, "the broadcast address"),
        ("10.20.1.5", Reason.ADDRESS_INVALID, "not in the zone's network 10.20.0.0/28"),
        ("fd00::5", Reason.ADDRESS_INVALID, "not in the zone's network"),
        ("10.20.0.5", Reason.ADDRESS_CONFLICT, "taken by Stack acme/x"),
    ],
)
def test_a_chosen_address_that_cannot_be_had(wanted: str, reason: Reason, told: str) -> None:
    with pytest.raises(Refused) as caught:
        addresses.check(CIDR, wanted, {"10.20.0.5": "acme/x"})
    assert caught.value.reason == reason
    assert told in caught.value.message


@given(st.sets(st.integers(0, 40)))
def test_id_ranges_never_overlap(used: set[int]) -> None:
    taken = [1_000_000 + number * ID_COUNT for number in used]
    base = id_base(1_000_000, taken)
    assert all(abs(base - other) >= ID_COUNT for other in taken)
    assert base == 1_000_000 + min(set(range(42)) - used) * ID_COUNT


def test_id_ranges_end_where_ids_end() -> None:
    with pytest.raises(Refused):
        id_base(2**32 - ID_COUNT, [])


@given(st.text(), st.text())
def test_link_layer_addresses_are_stable_local_and_unicast(one: str, other: str) -> None:
    first = int(mac(one).split(":")[0], 16)
    assert first & 0b11 == 0b10
    assert (mac(one) == mac(other)) == (one == other)


def test_a_gateway_is_the_first_address() -> None:
    assert ip_address(addresses.gateway(CIDR)) == ip_network(CIDR)[1]
