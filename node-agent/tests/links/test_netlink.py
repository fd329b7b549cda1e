"""Bridges, ports and sysctls on a real kernel, in a network namespace of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotFoundError, NotOursError
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Bridge, Links

from tests.patience import async_until

from .netns import ip, own_network

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-000000000002"
ZONE = Bridge(name="dtz00000001", owner_uid=OWNER, gateway=IPv4Interface("10.213.1.1/24"))
PORT = "dtg00000001"
TRANSIT = "dtv00000001"


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
async def links(network: None, tmp_path: Path) -> AsyncIterator[Links]:
    links = NetlinkLinks("dt", tmp_path / "run")
    yield links
    await links.close()


def setting(name: str) -> str:
    return Path("/proc/sys/net", name).read_text().strip()


def put(name: str, value: str) -> None:
    Path("/proc/sys/net", name).write_text(value)


async def test_a_bridge_comes_and_goes(links: Links) -> None:
    assert await links.ensure_bridge(ZONE)
    (bridge,) = await links.list_bridges()
    assert (bridge.name, bridge.owner_uid, bridge.addresses, bridge.up, bridge.mtu, bridge.ports) == (
        ZONE.name,
        OWNER,
        (ZONE.gateway,),
        True,
        1500,
        (),
    )
    await links.remove_bridge(ZONE.name, OWNER)
    await links.remove_bridge(ZONE.name, OWNER)
    assert await links.list_bridges() == []


async def test_twice_changes_nothing(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    assert not await links.ensure_bridge(ZONE)


async def test_what_was_changed_by_hand_is_put_right(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    for change in (
        f"addr del 10.213.1.1/24 dev {ZONE.name}",
        f"addr add 10.99.0.1/16 dev {ZONE.name}",
        f"link set {ZONE.name} down",
        f"link set {ZONE.name} mtu 1400",
        f"link set {ZONE.name} group 7",
        f"route del 10.213.1.0/24 dev {ZONE.name}",
    ):
        ip(change)
        assert await links.ensure_bridge(ZONE), change
        assert not await links.ensure_bridge(ZONE), change
        (bridge,) = await links.list_bridges()
        assert (bridge.addresses, bridge.up, bridge.mtu, bridge.unrouted) == ((ZONE.gateway,), True, 1500, ())


async def test_a_bridge_of_both_families_has_both_addresses_and_the_mac_that_is_asked_for(
    links: Links,
) -> None:
    both = replace(ZONE, gateway6=IPv6Interface("fd00:213::1/64"), mac="02:00:00:00:00:01")
    assert await links.ensure_bridge(both)
    assert not await links.ensure_bridge(both)
    (bridge,) = await links.list_bridges()
    assert (bridge.addresses, bridge.addresses6, bridge.mac, bridge.unrouted) == (
        (both.gateway,),
        (both.gateway6,),
        both.mac,
        (),
    )
    assert "tentative" not in ip(f"-6 addr show dev {ZONE.name}")
    assert setting(f"ipv6/conf/{ZONE.name}/accept_ra") == "0"
    for change in (
        f"-6 addr del fd00:213::1/64 dev {ZONE.name}",
        f"-6 addr add fd00:99::1/64 dev {ZONE.name}",
        f"-6 route del fd00:213::/64 dev {ZONE.name}",
        f"link set {ZONE.name} address 02:00:00:00:00:99",
        f"link set {ZONE.name} down",
    ):
        ip(change)
        assert await links.ensure_bridge(both), change
        assert await links.list_bridges() == [bridge], change


async def test_a_bridge_gets_and_loses_ipv6_as_its_zone_does(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    (before,) = await links.list_bridges()
    await links.ensure_bridge(replace(ZONE, gateway6=IPv6Interface("fd00:213::1/64")))
    assert await links.ensure_bridge(ZONE)
    assert await links.list_bridges() == [before]
    assert setting(f"ipv6/conf/{ZONE.name}/disable_ipv6") == "1"


async def test_another_gateway_replaces_the_address(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    await links.ensure_bridge(replace(ZONE, gateway=IPv4Interface("10.213.2.1/25")))
    (bridge,) = await links.list_bridges()
    assert bridge.addresses == (IPv4Interface("10.213.2.1/25"),)


async def test_settings_of_a_bridge(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    assert setting(f"ipv4/conf/{ZONE.name}/route_localnet") == "1"
    assert setting(f"ipv4/conf/{ZONE.name}/send_redirects") == "0"
    assert setting(f"ipv6/conf/{ZONE.name}/disable_ipv6") == "1"
    put(f"ipv4/conf/{ZONE.name}/route_localnet", "0")
    assert await links.ensure_bridge(ZONE)
    assert setting(f"ipv4/conf/{ZONE.name}/route_localnet") == "1"


async def test_foreign_bridges_are_left_alone(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    for call in (
        links.ensure_bridge(replace(ZONE, owner_uid=STRANGER)),
        links.remove_bridge(ZONE.name, STRANGER),
    ):
        with pytest.raises(NotOursError):
            await call
    ip("link add dtz00000009 type bridge")
    ip("link set dtz00000009 up")
    with pytest.raises(NotOursError):
        await links.ensure_bridge(replace(ZONE, name="dtz00000009"))
    assert [(b.name, b.owner_uid) for b in await links.list_bridges()] == [
        (ZONE.name, OWNER),
        ("dtz00000009", None),
    ]
    for name in ("eth0", "br0", PORT):
        with pytest.raises(AdapterError):
            await links.remove_bridge(name, OWNER)


async def test_a_bridge_that_a_killed_agent_left_half_made_is_finished(links: Links) -> None:
    ip(f"link add {ZONE.name} type bridge")
    assert await links.ensure_bridge(ZONE)
    (bridge,) = await links.list_bridges()
    assert (bridge.owner_uid, bridge.up) == (OWNER, True)


MADE = {
    PORT: f"link add {PORT} type veth peer peer0",
    "veth20000i0": "link add veth20000i0 type veth peer peer0",
    "tap20000i0": "tuntap add tap20000i0 mode tap",
}
"""How a port comes about: by us, and by Proxmox VE for a container and for a VM."""


@pytest.mark.parametrize("name", MADE)
async def test_a_port_is_put_back_after_its_bridge_was_deleted(links: Links, name: str) -> None:
    await links.ensure_bridge(ZONE)
    ip(MADE[name])
    assert await links.attach(name, ZONE.name)
    assert not await links.attach(name, ZONE.name)
    (port,) = await links.list_ports()
    assert (port.bridge, port.isolated, port.up) == (ZONE.name, True, True)
    mac = ip(f"-br link show {ZONE.name}").split()[2]
    ip(f"link del {ZONE.name}")
    assert [p.bridge for p in await links.list_ports()] == [None]
    await links.ensure_bridge(ZONE)
    assert await links.attach(name, ZONE.name)
    (bridge,) = await links.list_bridges()
    assert bridge.ports == (name,)
    assert ip(f"-br link show {ZONE.name}").split()[2] == mac, (
        "guests still have the old address in their caches"
    )


async def test_attaching_needs_both(links: Links) -> None:
    with pytest.raises(NotFoundError):
        await links.attach(PORT, ZONE.name)
    ip(f"link add {PORT} type veth peer peer0")
    with pytest.raises(NotFoundError):
        await links.attach(PORT, ZONE.name)
    with pytest.raises(AdapterError):
        await links.attach("eth0", ZONE.name)


async def test_forwarding_is_given_back(links: Links, tmp_path: Path) -> None:
    put("ipv4/ip_forward", "0")
    assert await links.ensure_forwarding() is False
    assert setting("ipv4/ip_forward") == "1"
    again = NetlinkLinks("dt", tmp_path / "run")
    assert await again.ensure_forwarding() is False, "what was before the first of us counts"
    await again.restore_forwarding()
    assert setting("ipv4/ip_forward") == "0"
    await again.restore_forwarding()


async def test_a_host_that_forwards_goes_on_forwarding(links: Links) -> None:
    put("ipv4/ip_forward", "1")
    assert await links.ensure_forwarding() is True
    await links.restore_forwarding()
    assert setting("ipv4/ip_forward") == "1"


async def test_changes_of_our_links_wake(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    woken = asyncio.Event()
    watch = links.subscribe(woken.set)

    async def wakes(command: str) -> None:
        woken.clear()
        ip(command)
        await async_until(woken.is_set)

    async def wakes_nobody(command: str) -> bool:
        woken.clear()
        ip(command)
        await asyncio.sleep(0.5)
        return not woken.is_set()

    await wakes(f"addr del 10.213.1.1/24 dev {ZONE.name}")
    await wakes(f"link set {ZONE.name} down")
    await wakes(f"link del {ZONE.name}")
    await wakes(MADE[PORT])
    await wakes(MADE["tap20000i0"])
    assert await wakes_nobody("link add other type bridge"), "not ours"
    await wakes("addr add 192.0.2.1/24 dev other")  # it may be the tunnel's
    assert await wakes_nobody("addr add 2001:db8::1/64 dev other"), "that is IPv4"
    watch.close()
    watch.close()
    assert await wakes_nobody(f"link del {PORT}")


async def test_a_transit_link_that_changes_together_with_a_bridge_is_told(links: Links) -> None:
    await links.ensure_bridge(ZONE)
    woken, expired = asyncio.Event(), asyncio.Event()
    watch = links.subscribe(woken.set, expired.set)
    ip(f"link add {TRANSIT} type vxlan id 4213 local 192.0.2.1 dstport 4789 nolearning")
    await async_until(woken.is_set)
    woken.clear()
    expired.clear()
    ip(f"link set {ZONE.name} down")
    ip(f"neigh replace 10.213.1.9 lladdr 02:00:00:00:00:09 dev {TRANSIT} nud permanent")
    await async_until(woken.is_set)
    assert expired.is_set(), "it was told of before the look that follows"
    watch.close()


async def test_links_that_are_made_together_are_known_afterwards(links: Links) -> None:
    woken = asyncio.Event()
    watch = links.subscribe(woken.set)
    ip(f"link add {ZONE.name} type bridge")
    ip(f"link add {TRANSIT} type vxlan id 4213 local 192.0.2.1 dstport 4789 nolearning")
    await async_until(woken.is_set)
    woken.clear()
    ip(f"neigh replace 10.213.1.9 lladdr 02:00:00:00:00:09 dev {TRANSIT} nud permanent")
    await async_until(woken.is_set)
    watch.close()
