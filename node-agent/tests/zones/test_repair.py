"""What somebody changes on a zone's links, or ends, is put right as soon as the kernel tells, and told."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from dsecos_agent.links import probe
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import MtuError, Transit
from dsecos_api.conditions import Reason, Type
from dsecos_api.names import AGENT_FINALIZER

from tests.patience import async_until

from ..guests.samples import attachment  # noqa: TID252
from ..links.netns import ip, own_network  # noqa: TID252
from .samples import REMOTE, TRANSIT, spanning
from .world import BRIDGE, LONG, TRANSIT_LINK, Surroundings, Watched, Zone


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        ip("link add uplink type bridge")
        ip("addr add 192.0.2.1/24 dev uplink")
        ip("link set uplink up")
        yield


@pytest.fixture
async def zone(network: None, tmp_path: Path) -> AsyncIterator[Zone]:
    around, links = Surroundings(), NetlinkLinks("dt", tmp_path)
    controller = Watched(around, links)
    listening = asyncio.create_task(controller.background())
    await asyncio.sleep(0)
    yield Zone(around, links, controller)
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening


async def test_a_zone_that_spans_nodes_is_made_and_told(zone: Zone) -> None:
    await zone.wants(spanning())
    (bridge,), (transit,) = await zone.links.list_bridges(), await zone.links.list_transits()
    assert (bridge.name, transit.name) == (BRIDGE, TRANSIT_LINK)
    assert (zone.around.status.bridge, zone.around.status.transit) == (BRIDGE, TRANSIT_LINK)
    assert zone.around.synced == 1
    assert [each.bridge for each in zone.around.servers.asked] == [BRIDGE]
    served = zone.condition(Type.NAMES_SERVED)
    assert served is not None
    assert (served.status, served.reason) == ("True", Reason.IN_FORCE)


async def test_a_zone_is_ready_though_its_names_are_not_served(zone: Zone) -> None:
    zone.around.servers.broken = "port 53 is taken by named: end that"
    await zone.wants(spanning())
    ready, served = zone.condition(Type.READY), zone.condition(Type.NAMES_SERVED)
    assert ready is not None
    assert ready.status == "True"
    assert served is not None
    assert (served.status, served.reason) == ("False", Reason.NAME_SERVER_FAILED)
    assert served.message == zone.around.servers.broken
    assert zone.controller.again is not None
    zone.around.servers.broken = ""
    await zone.wants(spanning())
    assert zone.controller.again is None
    assert zone.around.told.empty()


async def test_a_server_that_ends_is_put_back_and_told_once(zone: Zone) -> None:
    await zone.wants(spanning())
    await asyncio.sleep(0)
    zone.around.servers.kill(BRIDGE)
    async with asyncio.timeout(LONG):
        assert await zone.around.told.get() == f"the name server of {BRIDGE} had ended"
    await zone.settled()
    assert zone.around.servers.running == {BRIDGE}
    assert zone.around.told.empty()


@pytest.mark.parametrize("network", ["10.20.0.0/16", "10.20.0.128/25", "10.20.0.0/24"])
async def test_the_hosts_own_network_is_not_taken_away(tmp_path: Path, network: str) -> None:
    with own_network():
        ip("link add uplink type bridge")
        ip(f"addr add {IPv4Network(network)[9]}/{network.partition('/')[2]} dev uplink")
        ip("link set uplink up")
        around, links = Surroundings(), NetlinkLinks("dt", tmp_path)
        zone = Zone(around, links, Watched(around, links))
        await zone.wants(spanning())
        assert await links.list_bridges() == []
        ready = next(each for each in around.status.conditions if each.type == "Ready")
        assert (ready.status, ready.reason) == ("False", Reason.CIDR_OVERLAPS)
        assert f"10.20.0.0/24 overlaps {network}, which this node itself reaches over uplink" in ready.message
        ip("link del uplink")
        await zone.wants(spanning())
        assert [each.name for each in await links.list_bridges()] == [BRIDGE]


async def test_what_we_do_ourselves_is_told_to_nobody_and_does_not_go_round(zone: Zone) -> None:
    await zone.wants(spanning())
    await zone.settled()
    await zone.wants(spanning(mtu=1400, transit={**TRANSIT, "id": 77, "remotes": []}), generation=2)
    await zone.settled()
    await zone.wants(spanning(), generation=3)
    await zone.settled()
    woken = zone.controller.woken
    await zone.wants(spanning(), generation=3)
    await zone.settled()
    assert zone.controller.woken == woken
    assert zone.around.told.empty()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (f"ip link del {BRIDGE}", f"bridge {BRIDGE} was deleted"),
        (f"ip link set {BRIDGE} down", f"bridge {BRIDGE} was taken down"),
        (f"ip link set {BRIDGE} mtu 1300", f"the MTU of bridge {BRIDGE} was 1300"),
        (f"ip link set {BRIDGE} address 02:00:00:00:00:99", f"the MAC of bridge {BRIDGE} was"),
        (f"ip addr del 10.20.0.1/24 dev {BRIDGE}", f"address 10.20.0.1/24 of bridge {BRIDGE} was missing"),
        (f"ip addr add fd00:66::1/64 dev {BRIDGE}", f"bridge {BRIDGE} had the address fd00:66::1/64"),
        (f"ip route del 10.20.0.0/24 dev {BRIDGE}", f"route 10.20.0.0/24 over bridge {BRIDGE} was missing"),
        (
            f"ip -6 route del fd00:20::/64 dev {BRIDGE}",
            f"route fd00:20::/64 over bridge {BRIDGE} was missing",
        ),
        (f"ip link del {TRANSIT_LINK}", f"transit link {TRANSIT_LINK} was deleted"),
        (f"ip link set {TRANSIT_LINK} down", f"transit link {TRANSIT_LINK} was taken down"),
        (
            f"bridge fdb replace 02:00:c0:00:02:02 dev {TRANSIT_LINK} dst 192.0.2.9",
            f"forwarding entry 02:00:c0:00:02:02 of {TRANSIT_LINK} pointed to 192.0.2.9",
        ),
        (f"ip neigh del 192.0.2.2 dev {TRANSIT_LINK}", f"neighbour 192.0.2.2 of {TRANSIT_LINK} was missing"),
        (
            f"ip -6 route del fd00:20::20/128 dev {TRANSIT_LINK}",
            f"route fd00:20::20 of {TRANSIT_LINK} was missing",
        ),
        ("ip route replace 10.20.0.20/32 dev uplink", f"route 10.20.0.20 of {TRANSIT_LINK} was missing"),
    ],
)
async def test_what_somebody_changed_is_put_right_and_told_once(zone: Zone, change: str, words: str) -> None:
    await zone.wants(spanning())
    await zone.settled()
    begin = time.perf_counter()
    told = await zone.repaired(change)
    print(f"{change}: {time.perf_counter() - begin:.3f} s")
    assert told.startswith(words)
    await zone.settled()
    assert zone.around.told.empty(), "our repair is not somebody else's doing"
    (bridge,), (transit,) = await zone.links.list_bridges(), await zone.links.list_transits()
    assert len(transit.routes) == 2
    assert (bridge.up, bridge.mtu, transit.up, transit.mtu) == (True, 1450, True, 1450)


async def test_a_busy_host_does_not_wake_us(zone: Zone) -> None:
    await zone.wants(spanning())
    await zone.settled()
    looks = zone.controller.looks
    for number in range(10, 20):
        ip(f"neigh replace 10.20.0.{number} lladdr 02:00:00:00:00:{number} dev {BRIDGE} nud reachable")
        ip(f"neigh replace 192.0.2.{number} lladdr 02:00:00:00:00:{number} dev uplink nud reachable")
        ip(f"route add 10.77.{number}.0/24 dev uplink")
    await zone.settled()
    assert zone.controller.looks == looks + 2, "those of the mark that came and went"


async def test_a_zone_that_is_paused_is_looked_at_only(zone: Zone) -> None:
    await zone.wants(spanning())
    await zone.wants(spanning(paused=True), generation=2)
    await zone.settled()
    ip(f"link del {TRANSIT_LINK}")
    zone.around.servers.kill(BRIDGE)
    await zone.settled()
    assert await zone.links.list_transits() == []
    assert zone.around.servers.running == set()
    await zone.wants(spanning(), generation=3)
    assert len(await zone.links.list_transits()) == 1


async def test_a_zone_goes_with_both_its_links(zone: Zone) -> None:
    await zone.wants(spanning())
    going = spanning()
    metadata = going.metadata.model_copy(
        update={"deletion_timestamp": "2026-11-22T00:00:00Z", "finalizers": [AGENT_FINALIZER]}
    )
    await zone.wants(going.model_copy(update={"metadata": metadata}))
    assert zone.around.zones == {}
    assert await zone.links.list_transits() == []
    assert await zone.links.list_bridges() == []
    assert zone.around.servers.running == set()
    await zone.settled()
    assert zone.around.told.empty()


async def test_servers_of_zones_that_went_meanwhile_are_ended(zone: Zone) -> None:
    await zone.wants(spanning())
    zone.around.servers.running.add("dtzffffffff")
    await zone.controller.seed()
    assert zone.around.servers.running == {BRIDGE}


async def test_a_zone_that_was_local_keeps_its_bridge_when_it_begins_to_span_nodes(zone: Zone) -> None:
    await zone.wants(attachment())
    ip("link add dtg00000001 type veth peer peer0")
    await zone.links.attach("dtg00000001", BRIDGE)
    await zone.wants(spanning(), generation=2)
    (bridge,) = await zone.links.list_bridges()
    assert bridge.ports == ("dtg00000001",)
    await zone.wants(attachment(), generation=3)
    assert await zone.links.list_transits() == []
    (bridge,) = await zone.links.list_bridges()
    assert (bridge.ports, bridge.addresses6, bridge.mtu) == (("dtg00000001",), (), 1500)


async def test_a_zone_whose_link_has_nothing_to_lie_upon_says_so_until_it_has(zone: Zone) -> None:
    """Its guests here have their bridge and their names meanwhile."""
    by_vlan = spanning(encapsulation={"type": "vlan"}, transit={**TRANSIT, "id": 213})
    ip("addr del 192.0.2.1/24 dev uplink")
    await zone.wants(by_vlan)
    told = zone.condition(Type.READY)
    assert told is not None
    assert (told.status, told.reason) == ("False", Reason.FAILED)
    assert "no link of this node has its tunnel address 192.0.2.1" in told.message
    assert zone.controller.again is not None, "it is tried again"
    assert [each.name for each in await zone.links.list_bridges()] == [BRIDGE]
    assert zone.around.servers.running == {BRIDGE}
    ip("addr add 192.0.2.1/24 dev uplink")
    now = Reason.IN_FORCE if "vlan" in probe.abilities() else Reason.NODE_INCAPABLE
    assert await async_until(lambda: (told := zone.condition(Type.READY)) and told.reason == now)


async def test_a_zone_whose_link_is_smaller_than_its_packets_says_so(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def narrow(_: Transit) -> bool:
        raise MtuError("link uplink takes 1400 bytes: raise its MTU")

    monkeypatch.setattr(zone.links, "ensure_transit", narrow)
    await zone.wants(spanning())
    told = zone.condition(Type.READY)
    assert told is not None
    assert (told.reason, told.message) == (
        Reason.MTU_TOO_SMALL,
        "link uplink takes 1400 bytes: raise its MTU",
    )
    monkeypatch.undo()
    await zone.wants(spanning())
    told = zone.condition(Type.READY)
    assert told is not None
    assert told.reason == Reason.IN_FORCE
    assert zone.around.told.empty()


async def test_what_is_not_supported_is_told_and_nothing_is_made(zone: Zone) -> None:
    await zone.wants(spanning(transit={**TRANSIT, "remotes": [{**REMOTE, "address": "fd00::2"}]}))
    (stalled,) = [each for each in zone.around.status.conditions if each.type == "Stalled"]
    assert stalled.reason == Reason.UNSUPPORTED
    assert await zone.links.list_bridges() == []
