"""From what there is to what is wanted, and from anywhere between back again; on the real kernel."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dsecos_agent.uplinks import kernel
from dsecos_agent.uplinks.model import Network, Script
from dsecos_agent.uplinks.plan import script, target
from dsecos_api.hostpolicy import Uplink
from hypothesis import given, settings
from hypothesis import strategies as st

from ..links.netns import ip, own_network  # noqa: TID252 - tests have no package to name

NAMES = ("up0", "up1")
ADDRESSES = {
    "up0": ["10.3.0.5/24", "10.3.0.6/24", "10.3.0.7/24", "10.3.9.5/24", "fd03::5/64", "fd03::6/64"],
    "up1": ["10.4.0.5/24", "10.4.0.6/24", "fd04::5/64"],
}
GATEWAYS = {"up0": ("10.3.0.1", "fd03::1"), "up1": ("10.4.0.1", "fe80::4")}


@pytest.fixture
def network() -> Iterator[None]:
    with two_links():
        yield


@contextmanager
def two_links() -> Iterator[None]:
    with own_network():
        for name in NAMES:
            ip(f"link add {name} type veth peer name {name}far")
            ip(f"link set {name} up")
            ip(f"link set {name}far up")
        yield


def observe() -> Network:
    return asyncio.run(kernel.observe(NAMES))


def comparable(network: Network) -> Any:
    """Without the order in which the kernel lists, and without remaining lifetimes."""
    links = {name: (link.mtu, link.interfaces()) for name, link in network.links.items()}
    return links, sorted(each.words for each in network.routes)


def apply(steps: Script) -> str:
    return asyncio.run(kernel.apply(steps))


def bring(*uplinks: Uplink) -> None:
    assert asyncio.run(kernel.bring(uplinks)) is None


def up(name: str = "up0", **spec: Any) -> Uplink:
    return Uplink.model_validate({"interface": name, **spec})


def test_what_is_so_already_plans_nothing(network: None) -> None:
    ip("addr add 10.3.0.5/24 dev up0")
    ip("route add default via 10.3.0.1 metric 100")
    observed = observe()
    wanted = target([up(mtu=1500, addresses=["10.3.0.5/24"], gateway="10.3.0.1")], observed)
    assert wanted == observed
    assert script(observed, wanted) == Script()


def test_what_is_unset_is_left_alone(network: None) -> None:
    ip("addr add 10.3.0.5/24 dev up0")
    ip("route add default via 10.3.0.1")
    before = observe()
    bring(up(mtu=1400))
    after = observe()
    assert after.links["up0"].mtu == 1400
    assert (after.links["up0"].addresses, after.routes) == (before.links["up0"].addresses, before.routes)


def test_nothing_is_preferred_to_the_gateway_and_what_has_a_metric_stays(network: None) -> None:
    ip("addr add 10.3.0.5/24 dev up0")
    ip("addr add fd03::5/64 dev up0")
    ip("addr add 10.4.0.5/24 dev up1")
    ip("route add default via 10.4.0.1")
    ip("route add default via 10.3.0.9 metric 100")
    ip("-6 route add default via fd03::9")
    bring(up(gateway="10.3.0.1", gateway6="fd03::1"))
    assert ip("route get 192.0.2.1").startswith("192.0.2.1 via 10.3.0.1 dev up0")
    assert "via fd03::1" in ip("-6 route get 2001:db8::1")
    assert "via 10.4.0.1" not in ip("route")
    assert "default via 10.3.0.9 dev up0 metric 100" in ip("route")


def test_a_gateway_may_be_of_the_other_family(network: None) -> None:
    ip("addr add 10.3.0.5/24 dev up0")
    ip("-4 route add default via inet6 fe80::9 dev up0")
    before = observe()
    assert before.routes[-1].gateway == "fe80::9"
    bring(up(addresses=["10.3.0.6/24"]))
    assert "default via inet6 fe80::9 dev up0" in ip("route")


def test_addresses_of_the_link_itself_and_of_routers_are_left_alone(network: None) -> None:
    ip("addr add fd03::99/64 dev up0 mngtmpaddr")
    bring(up(addresses=["10.3.0.5/24"]))
    held = ip("addr show dev up0")
    assert "fd03::99/64" in held
    assert "inet6 fe80::" in held


def test_an_interface_that_is_not_there_has_nothing(network: None) -> None:
    observed = asyncio.run(kernel.observe(["up7"]))
    assert observed.links == {}
    assert target([up("up7", mtu=1400, gateway="10.3.0.1")], observed) == observed


@st.composite
def uplinks(draw: st.DrawFn) -> Uplink:
    """With gateways where its addresses reach them."""
    name = draw(st.sampled_from(NAMES))
    addresses = draw(st.lists(st.sampled_from(ADDRESSES[name]), min_size=1, unique=True))
    four, six = GATEWAYS[name]
    return up(
        name,
        mtu=draw(st.sampled_from([None, 1400, 1500])),
        addresses=addresses,
        gateway=four if any(four.rpartition(".")[0] in each for each in addresses) else None,
        gateway6=six if any(":" in each for each in addresses) else None,
    )


@settings(max_examples=12, deadline=None)
@given(uplinks(), uplinks(), st.integers(0, 12))
def test_from_anywhere_between_everything_is_as_it_was(first: Uplink, second: Uplink, done: int) -> None:
    with two_links():
        bring(first)
        ip(f"route add 10.90.0.0/16 dev {first.interface} metric 9")
        before = observe()
        wanted = target([second], before)
        there, back = script(before, wanted), script(wanted, before)
        lines = [*there.drop.splitlines(), *there.put.splitlines()][:done]
        apply(Script(put="".join(f"{line}\n" for line in lines)))
        assert apply(back) == ""
        assert comparable(observe()) == comparable(before)
        assert apply(back) == "", "once more is no harm"
        assert comparable(observe()) == comparable(before)
        bring(second)
        after = observe()
        assert target([second], after) == after
        assert "10.90.0.0/16" in ip("route"), "what others route stays"
