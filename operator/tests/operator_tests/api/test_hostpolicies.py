"""Each node's own firewall and uplinks go from its Node into its namespace, one node after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from dsecos_api import HostPolicy, Reason, Type
from dsecos_api.hostpolicy import HOST_POLICY_NAME, HostPolicyStatus
from dsecos_api.names import node_namespace
from dsecos_runtime import HOST_POLICY, NODE, Cluster, Conditions

from . import cloud as given
from .cloud import Cloud, message, reason, truth

pytestmark = pytest.mark.asyncio(loop_scope="session")
FIREWALL: dict[str, Any] = {"managementNetworks": ["10.0.0.0/24"], "egress": [{"cidr": "10.0.0.0/8"}]}


def node(name: str, address: str, firewall: dict[str, Any] | None = None) -> dict[str, Any]:
    raw = given.node(name)
    raw["spec"] |= {"addresses": {"management": address}}
    raw["spec"] |= {} if firewall is None else {"firewall": firewall}
    return raw


@pytest_asyncio.fixture(loop_scope="session")
async def nodes(cloud: Cloud) -> AsyncIterator[tuple[str, str]]:
    names = ("walled-a", "walled-b")
    for number, name in enumerate(names):
        await cloud.apply(node(name, f"10.0.9.{number}"))
        await cloud.registered(name)
    yield names
    for name in names:
        await cloud.delete(NODE, name)
        await cloud.gone(NODE, name)


async def answer(cloud: Cloud, name: str, why: Reason, told: str = "") -> None:
    """What the node's agent says, with the agent's own credential."""
    agent = Cluster.connect(cloud.agent_kubeconfig(name), field_manager="agent")
    try:
        policy = await agent.get(HOST_POLICY, HOST_POLICY_NAME, node_namespace(name))
        conditions = Conditions(policy.status, policy.metadata.generation)
        conditions.ready(why, told) if why is Reason.IN_FORCE else conditions.stalled(why, told)
        status = HostPolicyStatus(
            observed_generation=policy.metadata.generation, conditions=conditions.build()
        )
        await agent.apply_status(HOST_POLICY, policy, status)
    finally:
        await agent.close()


async def test_a_firewall_reaches_the_nodes_in_turn_and_a_failure_stops_it(
    cloud: Cloud, nodes: tuple[str, str]
) -> None:
    first, second = nodes

    async def policy(name: str, walled: bool) -> HostPolicy:
        return await cloud.wait(
            HOST_POLICY,
            HOST_POLICY_NAME,
            node_namespace(name),
            lambda each: (each.spec.firewall is not None) == walled and "10.0.9.1" in each.spec.nodes,
        )

    async def says(name: str, why: Reason) -> Any:
        return await cloud.wait(NODE, name, "", lambda each: reason(each, Type.HOST_FIREWALL) == why)

    for name in nodes:
        assert {"10.0.9.0", "10.0.9.1"} <= set((await policy(name, walled=False)).spec.nodes)
        assert truth(await cloud.admin.get(NODE, name), Type.HOST_FIREWALL) == ""
    for number, name in enumerate(nodes):
        await cloud.apply(node(name, f"10.0.9.{number}", FIREWALL))
    wanted = (await policy(first, walled=True)).spec.firewall
    assert wanted is not None
    assert wanted.to_dict() == FIREWALL
    await says(first, Reason.PROGRESSING)
    assert f"after node {first}" in message(await says(second, Reason.PENDING), Type.HOST_FIREWALL)
    await policy(second, walled=False)

    await answer(cloud, first, Reason.ROLLED_BACK, "undone")
    assert message(await says(first, Reason.ROLLED_BACK), Type.HOST_FIREWALL) == "undone"
    assert f"node {first}" in message(await says(second, Reason.ROLLOUT_STOPPED), Type.HOST_FIREWALL)

    await cloud.apply(node(first, "10.0.9.0", {"managementNetworks": ["10.0.0.0/24"]}))
    await says(first, Reason.PROGRESSING)
    await answer(cloud, first, Reason.IN_FORCE)
    await says(first, Reason.IN_FORCE)
    await policy(second, walled=True)
    await says(second, Reason.PROGRESSING)
    await answer(cloud, second, Reason.IN_FORCE)
    found = await says(second, Reason.IN_FORCE)
    assert truth(found, Type.NODE_REGISTERED) == "True", "the other conditions stay"

    for number, name in enumerate(nodes):
        await cloud.apply(node(name, f"10.0.9.{number}"))
        await policy(name, walled=False)
        await cloud.wait(NODE, name, "", lambda each: truth(each, Type.HOST_FIREWALL) == "")


async def test_uplinks_go_the_same_way_and_have_a_condition_of_their_own(
    cloud: Cloud, nodes: tuple[str, str]
) -> None:
    name, _ = nodes
    uplinks = [{"interface": "eth0", "mtu": 9000, "addresses": ["10.0.9.0/24"], "gateway": "10.0.9.1"}]
    raw = node(name, "10.0.9.0")
    raw["spec"] |= {"uplinks": uplinks}
    await cloud.apply(raw)
    space = node_namespace(name)
    policy = await cloud.wait(HOST_POLICY, HOST_POLICY_NAME, space, lambda each: bool(each.spec.uplinks))
    assert policy.spec.to_dict()["uplinks"] == uplinks
    assert policy.spec.firewall is None
    await answer(cloud, name, Reason.UPLINK_INVALID, "spec.uplinks: eth0 does not exist")
    found = await cloud.wait(NODE, name, "", lambda each: reason(each, Type.UPLINKS) == Reason.UPLINK_INVALID)
    assert message(found, Type.UPLINKS) == "spec.uplinks: eth0 does not exist"
    assert truth(found, Type.HOST_FIREWALL) == "", "it has none"
    await cloud.apply(node(name, "10.0.9.0"))
    await cloud.wait(NODE, name, "", lambda each: truth(each, Type.UPLINKS) == "")
