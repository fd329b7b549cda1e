"""What 802.1Q links between nodes have of their own: the link below, its address, size and state.

Collected where the kernel has 802.1Q (conftest.py).
"""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Bridge, Encapsulation, MtuError, Remote, Transit, UnderlayError

from .netns import ip, own_network
from .nodes import cluster, reaches, start

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
NAME = "dtv00000001"
GUEST = IPv4Address("10.213.1.20")
REMOTES = (Remote(IPv4Address("192.0.2.2"), "02:00:c0:00:02:02", (GUEST,)),)
WANTED = Transit(
    NAME,
    OWNER,
    213,
    IPv4Address("192.0.2.1"),
    "02:00:c0:00:02:01",
    1500,
    REMOTES,
    Encapsulation.VLAN,
)


@pytest.fixture
def links(tmp_path: Path) -> Iterator[NetlinkLinks]:
    with own_network():
        for link in ("uplink", "other"):
            ip(f"link add {link} type veth peer {link}0")
            ip(f"link set {link}0 up")
            ip(f"link set {link} up")
        ip("addr add 192.0.2.1/24 dev uplink")
        yield NetlinkLinks("dt", tmp_path)


def below() -> str:
    """The link that ours lies upon."""
    return ip(f"-o link show {NAME}").split()[1].removesuffix(":").partition("@")[2]


async def routes(links: NetlinkLinks) -> list[tuple[object, object]]:
    (found,) = await links.list_transits()
    return sorted(found.routes)


async def test_it_lies_upon_the_link_that_has_the_tunnel_address_and_is_as_large(links: NetlinkLinks) -> None:
    assert await links.ensure_transit(WANTED)
    assert below() == "uplink"
    assert (await links.list_transits())[0].mtu == 1500
    assert not await links.ensure_transit(WANTED)


async def test_it_follows_the_tunnel_address_to_another_link(links: NetlinkLinks) -> None:
    await links.ensure_transit(WANTED)
    ip("addr del 192.0.2.1/24 dev uplink")
    ip("addr add 192.0.2.1/24 dev other")
    assert await links.ensure_transit(WANTED)
    assert below() == "other"
    assert await routes(links) == [(GUEST, REMOTES[0].address)]
    assert not await links.ensure_transit(WANTED)


async def test_an_address_that_two_links_have_moves_nothing(links: NetlinkLinks) -> None:
    ip("addr del 192.0.2.1/24 dev uplink")
    ip("addr add 192.0.2.1/24 dev other")
    await links.ensure_transit(WANTED)
    ip("addr add 192.0.2.1/32 dev uplink")
    assert not await links.ensure_transit(WANTED)
    assert below() == "other"


async def test_without_the_address_it_is_an_error_that_says_so_and_the_link_stays(
    links: NetlinkLinks,
) -> None:
    with pytest.raises(UnderlayError, match=r"no link of this node has its tunnel address 192\.0\.2\.9"):
        await links.ensure_transit(replace(WANTED, address=IPv4Address("192.0.2.9")))
    await links.ensure_transit(WANTED)
    ip("addr del 192.0.2.1/24 dev uplink")
    with pytest.raises(UnderlayError):
        await links.ensure_transit(WANTED)
    assert await routes(links) == [(GUEST, REMOTES[0].address)]


async def test_a_link_below_that_is_down_is_an_error_that_names_it(links: NetlinkLinks) -> None:
    ip("link set uplink down")
    with pytest.raises(
        UnderlayError, match=r"link uplink, which has the tunnel address 192\.0\.2\.1, is down"
    ):
        await links.ensure_transit(WANTED)
    ip("link set uplink up")
    await links.ensure_transit(WANTED)
    ip("link set uplink down")
    with pytest.raises(UnderlayError):
        await links.ensure_transit(WANTED)
    ip("link set uplink up")
    assert await links.ensure_transit(WANTED), "its routes went with the link"
    assert await routes(links) == [(GUEST, REMOTES[0].address)]


async def test_a_link_below_that_is_gone_takes_it_along_until_there_is_another(links: NetlinkLinks) -> None:
    await links.ensure_transit(WANTED)
    ip("link del uplink")
    assert await links.list_transits() == []
    with pytest.raises(UnderlayError):
        await links.ensure_transit(WANTED)
    ip("addr add 192.0.2.1/24 dev other")
    assert await links.ensure_transit(WANTED)


async def test_a_link_below_that_is_too_small_is_an_error_and_what_fits_goes_through(
    links: NetlinkLinks,
) -> None:
    ip("link set uplink mtu 1400")
    for _ in range(2):
        with pytest.raises(
            MtuError, match=r"link uplink, .*, takes 1400 bytes, .* up to 1500: raise its MTU"
        ):
            await links.ensure_transit(WANTED)
        (found,) = await links.list_transits()
        assert (found.mtu, found.up, len(found.routes)) == (1400, True, 1)
    ip("link set uplink mtu 1500")
    assert await links.ensure_transit(WANTED)
    ip("link set uplink mtu 1300")
    with pytest.raises(MtuError):
        await links.ensure_transit(replace(WANTED, remotes=()))
    assert await routes(links) == [], "it is kept up to date all the same"


async def test_what_bears_no_8021q_is_named_as_such(links: NetlinkLinks) -> None:
    ip("addr add 192.0.2.5/32 dev lo")
    with pytest.raises(UnsupportedError, match=r"makes no vlan link at 192\.0\.2\.5"):
        await links.ensure_transit(replace(WANTED, address=IPv4Address("192.0.2.5")))


async def test_both_encapsulations_may_have_one_id(links: NetlinkLinks) -> None:
    await links.ensure_transit(WANTED)
    other = replace(WANTED, name="dtv00000002", encapsulation=Encapsulation.VXLAN, mtu=1450, remotes=())
    await links.ensure_transit(other)
    found = [each.carrier and each.carrier.encapsulation for each in await links.list_transits()]
    assert found == [Encapsulation.VLAN, Encapsulation.VXLAN]


@pytest.mark.parametrize("upon", ["eth0", "br0"])
def test_the_largest_packet_needs_no_room_for_the_tag(tmp_path: Path, upon: str) -> None:
    """Over links of 1500 bytes, which do not count it; the tunnel address may be a bridge's."""
    with cluster(2, tmp_path) as nodes:
        inside = []
        for number, node in enumerate(nodes, 1):
            if upon == "br0":
                node.inside.ip("addr flush dev eth0")
                node.inside.ip("link add br0 type bridge")
                node.inside.ip("link set eth0 master br0")
                node.inside.ip("link set br0 up")
                node.inside.ip(f"addr add {node.address}/24 dev br0")
            gateway = IPv4Interface("10.213.1.1/24")
            bridge = Bridge("dtz00000001", OWNER, gateway, 1500, mac="02:00:00:00:00:01")
            far = 3 - number
            remote = Remote(
                IPv4Address(f"192.0.2.{far}"),
                f"02:00:c0:00:02:{far:02x}",
                (IPv4Address(f"10.213.1.{far}0"),),
            )
            here = replace(
                WANTED,
                address=IPv4Address(node.address),
                mac=f"02:00:c0:00:02:{number:02x}",
                remotes=(remote,),
            )
            node.inside.run(node.links.ensure_forwarding())
            node.inside.run(node.links.ensure_bridge(bridge))
            node.inside.run(node.links.ensure_transit(here))
            guest = start(
                node,
                bridge.name,
                f"dtg{number:08x}",
                f"10.213.1.{number}0/32",
                gateways=("10.213.1.1",),
                mtu=1500,
            )
            inside.append(guest)
        assert reaches(inside[0], inside[1], "10.213.1.20", size=1500 - 28)
