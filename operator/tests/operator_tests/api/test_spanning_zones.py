"""Zones on three nodes: what each node is told, and what users are told that cannot be had."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from dsecos_api import NetworkZone, Reason, Stack, Type, ZoneAttachment
from dsecos_api.names import attachment_name
from dsecos_api.zoneattachment import Transit
from dsecos_runtime import GUEST, NETWORK_ZONE, NODE, STACK, ZONE_ATTACHMENT, Object

from . import cloud as given
from .agent import Engine, PretendAgent
from .cloud import Cloud, message, network, reason, truth, until
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")
VXLAN: dict[str, Any] = {"encapsulation": {"type": "vxlan"}}
VLAN: dict[str, Any] = {"encapsulation": {"type": "vlan"}}
NODES = ("far-1", "far-2", "far-3")
ENGINE = ["container/Adopt", "container/Migrate", "container/OwnDisks"]
CAPABLE = [*ENGINE, "zone/vxlan", "zone/vlan", "zone/ipv6"]


@dataclass(frozen=True)
class Rack:
    """Three nodes between which guests can be moved, and a tenant's zones on them."""

    cloud: Cloud
    tenant: Tenant
    agents: dict[str, PretendAgent]

    def zone(self, name: str, part: int = 0, cidr6: str | None = None, **spec: Any) -> Object:
        """One that spans nodes, with a sixteenth of a network of the tenant's own beside its /24."""
        _, second, third, _ = self.tenant.cidr.split(".")
        cidr = f"172.{16 + int(second) % 16}.{third}.{part * 16}/28"
        made = given.zone(name, self.tenant.name, cidr, **{**VXLAN, **spec})
        made["spec"]["cidrs"] += [cidr6] if cidr6 else []
        return made

    def naming(self, *zones: str) -> dict[str, Any]:
        """`spec.peers` that names zones of this tenant."""
        return {"peers": [{"namespace": self.tenant.name, "zone": each} for each in zones]}

    async def deploy(self, name: str, node: str, zone: str = "wide") -> Stack:
        """Apply a Stack there, or move it there, and wait until it serves."""
        await self.cloud.apply(
            given.stack(name, self.tenant.name, zone=zone, placement={"node": node}, compose=DOCUMENT)
        )

        def there(each: Stack) -> bool:
            arrived = (each.status.node, each.status.moving_to) == (node, None)
            return arrived and truth(each, Type.READY) == "True"

        return await self.cloud.wait(STACK, name, self.tenant.name, there, 60)

    async def says(self, name: str, why: str) -> NetworkZone:
        """Wait until a zone's Ready has a reason."""
        return await self.cloud.wait(
            NETWORK_ZONE, name, self.tenant.name, lambda each: reason(each, Type.READY) == why
        )

    async def told(
        self, node: str, accept: Callable[[ZoneAttachment], bool], zone: str = "wide"
    ) -> ZoneAttachment:
        """Wait until a node is told something of a zone."""
        name = attachment_name(self.tenant.name, zone)
        return await self.cloud.wait(ZONE_ATTACHMENT, name, f"dsecos-node-{node}", accept)

    async def left(self, node: str, zone: str = "wide") -> None:
        """Wait until a node does not have a zone."""
        name = attachment_name(self.tenant.name, zone)
        await self.cloud.gone(ZONE_ATTACHMENT, name, f"dsecos-node-{node}")

    async def report(self, mtu: int | None = 1500, capabilities: list[str] = CAPABLE, *nodes: str) -> None:
        """What the agents of these nodes (or of all) tell from now on."""
        for name in nodes or NODES:
            self.agents[name].tunnel_mtu, self.agents[name].capabilities = mtu, capabilities
            await self.agents[name].tell()


DOCUMENT = {"inline": "services: {web: {image: a}}"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def agents(cloud: Cloud) -> AsyncIterator[dict[str, PretendAgent]]:
    """The nodes with their pretend agents."""
    engine, agents = Engine("far"), {}
    for number, name in enumerate(NODES, start=1):
        await cloud.apply(given.proxmox(name, rack="far"))
        await cloud.registered(name)
        agents[name] = PretendAgent(cloud.agent_kubeconfig(name), name, engine=engine)
        agents[name].tunnel, agents[name].tunnel_mtu = f"198.51.100.{number}", 1500
        agents[name].capabilities = CAPABLE
        await agents[name].start()
    yield agents
    for agent in agents.values():
        await agent.stop()
    for name in NODES:
        await cloud.delete(NODE, name)
        await cloud.gone(NODE, name, seconds=60)


@pytest_asyncio.fixture(loop_scope="session")
async def rack(cloud: Cloud, tenant: Tenant, agents: dict[str, PretendAgent]) -> AsyncIterator[Rack]:
    """All nodes can take every zone, before and after."""
    made = Rack(cloud, tenant, agents)
    yield made
    if cloud.ended:
        cloud.start()
    for number, agent in enumerate(agents.values(), start=1):
        agent.tunnel = f"198.51.100.{number}"
    await made.report()


def transit(attachment: ZoneAttachment) -> Transit:
    assert attachment.spec.transit is not None
    return attachment.spec.transit


def reaching(expected: dict[str, list[str]]) -> Callable[[ZoneAttachment], bool]:
    """Whether a node is told of these addresses on these other nodes, and of no more."""
    return lambda each: {one.node: one.guests for one in transit(each).remotes} == expected


def naming(rack: Rack, *stacks: str) -> Callable[[ZoneAttachment], bool]:
    """Whether a node is told the names of these Stacks of the tenant, and no more."""
    expected = [(rack.tenant.name, each) for each in stacks]
    return lambda each: [(one.namespace, one.stack) for one in each.spec.names] == expected


class TestThreeNodes:
    async def test_remotes_follow_guests_as_they_come_and_move_and_go(self, rack: Rack) -> None:
        await rack.cloud.apply(rack.zone("wide"))
        one = await rack.deploy("one", "far-1")
        two = await rack.deploy("two", "far-2")
        mine, theirs = str(one.status.address), str(two.status.address)
        first = await rack.told("far-1", reaching({"far-2": [theirs]}))
        second = await rack.told("far-2", reaching({"far-1": [mine]}))
        assert (transit(first).address, transit(second).address) == ("198.51.100.1", "198.51.100.2")
        assert transit(first).remotes[0].mac == transit(second).mac
        assert (first.spec.mac, first.spec.mtu) == (second.spec.mac, 1450)
        zone = await rack.says("wide", Reason.IN_FORCE)
        assert zone.status.id == transit(first).id == transit(second).id
        assert (zone.status.mtu, [each.name for each in zone.status.nodes]) == (1450, ["far-1", "far-2"])

        moved = await rack.deploy("two", "far-3")
        assert moved.status.address == theirs
        await rack.told("far-1", reaching({"far-3": [theirs]}))
        await rack.told("far-3", reaching({"far-1": [mine]}))
        await rack.left("far-2")

        await rack.cloud.delete(STACK, "two", rack.tenant.name)
        await rack.told("far-1", reaching({}))
        await rack.left("far-3")

    async def test_a_guest_has_two_addresses_and_keeps_them_on_its_way(self, rack: Rack) -> None:
        await rack.cloud.apply(rack.zone("wide", cidr6="fd00:20::/64"))
        stack = await rack.deploy("one", "far-1")
        host = int(str(stack.status.address).rpartition(".")[2])
        assert stack.status.address6 == f"fd00:20::{host % 16:x}"
        zone = await rack.says("wide", Reason.IN_FORCE)
        assert zone.status.gateway6 == "fd00:20::1"
        before = network(await rack.cloud.admin.get(GUEST, str(stack.status.guest), "dsecos-node-far-1"))
        assert (before.address6, before.gateway6) == (stack.status.address6, "fd00:20::1")
        moved = await rack.deploy("one", "far-2")
        after = network(await rack.cloud.admin.get(GUEST, str(moved.status.guest), "dsecos-node-far-2"))
        assert after == before
        assert moved.status.address6 == stack.status.address6

    async def test_a_node_that_gets_another_address_is_found_there(self, rack: Rack) -> None:
        await rack.cloud.apply(rack.zone("wide"))
        await rack.deploy("one", "far-1")
        await rack.deploy("two", "far-2")
        rack.agents["far-2"].tunnel = "198.51.100.9"
        await rack.report()
        await rack.told(
            "far-1", lambda each: [one.address for one in transit(each).remotes] == ["198.51.100.9"]
        )


class TestVlan:
    async def test_it_has_an_id_and_all_of_the_mtu_and_nodes_are_told_which_encapsulation(
        self, rack: Rack
    ) -> None:
        await rack.cloud.apply(rack.zone("wide", **VLAN))
        one = await rack.deploy("one", "far-1")
        two = await rack.deploy("two", "far-2")
        first = await rack.told("far-1", reaching({"far-2": [str(two.status.address)]}))
        second = await rack.told("far-2", reaching({"far-1": [str(one.status.address)]}))
        zone = await rack.says("wide", Reason.IN_FORCE)
        assert zone.status.id in range(3000, 4000)
        for each in (first, second):
            assert (each.spec.encapsulation.type, transit(each).id) == ("vlan", zone.status.id)
            assert each.spec.mtu == zone.status.mtu == 1500
        assert (transit(first).address, transit(first).remotes[0].mac) == (
            "198.51.100.1",
            transit(second).mac,
        )

    async def test_its_ids_and_those_of_vxlan_are_two_spaces(self, rack: Rack) -> None:
        await rack.cloud.apply(rack.zone("vxlan", encapsulation={"type": "vxlan", "id": 3077}))
        assert (await rack.says("vxlan", Reason.NO_GUESTS)).status.id == 3077
        await rack.cloud.apply(rack.zone("old", 1, encapsulation={"type": "vlan", "id": 3077}))
        assert (await rack.says("old", Reason.NO_GUESTS)).status.id == 3077
        await rack.cloud.apply(rack.zone("young", 2, encapsulation={"type": "vlan", "id": 3077}))
        young = await rack.says("young", Reason.ID_TAKEN)
        assert f"3077 is taken: NetworkZone {rack.tenant.name}/old" in message(young, Type.READY)

    async def test_a_vlan_of_the_site_is_nobodys_to_ask_for(self, rack: Rack) -> None:
        await rack.cloud.apply(rack.zone("management", encapsulation={"type": "vlan", "id": 10}))
        refused = await rack.says("management", Reason.ID_INVALID)
        assert truth(refused, Type.STALLED) == "True"
        assert "10 is none of the 802.1Q ids that zones can have, 3000-3999" in message(refused, Type.READY)

    async def test_where_every_id_is_taken_a_zone_waits_until_one_is_free(self, rack: Rack) -> None:
        rack.cloud.stop()
        rack.cloud.start(DSECOS_VLAN_IDS="77-78")
        try:
            for part, name in enumerate(("one", "two")):
                await rack.cloud.apply(rack.zone(name, part, **VLAN))
            taken = {(await rack.says(name, Reason.NO_GUESTS)).status.id for name in ("one", "two")}
            assert taken == {77, 78}
            await rack.cloud.apply(rack.zone("three", 2, **VLAN))
            three = await rack.says("three", Reason.ID_TAKEN)
            assert truth(three, Type.STALLED) == "True"
            assert "77-78 is taken; delete zones, or widen DSECOS_VLAN_IDS" in message(three, Type.READY)
            await rack.cloud.delete(NETWORK_ZONE, "one", rack.tenant.name)
            assert (await rack.says("three", Reason.NO_GUESTS)).status.id in taken
        finally:
            rack.cloud.stop()
            rack.cloud.start()

    async def test_a_node_whose_kernel_has_no_802_1q_is_named(self, rack: Rack) -> None:
        weak = [each for each in CAPABLE if each != "zone/vlan"]
        await rack.report(1500, weak)
        await rack.cloud.apply(rack.zone("wide", **VLAN))
        zone = await rack.says("wide", Reason.NODE_INCAPABLE)
        for name in NODES:
            assert f"{name}: it lacks zone/vlan (802.1Q)" in message(zone, Type.READY)
        await rack.report(1500, CAPABLE, "far-1")
        await rack.says("wide", Reason.NO_GUESTS)
        await rack.deploy("one", "far-1")

    async def test_it_agrees_with_a_zone_of_vxlan_between_nodes(self, rack: Rack) -> None:
        await rack.cloud.apply(
            rack.zone("wide", **VLAN, **rack.naming("front")),
            rack.zone("front", 1, **rack.naming("wide")),
        )
        one = await rack.deploy("one", "far-1")
        web = await rack.deploy("web", "far-2", "front")
        await rack.told("far-1", reaching({"far-2": [str(web.status.address)]}), "front")
        found = await rack.told("far-2", reaching({"far-1": [str(one.status.address)]}))
        assert found.spec.encapsulation.type == "vlan"
        assert [each.zone for each in found.spec.ingress] == ["front"]


class TestPeers:
    async def test_two_zones_agree_and_one_changes_its_mind(self, rack: Rack) -> None:
        await rack.cloud.apply(
            rack.zone("wide", **rack.naming("front", "nobody")),
            rack.zone("front", 1, **rack.naming("wide")),
        )
        await rack.deploy("one", "far-1")
        web = await rack.deploy("web", "far-2", "front")
        await rack.told("far-2", lambda each: bool(each.spec.ingress))
        found = await rack.told("far-1", reaching({"far-2": [str(web.status.address)]}), "front")
        assert [each.zone for each in found.spec.ingress] == ["wide"]
        zone = await rack.says("wide", Reason.IN_FORCE)
        assert (truth(zone, Type.PEERS_AGREED), reason(zone, Type.PEERS_AGREED)) == ("False", "PeerNotAgreed")
        assert f"{rack.tenant.name}/nobody does not exist" in message(zone, Type.PEERS_AGREED)
        assert "front" not in message(zone, Type.PEERS_AGREED)
        front = await rack.says("front", Reason.IN_FORCE)
        assert reason(front, Type.PEERS_AGREED) == Reason.ALL_AGREED

        # Of a guest that comes to a node where both are already, each node is told once, and by both zones.
        before = {
            (name, node): (await rack.told(node, lambda _: True, name)).metadata.generation or 0
            for name in ("wide", "front")
            for node in NODES[:2]
        }
        two = await rack.deploy("two", "far-2")
        await rack.told("far-1", reaching({"far-2": [str(two.status.address)]}))
        for (name, node), generation in before.items():
            found = await rack.told(node, naming(rack, "one", "two", "web"), name)
            assert found.metadata.generation == generation + 1
        await rack.cloud.delete(STACK, "two", rack.tenant.name)

        await rack.cloud.apply(rack.zone("front", 1))
        await rack.cloud.wait(
            NETWORK_ZONE,
            "wide",
            rack.tenant.name,
            lambda each: "front does not name this zone" in message(each, Type.PEERS_AGREED),
        )
        await rack.told("far-1", lambda each: not each.spec.ingress and not transit(each).remotes)
        await rack.left("far-2")
        await rack.left("far-1", "front")
        await rack.says("wide", Reason.IN_FORCE)
        front = await rack.says("front", Reason.IN_FORCE)
        assert reason(front, Type.PEERS_AGREED) == ""

    async def test_the_last_stack_of_a_zone_goes_though_its_peer_keeps_the_zone_there(
        self, rack: Rack
    ) -> None:
        await rack.cloud.apply(
            rack.zone("wide", **rack.naming("front")), rack.zone("front", 1, **rack.naming("wide"))
        )
        await rack.deploy("one", "far-1")
        await rack.deploy("web", "far-1", "front")
        await rack.cloud.delete(STACK, "one", rack.tenant.name)
        await rack.cloud.gone(STACK, "one", rack.tenant.name)
        await rack.told("far-1", reaching({}))

    async def test_names_follow_stacks_services_and_what_zones_agree_on(self, rack: Rack) -> None:
        outbound: dict[str, Any] = {
            "peers": [{"namespace": rack.tenant.name, "zone": "front", "outboundOnly": True}]
        }
        await rack.cloud.apply(
            rack.zone("wide", cidr6="fd00:23::/64", **outbound),
            rack.zone("front", 1, **rack.naming("wide")),
            rack.zone("lone", 2),
        )
        one = await rack.deploy("one", "far-1")
        await rack.deploy("web", "far-2", "front")
        await rack.deploy("other", "far-1", "lone")
        for node in NODES[:2]:
            found = await rack.told(node, naming(rack, "one", "web"))
            assert found.spec.names[0].addresses == [one.status.address, one.status.address6]
            assert found.spec.names[0].services == ["web"]
            await rack.told(node, naming(rack, "web"), "front")
        await rack.told("far-1", naming(rack, "other"), "lone")

        document = {"inline": "services: {web: {image: a}, db: {image: a}, Not_A_Label: {image: a}}"}
        placement = {"node": "far-1"}
        await rack.cloud.apply(
            given.stack("one", rack.tenant.name, zone="wide", placement=placement, compose=document)
        )
        await rack.told("far-2", lambda each: each.spec.names[0].services == ["db", "web"])
        await rack.cloud.delete(STACK, "web", rack.tenant.name)
        await rack.told("far-1", naming(rack, "one"))

    async def test_a_local_peer_is_met_on_the_same_node_only(self, rack: Rack) -> None:
        await rack.cloud.apply(
            rack.zone("wide", **rack.naming("backend")),
            given.zone("backend", rack.tenant.name, rack.tenant.cidr, **rack.naming("wide")),
        )
        zone = await rack.cloud.wait(
            NETWORK_ZONE, "wide", rack.tenant.name, lambda each: truth(each, Type.PEERS_AGREED) == "True"
        )
        told = f"on the same node only, as {rack.tenant.name}/backend is local"
        assert told in message(zone, Type.PEERS_AGREED)


class TestIds:
    async def test_the_older_zone_has_the_id_and_the_younger_one_gets_it_after(self, rack: Rack) -> None:
        wish: dict[str, Any] = {"encapsulation": {"type": "vxlan", "id": 4242}}
        await rack.cloud.apply(rack.zone("old", **wish))
        assert (await rack.says("old", Reason.NO_GUESTS)).status.id == 4242
        await rack.cloud.apply(rack.zone("young", 1, **wish))
        young = await rack.says("young", Reason.ID_TAKEN)
        assert (truth(young, Type.STALLED), young.status.id, young.status.gateway) == ("True", None, None)
        assert f"4242 is taken: NetworkZone {rack.tenant.name}/old" in message(young, Type.READY)
        await rack.cloud.apply(given.stack("shop", rack.tenant.name, zone="young"))
        stack = await rack.cloud.says("shop", rack.tenant.name, Type.SCHEDULED, Reason.ZONE_NOT_READY)
        assert "4242 is taken" in message(stack, Type.SCHEDULED)
        await rack.cloud.delete(NETWORK_ZONE, "old", rack.tenant.name)
        assert (await rack.says("young", Reason.NO_GUESTS)).status.id == 4242

    async def test_zones_of_one_moment_have_different_ids_though_the_operator_dies(self, rack: Rack) -> None:
        rack.cloud.stop()
        rack.cloud.start(DSECOS_FAULT_POINT="zone-claim:4")
        names = [f"zone-{number}" for number in range(12)]
        await asyncio.gather(*(rack.cloud.apply(rack.zone(name, part)) for part, name in enumerate(names)))

        async def killed() -> bool:
            return rack.cloud.ended

        await until(killed, 60, f"never killed\n{rack.cloud.tail()}")
        before = {name: number for name, number in (await self.ids(rack, names)).items() if number}
        assert 4 <= len(before) < len(names)
        rack.cloud.start()
        for name in names:
            await rack.says(name, Reason.NO_GUESTS)
        after = await self.ids(rack, names)
        assert len({*after.values()} - {None}) == len(names)
        assert before.items() <= after.items(), "an id never changes"
        rack.cloud.stop(signal.SIGKILL)
        rack.cloud.start()
        await rack.cloud.apply(rack.zone("late", 12))
        late = await rack.says("late", Reason.NO_GUESTS)
        assert late.status.id not in after.values()
        assert await self.ids(rack, names) == after

    async def ids(self, rack: Rack, names: list[str]) -> dict[str, int | None]:
        """What the API server has."""
        found = await rack.cloud.admin.list(NETWORK_ZONE, rack.tenant.name)
        return {each.name: each.status.id for each in found if each.name in names}


class TestWhatCannotBeHad:
    async def test_networks_that_overlap_in_the_second_family(self, rack: Rack) -> None:
        await rack.cloud.apply(rack.zone("old", cidr6="fd00:21::/64"))
        await rack.says("old", Reason.NO_GUESTS)
        await rack.cloud.apply(rack.zone("young", 1, cidr6="fd00:21::/56"))
        zone = await rack.says("young", Reason.CIDR_OVERLAPS)
        assert f"fd00:21::/64 of NetworkZone {rack.tenant.name}/old" in message(zone, Type.READY)
        assert zone.status.id is None

    async def test_an_mtu_that_is_too_small(self, rack: Rack) -> None:
        await rack.report(1300)
        await rack.cloud.apply(rack.zone("wide", cidr6="fd00:22::/64"))
        zone = await rack.says("wide", Reason.MTU_TOO_SMALL)
        assert truth(zone, Type.STALLED) == "True"
        for told in ("far-1", "far-3", "MTU 1300", "needs 1330"):
            assert told in message(zone, Type.READY)
        await rack.report(1400)
        zone = await rack.says("wide", Reason.NO_GUESTS)
        assert zone.status.mtu == 1350
        await rack.report(9000)
        await rack.deploy("one", "far-1")
        assert (await rack.says("wide", Reason.IN_FORCE)).status.mtu == 1350

    async def test_a_node_that_lacks_what_the_zone_needs(self, rack: Rack) -> None:
        weak = [each for each in CAPABLE if each != "zone/vxlan"]
        await rack.report(1500, weak, "far-3")
        await rack.cloud.apply(rack.zone("wide"))
        await rack.cloud.apply(
            given.stack("three", rack.tenant.name, zone="wide", placement={"node": "far-3"}, compose=DOCUMENT)
        )
        stack = await rack.cloud.says("three", rack.tenant.name, Type.SCHEDULED, Reason.NODE_INCAPABLE)
        assert "far-3: it lacks zone/vxlan" in message(stack, Type.SCHEDULED)
        await rack.report(1500, CAPABLE, "far-3")
        await rack.cloud.ready("three", rack.tenant.name)

        await rack.report(1500, weak, "far-3")
        zone = await rack.says("wide", Reason.NODE_INCAPABLE)
        assert "far-3: it lacks zone/vxlan" in message(zone, Type.READY)
        one = await rack.deploy("one", "far-1")
        await rack.told("far-3", reaching({"far-1": [str(one.status.address)]}))
