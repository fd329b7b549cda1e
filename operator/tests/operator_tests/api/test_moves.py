"""Maintenance and moves with the real operator: two nodes of one engine's cluster, and one that is alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from dsecos_api import Guest, Node, Reason, Stack, Type
from dsecos_api.names import ANNOTATION_RESTART
from dsecos_runtime import EVENT, GUEST, NODE, SECRET, STACK, ZONE_ATTACHMENT, Key, Object

from . import cloud as given
from .agent import Engine, PretendAgent
from .cloud import Cloud, message, reason, truth, until
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAIR = ("pve-1", "pve-2")


@dataclass(frozen=True)
class Rack:
    """Two nodes between which guests can be moved."""

    cloud: Cloud
    tenant: Tenant
    engine: Engine

    def shop(self, name: str = "shop", **spec: Any) -> Object:
        """A Stack with a secret, on this rack."""
        placement = {"nodeSelector": {"rack": "pve"}, **spec.pop("placement", {})}
        return given.stack(
            name,
            self.tenant.name,
            compose={
                "inline": "services: {web: {image: a, environment: {A: '${x}'}}}",
                "secretValues": [{"name": "x", "secretKeyRef": {"name": "s", "key": "k"}}],
            },
            placement=placement,
            **spec,
        )

    async def deploy(self, node: str, name: str = "shop", **spec: Any) -> Stack:
        """Apply it there and wait until it serves."""
        await self.cloud.apply(given.secret("s", self.tenant.name, k="v"))
        await self.cloud.apply(self.shop(name, placement={"node": node}, **spec))
        stack: Stack = await self.cloud.ready(name, self.tenant.name, 60)
        assert stack.status.node == node
        return stack

    async def arrived(self, node: str, name: str = "shop") -> Stack:
        """Wait until it serves there and nothing of it is left elsewhere."""

        def there(each: Stack) -> bool:
            return each.status.node == node and truth(each, Type.READY) == "True"

        stack = await self.cloud.wait(STACK, name, self.tenant.name, there, 60)
        await until(lambda: self._only(node), 60, f"all that there is of {name} is on {node}")
        assert self.engine.where[stack.uid] == node
        return stack

    async def _only(self, node: str) -> bool:
        for other in {*PAIR} - {node}:
            space = f"dsecos-node-{other}"
            left = [each["metadata"]["name"] for each in await self.cloud.admin.list(SECRET, space)]
            guests = await self.cloud.admin.list(GUEST, space)
            zones = await self.cloud.admin.list(ZONE_ATTACHMENT, space)
            if guests or zones or left != ["agent-binding"]:
                return False
        return len(await self.cloud.admin.list(GUEST, f"dsecos-node-{node}")) == 1

    async def maintain(self, node: str, on: bool = True, **drain: Any) -> None:
        """Begin or end a node's maintenance."""
        spec = {"maintenance": True, "drain": drain} if on else {"maintenance": None, "drain": None}
        await self.cloud.admin.patch(NODE, Key("", node), {"spec": spec})

    async def drained(self, node: str) -> Node:
        """Wait until a node is."""
        return await self.cloud.wait(NODE, node, "", lambda each: truth(each, Type.DRAINED) == "True", 60)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(cloud: Cloud) -> AsyncIterator[Engine]:
    """The rack's nodes with their pretend agents."""
    engine = Engine("rack")
    agents = []
    for name in PAIR:
        await cloud.apply(given.proxmox(name, rack="pve"))
        await cloud.registered(name)
        agents.append(PretendAgent(cloud.agent_kubeconfig(name), name, engine=engine))
        await agents[-1].start()
    yield engine
    for agent in agents:
        await agent.stop()
    for name in PAIR:
        await cloud.delete(NODE, name)
        await cloud.gone(NODE, name, seconds=60)


@pytest_asyncio.fixture(loop_scope="session")
async def rack(cloud: Cloud, tenant: Tenant, engine: Engine) -> AsyncIterator[Rack]:
    """Without maintenance and refusals, before and after."""
    made = Rack(cloud, tenant, engine)
    yield made
    engine.refusal = ""
    for name in (*PAIR, "node-1"):
        await made.maintain(name, on=False)
    if cloud.ended:
        cloud.start()


async def guest_on(cloud: Cloud, node: str) -> Guest:
    (guest,) = await cloud.admin.list(GUEST, f"dsecos-node-{node}")
    return guest


class TestMoves:
    async def test_another_node_moves_the_guest_with_all_that_is_its(self, cloud: Cloud, rack: Rack) -> None:
        before = await rack.deploy("pve-1")
        guest = await guest_on(cloud, "pve-1")
        deployed = len(cloud.writes("shop", rack.tenant.name))
        await cloud.apply(rack.shop(placement={"node": "pve-2"}))
        stack = await rack.arrived("pve-2")
        assert len(cloud.writes("shop", rack.tenant.name)) - deployed <= 3
        assert len(cloud.writes(guest.name, guest.namespace)) == 4, "made, ordered away, released, deleted"
        assert cloud.writes(guest.name, "dsecos-node-pve-2") == ["patch "]
        after = await guest_on(cloud, "pve-2")
        assert stack.status.epoch == after.spec.epoch == 2
        assert (after.name, after.spec.network) == (guest.name, guest.spec.network)
        assert stack.status.address == before.status.address
        assert (stack.status.moving_to, after.spec.migrate) == (None, None)
        copied = await cloud.admin.get(SECRET, after.name, after.namespace)
        assert copied["metadata"]["labels"]["dsecos.io/stack"] == "shop"

    async def test_a_move_that_fails_is_told_and_what_runs_goes_on(self, cloud: Cloud, rack: Rack) -> None:
        await rack.deploy("pve-1")
        rack.engine.refusal = "storage is not available"
        await cloud.apply(rack.shop(placement={"node": "pve-2"}))
        stack = await cloud.says("shop", rack.tenant.name, Type.SCHEDULED, Reason.MIGRATION_FAILED, 60)
        assert "moving to pve-2 failed: storage is not available" in message(stack, Type.SCHEDULED)
        assert (stack.status.node, stack.status.moving_to) == ("pve-1", None)
        assert (await guest_on(cloud, "pve-1")).spec.migrate is None
        rack.engine.refusal = ""
        await cloud.apply(rack.shop(placement={"node": "pve-2"}, runPolicy="Running"))
        await rack.arrived("pve-2")

    async def test_a_node_of_lxc_keeps_its_guest_and_says_why(
        self, cloud: Cloud, tenant: Tenant, rack: Rack
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        await cloud.ready("shop", tenant.name)
        await cloud.apply(given.stack("shop", tenant.name, placement={"node": "pve-1"}))
        stack = await cloud.says("shop", tenant.name, Type.SCHEDULED, Reason.UNSUPPORTED)
        assert "it stays on node-1: engine lxc of node-1 cannot move" in message(stack, Type.SCHEDULED)
        assert stack.status.node == "node-1"

    async def test_killed_after_each_step_of_a_move_it_goes_on(self, cloud: Cloud, rack: Rack) -> None:
        stack = await rack.deploy("pve-1")
        cloud.stop()
        await cloud.apply(rack.shop(placement={"node": "pve-2"}))

        async def killed() -> bool:
            return cloud.ended

        for point in (
            "stack-reserve",
            "guest-migrate",
            "stack-arrive",
            "secret-copy",
            "guest-take-over",
            "guest-release",
            "guest-forget",
            "secret-delete",
        ):
            cloud.start(DSECOS_FAULT_POINT=point)
            await until(killed, 60, f"killed after {point}\n{cloud.tail()}")
        cloud.start()
        moved = await rack.arrived("pve-2")
        assert (stack.status.epoch, moved.status.epoch) == (1, 2)


class TestMaintenance:
    async def test_guests_are_moved_away_and_the_node_says_so(self, cloud: Cloud, rack: Rack) -> None:
        await cloud.apply(given.secret("s", rack.tenant.name, k="v"), rack.shop())
        stack = await cloud.ready("shop", rack.tenant.name, 60)
        source = stack.status.node or ""
        (target,) = {*PAIR} - {source}
        await rack.maintain(source)
        await rack.arrived(target)
        node = await rack.drained(source)
        assert node.status.drain is not None
        assert (node.status.drain.total, node.status.drain.remaining) == (0, 0)
        await rack.maintain(source, on=False)
        node = await cloud.wait(NODE, source, "", lambda each: each.status.drain is None)
        assert reason(node, Type.DRAINED) == ""
        assert (await cloud.admin.get(STACK, "shop", rack.tenant.name)).status.node == target

        async def told() -> bool:
            found = await cloud.admin.list(EVENT, "default")
            reasons = {each["reason"] for each in found if each["regarding"]["name"] == source}
            return reasons >= {Reason.MAINTENANCE, Reason.DRAINED, Reason.AVAILABLE}

        await until(told)

    async def test_what_cannot_be_moved_is_stopped_until_it_is_over(
        self, cloud: Cloud, tenant: Tenant, rack: Rack, agent: PretendAgent
    ) -> None:
        names = ("one", "two", "three")
        for name in names:
            await cloud.apply(given.stack(name, tenant.name, placement={"node": agent.node}))
        guests = {name: (await cloud.ready(name, tenant.name)).status.guest or "" for name in names}
        await rack.maintain(agent.node, maxUnavailable=2)
        node = await rack.drained(agent.node)
        assert node.status.drain is not None
        assert node.status.drain.stopped >= len(names)
        assert cloud.writes(guests["one"], agent.namespace) == ["patch ", "patch "], "made, stopped"
        for name in names:
            stack = await cloud.wait(STACK, name, tenant.name, lambda each: each.status.state == "Stopped")
            assert reason(stack, Type.READY) == Reason.MAINTENANCE
            assert truth(stack, Type.RECONCILING) == truth(stack, Type.STALLED) == ""
            assert "stopped while node-1 is in maintenance" in message(stack, Type.SCHEDULED)
            assert stack.spec.run_policy is None
        await rack.maintain(agent.node, on=False)
        for name in names:
            stack = await cloud.ready(name, tenant.name)
            assert stack.status.state == "Running"

    async def test_a_disruption_group_is_waited_for_and_named(
        self, cloud: Cloud, tenant: Tenant, rack: Rack, agent: PretendAgent
    ) -> None:
        for name in ("one", "two"):
            await cloud.apply(given.stack(name, tenant.name, disruptionGroup="web"))
            await cloud.ready(name, tenant.name)
        await rack.maintain(agent.node, maxUnavailable=5)

        def waits(each: Node) -> bool:
            drain = each.status.drain
            return drain is not None and drain.stopped == 1 and drain.remaining == 1

        node = await cloud.wait(NODE, agent.node, "", waits)
        assert node.status.drain is not None
        assert any("of its disruption group web is Ready" in each for each in node.status.drain.waiting)
        assert reason(node, Type.DRAINED) == Reason.DRAINING
        await rack.maintain(agent.node, maxUnavailable=5, ignoreDisruptionGroups=True)
        await rack.drained(agent.node)

    async def test_killed_while_it_drains_it_goes_on(
        self, cloud: Cloud, tenant: Tenant, rack: Rack, agent: PretendAgent
    ) -> None:
        for name in ("one", "two"):
            await cloud.apply(given.stack(name, tenant.name))
            await cloud.ready(name, tenant.name)
        cloud.stop()
        cloud.start(DSECOS_FAULT_POINT="guest-apply")
        await rack.maintain(agent.node)

        async def killed() -> bool:
            return cloud.ended

        await until(killed, 60)
        cloud.start()
        await rack.drained(agent.node)
        await rack.maintain(agent.node, on=False)
        for name in ("one", "two"):
            await cloud.ready(name, tenant.name, 60)


class TestFields:
    async def test_startup_drift_and_restart_reach_the_guest_and_its_state_comes_back(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        startup = {"order": 5, "delaySeconds": 3}
        await cloud.apply(given.stack("shop", tenant.name, startup=startup, driftPolicy="Report"))
        stack = await cloud.ready("shop", tenant.name)
        assert stack.status.state == "Running"
        guest = await cloud.admin.get(GUEST, stack.status.guest or "", agent.namespace)
        assert guest.spec.startup is not None
        assert (guest.spec.startup.order, guest.spec.startup.delay_seconds) == (5, 3)
        assert guest.spec.drift_policy == "Report"
        assert guest.spec.restart is None
        order = {"metadata": {"annotations": {ANNOTATION_RESTART: "now"}}}
        await cloud.admin.patch(STACK, Key.of(stack), order)
        again = await cloud.wait(GUEST, guest.name, agent.namespace, lambda each: each.spec.restart == "now")
        assert again.metadata.generation == (guest.metadata.generation or 0) + 1
        assert (await cloud.ready("shop", tenant.name)).metadata.generation == stack.metadata.generation

    async def test_companions_are_kept_together_and_apart(self, cloud: Cloud, tenant: Tenant) -> None:
        together = {"affinity": {"stacks": ["db"]}}
        await cloud.apply(given.stack("db", tenant.name))
        await cloud.ready("db", tenant.name)
        await cloud.apply(given.stack("web", tenant.name, placement=together))
        await cloud.ready("web", tenant.name)
        await cloud.apply(given.stack("alone", tenant.name, placement={"antiAffinity": {"stacks": ["db"]}}))
        stack = await cloud.says("alone", tenant.name, Type.SCHEDULED, Reason.NO_NODE_FITS)
        told = message(stack, Type.SCHEDULED)
        assert f"node-1: Stack {tenant.name}/db, which it has to be apart from, is on it" in told
        assert truth(stack, Type.STALLED) == ""
        await cloud.delete(STACK, "web", tenant.name)
        await cloud.delete(STACK, "db", tenant.name)
        await cloud.ready("alone", tenant.name, 60)

    async def test_who_has_to_be_together_with_one_that_has_no_place_waits(
        self, cloud: Cloud, tenant: Tenant
    ) -> None:
        huge = {"cpu": "1", "memory": "4Ti", "disk": "1Gi"}
        await cloud.apply(given.stack("db", tenant.name, resources=huge))
        await cloud.says("db", tenant.name, Type.SCHEDULED, Reason.NO_NODE_FITS)
        await cloud.apply(given.stack("web", tenant.name, placement={"affinity": {"stacks": ["db"]}}))
        stack = await cloud.says("web", tenant.name, Type.SCHEDULED, Reason.NO_NODE_FITS)
        assert f"waits for Stack {tenant.name}/db" in message(stack, Type.SCHEDULED)
        await cloud.apply(given.stack("db", tenant.name))
        await cloud.ready("web", tenant.name, 20)
