"""Networks as elements of sets."""

from ipaddress import ip_network

from dsecos_agent.firewall.addresses import FAMILIES, Network, pieces
from hypothesis import given
from hypothesis import strategies as st

from .policies import networks


@given(found=st.lists(networks, max_size=12))
def test_pieces_are_disjoint_and_make_up_what_they_are_pieces_of(found: list[Network]) -> None:
    parts = pieces(found)
    assert parts.keys() == set(found)
    everything = sorted({part for each in parts.values() for part in each}, key=lambda each: each.version)
    for number, one in enumerate(everything):
        assert not any(one.version == other.version and one.overlaps(other) for other in everything[:number])
    for network, own in parts.items():
        for family in FAMILIES:
            assert family.collapsed(own) == family.collapsed([network])


def test_what_overlaps_nothing_is_one_piece() -> None:
    ten, fd = ip_network("10.0.0.0/8"), ip_network("fd00::/8")
    assert pieces([ten, fd, ten]) == {ten: (ten,), fd: (fd,)}
