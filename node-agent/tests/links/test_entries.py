"""From what a transit link carries to what it is to carry. Pure."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from dsecos_agent.links.entries import (
    Drop,
    Entry,
    Forwarding,
    Neighbour,
    Put,
    Route,
    Step,
    Stranger,
    link_local,
    steps,
    wanted,
)
from dsecos_agent.links.protocol import Encapsulation, Remote, Transit
from hypothesis import given
from hypothesis import strategies as st

MACS = st.sampled_from([f"02:00:00:00:00:0{number}" for number in range(1, 5)])
NODES = st.sampled_from([IPv4Address(f"192.0.2.{number}") for number in range(1, 5)])
GUESTS = st.sampled_from(
    [
        *(IPv4Address(f"10.0.0.{number}") for number in range(5)),
        *(IPv6Address(f"fd00::{number}") for number in range(5)),
    ]
)
HOPS = st.one_of(NODES, MACS.map(link_local))
ENTRIES = st.one_of(
    st.builds(Forwarding, MACS, NODES), st.builds(Neighbour, HOPS, MACS), st.builds(Route, GUESTS, HOPS)
)
STRANGERS = st.builds(
    Stranger, st.text(max_size=3), st.sampled_from([Route, Neighbour, Forwarding]), st.binary()
)
REMOTES = st.builds(Remote, NODES, MACS, st.lists(GUESTS, unique=True, max_size=4).map(tuple))


def transit(remotes: list[Remote]) -> Transit:
    return Transit(
        "dtv00000001", "owner", 1, IPv4Address("192.0.2.9"), "02:00:00:00:00:09", 1450, tuple(remotes)
    )


def subject(entry: Entry) -> tuple[type, object]:
    match entry:
        case Forwarding(mac=mac):
            return Forwarding, mac
        case Neighbour(hop=hop):
            return Neighbour, hop
        case Route(guest=guest):
            return Route, guest


def carried_out(found: set[Entry | Stranger], todo: list[Step]) -> set[Entry | Stranger]:
    """As the kernel does: what is put takes the place of what is there under the same name."""
    for step in todo:
        match step:
            case Drop(entry=entry):
                assert entry in found, "nothing is dropped that is not there"
                found = found - {entry}
            case Put(entry=entry):
                assert entry not in found, "nothing is put that is there"
                same = {
                    each
                    for each in found
                    if not isinstance(each, Stranger) and subject(each) == subject(entry)
                }
                found = found - same | {entry}
    return found


def one_each(entries: list[Entry | Stranger]) -> set[Entry | Stranger]:
    """The kernel holds one entry of a name."""
    named = {subject(each): each for each in entries if not isinstance(each, Stranger)}
    return {*named.values(), *(each for each in entries if isinstance(each, Stranger))}


@given(st.lists(st.one_of(ENTRIES, STRANGERS), max_size=12), st.lists(REMOTES, max_size=4))
def test_whatever_is_there_becomes_what_is_wanted(
    there: list[Entry | Stranger], remotes: list[Remote]
) -> None:
    found, asked = one_each(there), wanted(transit(remotes))
    assert carried_out(found, steps(found, asked)) == asked
    assert steps(asked, asked) == []


@given(st.lists(st.one_of(ENTRIES, STRANGERS), max_size=12), st.lists(REMOTES, max_size=4))
def test_nothing_is_dropped_only_to_be_put_again(
    there: list[Entry | Stranger], remotes: list[Remote]
) -> None:
    todo = steps(one_each(there), wanted(transit(remotes)))
    dropped = {subject(s.entry) for s in todo if isinstance(s, Drop) and not isinstance(s.entry, Stranger)}
    put = {
        subject(step.entry) for step in todo if isinstance(step, Put) and not isinstance(step.entry, Stranger)
    }
    assert not dropped & put, "a guest that moves is reached all the time"


@given(st.lists(REMOTES, max_size=4))
def test_every_route_has_its_neighbour_and_every_neighbour_its_node(remotes: list[Remote]) -> None:
    asked = wanted(transit(remotes))
    hops = {each.hop: each.mac for each in asked if isinstance(each, Neighbour)}
    macs = {each.mac for each in asked if isinstance(each, Forwarding)}
    assert {each.via for each in asked if isinstance(each, Route)} <= hops.keys()
    assert set(hops.values()) <= macs


@given(st.lists(REMOTES, max_size=4))
def test_routes_go_first_and_come_last(remotes: list[Remote]) -> None:
    asked = wanted(transit(remotes))
    order = (Forwarding, Neighbour, Route)
    made = [order.index(type(step.entry)) for step in steps((), asked)]
    assert made == sorted(made)
    gone = [order.index(type(step.entry)) for step in steps(asked, ())]
    assert gone == sorted(gone, reverse=True)


@given(st.lists(REMOTES, max_size=4))
def test_by_8021q_it_is_the_same_but_for_forwarding_entries(remotes: list[Remote]) -> None:
    """The network below finds a MAC by itself."""
    by_vxlan = transit(remotes)
    by_8021q = replace(by_vxlan, encapsulation=Encapsulation.VLAN)
    assert wanted(by_8021q) == {each for each in wanted(by_vxlan) if not isinstance(each, Forwarding)}


def test_the_link_local_address_of_a_mac() -> None:
    """The example of RFC 4291, appendix A, with the bit inverted."""
    assert link_local("34:56:78:9a:bc:de") == IPv6Address("fe80::3656:78ff:fe9a:bcde")
