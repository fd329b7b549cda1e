"""A Stack that adopts, with the real operator: no zone, no address, and its place is where its guest is."""

from __future__ import annotations

import pytest
from dsecos_api import Reason, Stack, Type
from dsecos_api.names import LABEL_ZONE
from dsecos_api.types import DeletionPolicy
from dsecos_runtime import CONFIG_MAP, GUEST, LICENSE, NETWORK_ZONE, NODE, STACK, ZONE_ATTACHMENT, Key

from . import cloud as given
from .agent import PretendAgent
from .cloud import Cloud, message, reason, truth
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")
NODE_SPACE = "dsecos-node-node-1"


async def adopted(cloud: Cloud, tenant: Tenant, name: str = "old", engine_id: str = "105") -> Stack:
    """Apply it and wait until it is taken over."""
    await cloud.apply(given.adoption(name, tenant.name, "node-1", engine_id))
    stack: Stack = await cloud.ready(name, tenant.name)
    return stack


async def test_it_is_ready_without_zone_address_or_document(cloud: Cloud, tenant: Tenant) -> None:
    await cloud.delete(NETWORK_ZONE, "backend", tenant.name)
    await cloud.gone(NETWORK_ZONE, "backend", tenant.name)
    stack = await adopted(cloud, tenant)
    assert reason(stack, Type.READY) == reason(stack, Type.RENDERED) == Reason.ADOPTED
    status = stack.status
    assert (status.node, status.address, status.endpoints) == ("node-1", None, [])
    guest = await cloud.admin.get(GUEST, status.guest or "", NODE_SPACE)
    assert (guest.spec.adopt, guest.spec.deletion_policy) == ("105", DeletionPolicy.ORPHAN)
    assert LABEL_ZONE not in guest.metadata.labels
    attachments = await cloud.admin.list(ZONE_ATTACHMENT, NODE_SPACE)
    assert [each for each in attachments if each.spec.zone_ref.namespace == tenant.name] == []
    assert len(cloud.writes("old", tenant.name)) <= 3
    assert len(cloud.writes(guest.name, NODE_SPACE)) == 1


async def test_it_is_changed_and_given_back_and_nothing_is_remembered(cloud: Cloud, tenant: Tenant) -> None:
    stack = await adopted(cloud, tenant)
    await cloud.admin.patch(STACK, Key.of(stack), {"spec": {"runPolicy": "Stopped"}})
    await cloud.says("old", tenant.name, Type.READY, Reason.STOPPED)
    await cloud.delete(STACK, "old", tenant.name)
    await cloud.gone(STACK, "old", tenant.name)
    assert await cloud.admin.find(GUEST, stack.status.guest or "", NODE_SPACE) is None
    retained = await cloud.admin.find(CONFIG_MAP, "retained", NODE_SPACE)
    assert f"{tenant.name}.old" not in ((retained or {}).get("data") or {})


async def test_one_that_waits_for_its_node_is_woken_by_it(
    cloud: Cloud, tenant: Tenant, agent: PretendAgent
) -> None:
    able = agent.capabilities
    agent.capabilities = ["container/Exec"]
    try:
        await agent.report(await cloud.admin.get(NODE, "node-1"))
        await cloud.wait(NODE, "node-1", "", lambda each: each.status.capabilities == agent.capabilities)
        await cloud.apply(given.adoption("old", tenant.name, "node-1", "105"))
        stack = await cloud.says("old", tenant.name, Type.SCHEDULED, Reason.UNSUPPORTED)
        assert "engine lxc cannot take over guests of type container" in message(stack, Type.SCHEDULED)
        assert truth(stack, Type.STALLED) == "True"
    finally:
        agent.capabilities = able
        await agent.report(await cloud.admin.get(NODE, "node-1"))
    await cloud.ready("old", tenant.name)


async def test_without_a_license_nothing_is_taken_over(cloud: Cloud, tenant: Tenant) -> None:
    await cloud.delete(LICENSE, "dsecos")
    try:
        await cloud.apply(given.adoption("old", tenant.name, "node-1", "105"))
        stack = await cloud.says("old", tenant.name, Type.LICENSED, Reason.LICENSE_MISSING)
        assert (truth(stack, Type.STALLED), stack.status.node) == ("True", None)
    finally:
        await cloud.apply(given.license_())
    await cloud.ready("old", tenant.name)


async def test_two_of_a_namespace_and_one_in_a_zone_stand_beside_each_other(
    cloud: Cloud, tenant: Tenant
) -> None:
    await adopted(cloud, tenant, "one", "105")
    await adopted(cloud, tenant, "two", "106")
    await cloud.apply(given.stack("shop", tenant.name))
    shop = await cloud.ready("shop", tenant.name)
    assert shop.status.address == tenant.cidr.replace(".0/24", ".2")
    zone = await cloud.wait(
        NETWORK_ZONE, "backend", tenant.name, lambda each: reason(each, Type.READY) == Reason.IN_FORCE
    )
    assert zone.status.addresses is not None
    assert zone.status.addresses.allocated == 1
    await cloud.delete(STACK, "shop", tenant.name)
    await cloud.gone(STACK, "shop", tenant.name)
    await cloud.wait(NETWORK_ZONE, "backend", tenant.name, lambda each: each.status.nodes == [])
