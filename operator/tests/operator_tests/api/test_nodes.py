"""Nodes: what they are registered with, what that lets an agent do, and how they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from dsecos_api import Node, Reason, Type
from dsecos_api.node import NodeStatus
from dsecos_runtime import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    EVENT,
    GUEST,
    NAMESPACE,
    NODE,
    ROLE_BINDING,
    SECRET,
    STACK,
    Cluster,
    ClusterError,
    Forbidden,
    Key,
    Resource,
)

from . import cloud as given
from .agent import PretendAgent
from .cloud import Cloud, message, reason, truth
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def node_of(cloud: Cloud, name: str) -> Node:
    await cloud.apply(given.node(name))
    await cloud.registered(name)
    return await cloud.admin.get(NODE, name)


@pytest_asyncio.fixture(loop_scope="session")
async def other(cloud: Cloud) -> AsyncIterator[Node]:
    """Node node-2, which has no agent."""
    yield await node_of(cloud, "node-2")
    await cloud.delete(NODE, "node-2")
    await cloud.gone(NODE, "node-2")


class TestRights:
    """What a stolen agent credential shows and changes: one node."""

    async def test_an_agent_sees_its_own_namespace_and_no_other(
        self, agent: PretendAgent, other: Node
    ) -> None:
        own, foreign = agent.namespace, f"dsecos-node-{other.name}"
        readable: tuple[Resource[Any], ...] = (GUEST, SECRET)
        for resource in readable:
            await agent.cluster.list(resource, own)
            for namespace in (foreign, "default", "dsecos-system", ""):
                with pytest.raises(Forbidden):
                    await agent.cluster.list(resource, namespace)
        with pytest.raises(Forbidden):
            await agent.cluster.get(SECRET, "agent-binding", foreign)
        with pytest.raises(Forbidden):
            await agent.cluster.list(STACK)
        with pytest.raises(Forbidden):
            await agent.cluster.list(NODE)

    async def test_an_agent_writes_its_own_nodes_status_and_no_other(
        self, agent: PretendAgent, other: Node
    ) -> None:
        mine = await agent.cluster.get(NODE, agent.node)
        await agent.report(mine)
        with pytest.raises(Forbidden):
            await agent.cluster.get(NODE, other.name)
        with pytest.raises(Forbidden):
            await agent.cluster.apply_status(NODE, other, NodeStatus())
        with pytest.raises(Forbidden):  # not even its own spec
            await agent.cluster.apply(NODE, given.node(agent.node))

    async def test_an_agent_makes_no_orders_and_no_secrets(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        stack = await cloud.ready("shop", tenant.name)
        name = stack.status.guest
        guest = await agent.cluster.get(GUEST, name, agent.namespace)
        forged = guest.to_dict() | {"metadata": {"name": "forged", "namespace": agent.namespace}}
        with pytest.raises(Forbidden):
            await agent.cluster.create(GUEST, forged)
        with pytest.raises(Forbidden):
            await agent.cluster.delete(GUEST, name, agent.namespace)
        with pytest.raises(Forbidden):
            await agent.cluster.create(SECRET, {"metadata": {"name": "forged", "namespace": agent.namespace}})

    async def test_an_agent_tells_of_its_node(self, agent: PretendAgent) -> None:
        event = {
            "metadata": {"name": "found", "namespace": "default"},
            "eventTime": "2026-11-22T00:00:00.000000Z",
            "reportingController": "test",
            "reportingInstance": "test",
            "action": "Look",
            "reason": "Found",
            "type": "Normal",
            "regarding": {"apiVersion": "dsecos.io/v1alpha1", "kind": "Node", "name": agent.node},
        }
        await agent.cluster.create(EVENT, event)
        with pytest.raises(Forbidden):
            await agent.cluster.list(EVENT, "default")

    async def test_a_deleted_binding_revokes_the_agents_tokens(self, cloud: Cloud) -> None:
        await node_of(cloud, "node-3")
        stolen = Cluster.connect(cloud.agent_kubeconfig("node-3"))
        await stolen.list(GUEST, "dsecos-node-node-3")
        before = await cloud.admin.get(SECRET, "agent-binding", "dsecos-node-node-3")
        await cloud.delete(SECRET, "agent-binding", "dsecos-node-node-3")

        async def refused() -> bool:
            try:
                await stolen.list(GUEST, "dsecos-node-node-3")
            except ClusterError:
                return True
            return False

        await given.until(refused, 30)

        async def made_anew() -> bool:
            found = await cloud.admin.find(SECRET, "agent-binding", "dsecos-node-node-3")
            return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

        await given.until(made_anew)
        await stolen.close()
        await cloud.delete(NODE, "node-3")
        await cloud.gone(NODE, "node-3")

    async def test_the_operator_writes_no_tenants_secrets_and_makes_no_roles(self, cloud: Cloud) -> None:
        operator = Cluster.connect(cloud.kubeconfig)
        await operator.list(SECRET, "default")
        with pytest.raises(Forbidden):
            await operator.create(SECRET, {"metadata": {"name": "x", "namespace": "default"}})
        with pytest.raises(Forbidden):
            await operator.delete(SECRET, "x", "kube-system")
        anything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        with pytest.raises(Forbidden):
            await operator.create(CLUSTER_ROLE, {"metadata": {"name": "everything"}, "rules": anything})
        binding = {
            "metadata": {"name": "me"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "dsecos-operator", "namespace": "dsecos-system"}],
        }
        with pytest.raises(Forbidden):
            await operator.create(CLUSTER_ROLE_BINDING, binding)
        await operator.close()


class TestLife:
    async def test_a_node_that_never_reported_says_so(self, cloud: Cloud) -> None:
        node = await node_of(cloud, "node-4")
        node = await cloud.wait(NODE, "node-4", "", lambda each: bool(reason(each, Type.READY)))
        assert (truth(node, Type.READY), reason(node, Type.READY)) == ("Unknown", Reason.NEVER_REPORTED)
        assert node.status.agent_namespace == "dsecos-node-node-4"
        await cloud.delete(NODE, "node-4")
        await cloud.gone(NODE, "node-4")
        name = "dsecos-node-node-4"
        assert await cloud.admin.find(NAMESPACE, name) is None
        assert await cloud.admin.find(CLUSTER_ROLE, name) is None
        assert await cloud.admin.find(CLUSTER_ROLE_BINDING, name) is None

        async def collected() -> bool:
            return await cloud.admin.find(ROLE_BINDING, name, "default") is None

        await given.until(collected, what="its owner is gone, so the garbage collector takes it")

    async def test_what_was_taken_away_by_hand_comes_back(self, cloud: Cloud, agent: PretendAgent) -> None:
        await cloud.delete(ROLE_BINDING, "agent", agent.namespace)
        await given.until(lambda: cloud.admin.find(ROLE_BINDING, "agent", agent.namespace))
        await cloud.delete(CLUSTER_ROLE, "dsecos-node-node-1")
        await given.until(lambda: cloud.admin.find(CLUSTER_ROLE, "dsecos-node-node-1"))

    async def test_a_silent_agent_is_lost_and_found_again_and_keeps_its_stacks(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        await cloud.ready("shop", tenant.name)
        await agent.beat(duration=1)
        await cloud.wait(NODE, agent.node, "", lambda each: reason(each, Type.READY) == Reason.AGENT_LOST, 60)
        stack = await cloud.says("shop", tenant.name, Type.READY, Reason.AGENT_LOST)
        assert truth(stack, Type.READY) == "Unknown"
        assert stack.status.node == agent.node
        await cloud.apply(given.stack("new", tenant.name))
        waiting = await cloud.says("new", tenant.name, Type.SCHEDULED, Reason.NO_NODE_FITS)
        assert "not Ready (AgentLost)" in message(waiting, Type.SCHEDULED)
        await agent.beat()
        await agent.report(await agent.cluster.get(NODE, agent.node))
        await cloud.ready("shop", tenant.name, 60)
        await cloud.ready("new", tenant.name, 60)
        node = await cloud.admin.get(NODE, agent.node)
        assert (truth(node, Type.READY), reason(node, Type.READY)) == ("True", Reason.AGENT_REPORTING)

    async def test_maintenance_with_policy_stay_keeps_newcomers_away_only(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        await cloud.apply(given.stack("old", tenant.name))
        await cloud.ready("old", tenant.name)
        staying = {"maintenance": True, "drain": {"policy": "Stay"}}
        await cloud.admin.patch(NODE, Key("", agent.node), {"spec": staying})
        try:
            await cloud.apply(given.stack("new", tenant.name))
            stack = await cloud.says("new", tenant.name, Type.SCHEDULED, Reason.NO_NODE_FITS)
            assert "maintenance" in message(stack, Type.SCHEDULED)
            await cloud.apply(given.stack("old", tenant.name, expose=[{"port": 3000, "hostPort": 23044}]))
            await cloud.ready("old", tenant.name)
        finally:
            await cloud.admin.patch(NODE, Key("", agent.node), {"spec": {"maintenance": None, "drain": None}})
        await cloud.ready("new", tenant.name)

    async def test_a_node_with_guests_cannot_leave(self, cloud: Cloud, tenant: Tenant) -> None:
        await cloud.apply(given.node("node-5", disk="fast"))
        await cloud.registered("node-5")
        agent = PretendAgent(cloud.agent_kubeconfig("node-5"), "node-5")
        await agent.start()
        await cloud.apply(given.stack("shop", tenant.name, placement={"nodeSelector": {"disk": "fast"}}))
        stack = await cloud.ready("shop", tenant.name)
        assert stack.status.node == "node-5"
        await cloud.delete(NODE, "node-5")
        node = await cloud.wait(
            NODE, "node-5", "", lambda each: reason(each, Type.RECONCILING) == Reason.IN_USE
        )
        assert f"{tenant.name}/shop" in message(node, Type.RECONCILING)
        await cloud.delete(STACK, "shop", tenant.name)
        await cloud.gone(NODE, "node-5")
        await agent.stop()
