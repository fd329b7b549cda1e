"""A Stack from apply to Ready and back to nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from dsecos_api import Guest, Reason, Stack, Type
from dsecos_api.conditions import STACK_STEPS
from dsecos_api.names import OPERATOR_FINALIZER
from dsecos_operator.stacks.guests import id_base_of
from dsecos_runtime import (
    CONFIG_MAP,
    EVENT,
    GUEST,
    LICENSE,
    NAMESPACE,
    NETWORK_ZONE,
    SECRET,
    STACK,
    ZONE_ATTACHMENT,
    Key,
    Resource,
)

from . import cloud as given
from .agent import PretendAgent
from .cloud import Cloud, compose, message, network, reason, truth, until
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")
NODE_SPACE = "dsecos-node-node-1"


async def guest_of(cloud: Cloud, stack: Stack) -> Guest:
    return await cloud.admin.get(GUEST, stack.status.guest or "", NODE_SPACE)


async def left(cloud: Cloud, tenant: Tenant) -> list[str]:
    """What nodes still have of a tenant."""
    found: list[str] = []
    resources: tuple[Resource[Any], ...] = (GUEST, ZONE_ATTACHMENT, SECRET)
    for resource in resources:
        for each in await cloud.admin.list(resource, NODE_SPACE):
            raw: dict[str, Any] = resource.encode(each)
            labels = raw["metadata"].get("labels") or {}
            if tenant.name in (
                labels.get("dsecos.io/stack-namespace"),
                labels.get("dsecos.io/zone-namespace"),
            ):
                found.append(f"{resource.kind} {raw['metadata']['name']}")
    return found


async def events_of(cloud: Cloud, name: str, space: str) -> list[tuple[str, str]]:
    found = await cloud.admin.list(EVENT, space)
    return [(each["type"], each["reason"]) for each in found if each["regarding"]["name"] == name]


class TestToReady:
    async def test_a_stack_gets_a_guest_and_serves(self, cloud: Cloud, tenant: Tenant) -> None:
        await cloud.apply(
            given.stack(
                "shop", tenant.name, expose=[{"port": 3000, "from": ["0.0.0.0/0"], "hostPort": 23000}]
            )
        )
        stack = await cloud.ready("shop", tenant.name)
        assert reason(stack, Type.READY) == Reason.SERVING
        assert stack.status.node == "node-1"
        assert stack.status.address == tenant.cidr.replace(".0/24", ".2")
        assert stack.status.endpoints == ["http://192.0.2.1:23000"]
        assert [each.name for each in stack.status.services] == ["web"]
        assert [each.type for each in stack.status.conditions] == [*STACK_STEPS, Type.READY]
        assert reason(stack, Type.REGISTERED) == Reason.NOT_CONFIGURED
        guest = await guest_of(cloud, stack)
        assert guest.spec.stack_ref.uid == stack.uid
        assert (id_base_of(guest) or 0) >= cloud.settings.guest_id_base
        assert network(guest).gateway == tenant.cidr.replace(".0/24", ".1")
        assert ("Normal", "Serving") in await events_of(cloud, "shop", tenant.name)
        zone = await cloud.wait(
            NETWORK_ZONE, "backend", tenant.name, lambda each: reason(each, Type.READY) == Reason.IN_FORCE
        )
        assert zone.status.addresses is not None
        assert zone.status.addresses.allocated == 1

    async def test_it_takes_three_writes_on_each_object_and_then_none(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        await cloud.apply(given.stack("few", tenant.name))
        stack = await cloud.ready("few", tenant.name)
        writes = cloud.writes("few", tenant.name)
        assert len(writes) <= 3, writes
        assert len(cloud.writes(stack.status.guest or "", NODE_SPACE)) == 1
        # Whatever wakes the Stack again finds nothing to do.
        before = await _passes(cloud)
        await cloud.admin.patch(STACK, Key.of(stack), {"metadata": {"annotations": {"a": "b"}}})

        async def looked() -> bool:
            return await _passes(cloud) > before

        await until(looked)
        assert len(cloud.writes("few", tenant.name)) == len(writes)

    async def test_the_catalogs_template_with_its_secret(self, cloud: Cloud, tenant: Tenant) -> None:
        await cloud.apply(
            given.secret("shop-db", tenant.name, password="hunter2"),
            given.stack(
                "shop",
                tenant.name,
                template={
                    "name": "node-postgres",
                    "values": {"env": "prod"},
                    "secretValues": [
                        {"name": "postgresPassword", "secretKeyRef": {"name": "shop-db", "key": "password"}}
                    ],
                },
                volumes=[{"name": "pgdata", "size": "1Gi"}],
                deletionPolicy="Delete",
            ),
        )
        stack = await cloud.ready("shop", tenant.name)
        guest = await guest_of(cloud, stack)
        assert "hunter2" not in json.dumps(guest.to_dict())
        copied = await cloud.admin.get(SECRET, guest.name, NODE_SPACE)
        assert base64.b64decode(copied["data"]["postgresPassword"]) == b"hunter2"
        assert compose(guest).secret_name == guest.name

        await cloud.apply(given.secret("shop-db", tenant.name, password="correct horse"))
        changed = await cloud.wait(
            GUEST, guest.name, NODE_SPACE, lambda each: compose(each).digest != compose(guest).digest
        )
        copied = await cloud.admin.get(SECRET, guest.name, NODE_SPACE)
        assert base64.b64decode(copied["data"]["postgresPassword"]) == b"correct horse"
        assert compose(changed).document == compose(guest).document

        await cloud.delete(SECRET, guest.name, NODE_SPACE)
        await until(
            lambda: cloud.admin.find(SECRET, guest.name, NODE_SPACE), what="the guest's Secret comes back"
        )

    async def test_a_document_from_a_config_map_follows_it(self, cloud: Cloud, tenant: Tenant) -> None:
        def config(image: str) -> dict[str, Any]:
            return {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "app", "namespace": tenant.name},
                "data": {"compose.yaml": f"services: {{web: {{image: '{image}'}}}}"},
            }

        await cloud.apply(given.stack("conf", tenant.name, compose={"configMapRef": {"name": "app"}}))
        await cloud.says("conf", tenant.name, Type.RENDERED, Reason.COMPOSE_NOT_FOUND)
        await cloud.apply(config("node:20"))
        stack = await cloud.ready("conf", tenant.name)
        await cloud.apply(config("node:22"))
        await cloud.wait(
            GUEST, stack.status.guest or "", NODE_SPACE, lambda each: "node:22" in compose(each).document
        )


class TestChanges:
    async def test_a_port_changes_the_guests_ports_and_nothing_else(
        self, cloud: Cloud, tenant: Tenant
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        before = await guest_of(cloud, await cloud.ready("shop", tenant.name))
        await cloud.apply(
            given.stack(
                "shop", tenant.name, expose=[{"port": 3000, "from": ["10.0.0.0/8"], "hostPort": 23005}]
            )
        )
        after = await cloud.wait(GUEST, before.name, NODE_SPACE, lambda each: bool(network(each).ports))
        kept = network(after).model_copy(update={"ports": []})
        assert after.spec.model_copy(update={"network": kept}) == before.spec
        await cloud.ready("shop", tenant.name)

    async def test_a_change_that_cannot_be_had_leaves_what_runs(self, cloud: Cloud, tenant: Tenant) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        before = await guest_of(cloud, await cloud.ready("shop", tenant.name))
        await cloud.apply(given.stack("shop", tenant.name, inline="services: [broken"))
        stack = await cloud.says("shop", tenant.name, Type.RENDERED, Reason.COMPOSE_INVALID)
        assert truth(stack, Type.READY) == "False"
        assert truth(stack, Type.STALLED) == "True"
        assert "keeps running" in message(stack, Type.READY)
        big = {"cpu": "1", "memory": "1Ti", "disk": "1Gi"}
        await cloud.apply(given.stack("shop", tenant.name, resources=big))
        stack = await cloud.says("shop", tenant.name, Type.SCHEDULED, Reason.NO_NODE_FITS)
        assert stack.status.node == "node-1"
        after = await guest_of(cloud, stack)
        assert (after.metadata.resource_version, after.spec) == (
            before.metadata.resource_version,
            before.spec,
        )

    async def test_stopped_is_ready_when_it_is_stopped(self, cloud: Cloud, tenant: Tenant) -> None:
        await cloud.apply(given.stack("shop", tenant.name, runPolicy="Stopped"))
        stack = await cloud.ready("shop", tenant.name)
        assert reason(stack, Type.READY) == Reason.STOPPED

    async def test_a_paused_stack_tells_what_waits_and_reaches_the_agent(
        self, cloud: Cloud, tenant: Tenant
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        before = await guest_of(cloud, await cloud.ready("shop", tenant.name))
        other = "services: {web: {image: 'node:22'}}"
        await cloud.apply(given.stack("shop", tenant.name, inline=other, paused=True))
        stack = await cloud.says("shop", tenant.name, Type.READY, Reason.PAUSED)
        assert truth(stack, Type.READY) == "Unknown"
        guest = await guest_of(cloud, stack)
        assert guest.spec.paused
        assert guest.spec.compose == before.spec.compose
        await cloud.apply(given.stack("shop", tenant.name, inline=other))
        guest = await guest_of(cloud, await cloud.ready("shop", tenant.name))
        assert not guest.spec.paused
        assert "node:22" in compose(guest).document

    async def test_what_the_agent_says_is_mirrored(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        agent.refusal = (Reason.IMAGE_NOT_FOUND, "services.web.image: no such image")
        await cloud.apply(given.stack("typo", tenant.name))
        stack = await cloud.says("typo", tenant.name, Type.SERVICES_READY, Reason.IMAGE_NOT_FOUND)
        assert reason(stack, Type.READY) == Reason.IMAGE_NOT_FOUND
        assert truth(stack, Type.STALLED) == "True"
        agent.refusal = None
        await cloud.ready("typo", tenant.name)

    async def test_an_old_report_does_not_count(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        await cloud.ready("shop", tenant.name)
        agent.holding = True
        await cloud.apply(given.stack("shop", tenant.name, inline="services: {web: {image: 'node:22'}}"))
        stack = await cloud.wait(STACK, "shop", tenant.name, lambda each: truth(each, Type.READY) == "False")
        assert truth(stack, Type.RECONCILING) == "True"
        agent.holding = False
        await cloud.ready("shop", tenant.name)


class TestToNothing:
    async def test_everything_goes_and_the_finalizer_goes_last(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        await cloud.apply(
            given.secret("s", tenant.name, k="v"),
            given.stack(
                "shop",
                tenant.name,
                compose={
                    "inline": "services: {web: {image: a, environment: {A: '${x}'}}}",
                    "secretValues": [{"name": "x", "secretKeyRef": {"name": "s", "key": "k"}}],
                },
            ),
        )
        await cloud.ready("shop", tenant.name)
        assert len(await left(cloud, tenant)) == 3
        agent.holding = True
        await cloud.delete(STACK, "shop", tenant.name)
        stack = await cloud.says("shop", tenant.name, Type.READY, Reason.DELETING)
        assert OPERATOR_FINALIZER in stack.metadata.finalizers
        agent.holding = False
        await cloud.gone(STACK, "shop", tenant.name)
        assert await left(cloud, tenant) == []

    async def test_a_zone_stays_while_another_stack_uses_it(self, cloud: Cloud, tenant: Tenant) -> None:
        await cloud.apply(given.stack("one", tenant.name), given.stack("two", tenant.name))
        await cloud.ready("one", tenant.name)
        await cloud.ready("two", tenant.name)
        await cloud.delete(STACK, "one", tenant.name)
        await cloud.gone(STACK, "one", tenant.name)
        assert [each.partition(" ")[0] for each in await left(cloud, tenant)] == ["Guest", "ZoneAttachment"]
        await cloud.delete(NETWORK_ZONE, "backend", tenant.name)
        zone = await cloud.wait(
            NETWORK_ZONE, "backend", tenant.name, lambda each: reason(each, Type.READY) == Reason.IN_USE
        )
        assert "two" in message(zone, Type.READY)
        await cloud.delete(STACK, "two", tenant.name)
        await cloud.gone(NETWORK_ZONE, "backend", tenant.name)
        assert await left(cloud, tenant) == []

    async def test_deletion_policies_reach_the_guest_before_it_goes(
        self, cloud: Cloud, tenant: Tenant, agent: PretendAgent
    ) -> None:
        volumes = [
            {"name": "mine", "size": "1Gi"},
            {"name": "scratch", "size": "1Gi", "deletionPolicy": "Delete"},
        ]
        await cloud.apply(given.stack("shop", tenant.name, volumes=volumes))
        stack = await cloud.ready("shop", tenant.name)
        guest = await guest_of(cloud, stack)
        assert {each.name: each.deletion_policy for each in guest.spec.volumes} == {
            "mine": "Retain",
            "scratch": "Delete",
        }
        agent.holding = True
        await cloud.admin.patch(STACK, Key.of(stack), {"spec": {"paused": True, "deletionPolicy": "Retain"}})
        await cloud.delete(STACK, "shop", tenant.name)
        guest = await cloud.wait(GUEST, guest.name, NODE_SPACE, lambda each: each.deleting)
        assert guest.spec.deletion_policy == "Retain"
        remembered = await cloud.admin.get(CONFIG_MAP, "retained", NODE_SPACE)
        entry = json.loads(remembered["data"][f"{tenant.name}.shop"])
        assert entry == {"volumes": [{"name": "mine", "pool": None}], "guests": []}

    async def test_a_guest_whose_stack_was_forced_away_is_collected(
        self, cloud: Cloud, tenant: Tenant
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        stack = await cloud.ready("shop", tenant.name)
        await cloud.delete(STACK, "shop", tenant.name)
        await cloud.admin.remove_finalizer(STACK, stack, OPERATOR_FINALIZER)
        await cloud.gone(GUEST, stack.status.guest or "", NODE_SPACE)

        async def clean() -> bool:
            return await left(cloud, tenant) == []

        await until(clean)

    async def test_a_tenant_that_goes_takes_all_with_it(self, cloud: Cloud, tenant: Tenant) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        await cloud.ready("shop", tenant.name)
        await cloud.delete(NAMESPACE, tenant.name)
        await cloud.gone(NAMESPACE, tenant.name, seconds=60)
        assert await left(cloud, tenant) == []

    async def test_a_new_stack_of_the_same_name_has_a_guest_of_its_own(
        self, cloud: Cloud, tenant: Tenant
    ) -> None:
        await cloud.apply(given.stack("shop", tenant.name))
        first = await cloud.ready("shop", tenant.name)
        await cloud.delete(STACK, "shop", tenant.name)
        await cloud.gone(STACK, "shop", tenant.name)
        await cloud.apply(given.stack("shop", tenant.name))
        second = await cloud.ready("shop", tenant.name)
        assert second.status.guest != first.status.guest


class TestPlacing:
    async def test_two_stacks_that_claim_the_same_address(self, cloud: Cloud, tenant: Tenant) -> None:
        wanted = tenant.cidr.replace(".0/24", ".50")
        await cloud.apply(given.stack("one", tenant.name, address=wanted))
        await cloud.ready("one", tenant.name)
        await cloud.apply(given.stack("two", tenant.name, address=wanted))
        stack = await cloud.says("two", tenant.name, Type.SCHEDULED, Reason.ADDRESS_CONFLICT)
        assert f"{tenant.name}/one" in message(stack, Type.SCHEDULED)
        assert stack.status.node is None
        await cloud.delete(STACK, "one", tenant.name)
        two = await cloud.ready("two", tenant.name)
        assert two.status.address == wanted

    async def test_many_at_once_get_different_places(self, cloud: Cloud, tenant: Tenant) -> None:
        names = [f"s{number}" for number in range(8)]
        small = {"cpu": "100m", "memory": "64Mi", "disk": "1Gi"}
        for name in names:
            await cloud.apply(given.stack(name, tenant.name, resources=small))
        stacks = [await cloud.ready(name, tenant.name, 60) for name in names]
        guests = [await guest_of(cloud, each) for each in stacks]
        assert len({each.status.address for each in stacks}) == 8
        assert len({id_base_of(each) for each in guests}) == 8
        assert len({network(each).mac for each in guests}) == 8

    async def test_a_host_port_that_is_taken(self, cloud: Cloud, tenant: Tenant) -> None:
        expose = [{"port": 3000, "from": ["0.0.0.0/0"], "hostPort": 23010}]
        await cloud.apply(given.stack("one", tenant.name, expose=expose))
        await cloud.ready("one", tenant.name)
        await cloud.apply(given.stack("two", tenant.name, expose=expose))
        stack = await cloud.says("two", tenant.name, Type.SCHEDULED, Reason.PORT_CONFLICT)
        assert f"{tenant.name}/one" in message(stack, Type.SCHEDULED)
        await cloud.apply(given.stack("one", tenant.name))
        await cloud.ready("two", tenant.name)

    async def test_more_memory_than_the_node_has(self, cloud: Cloud, tenant: Tenant) -> None:
        huge = {"cpu": "1", "memory": "4Ti", "disk": "1Gi"}
        await cloud.apply(given.stack("huge", tenant.name, resources=huge))
        stack = await cloud.says("huge", tenant.name, Type.SCHEDULED, Reason.NO_NODE_FITS)
        assert "node-1: memory 4Ti is wanted" in message(stack, Type.SCHEDULED)
        assert truth(stack, Type.STALLED) == "True"
        assert await left(cloud, tenant) == []
        assert ("Warning", "NoNodeFits") in await events_of(cloud, "huge", tenant.name)


class TestNo:
    async def test_without_a_license_nothing_new_is_made_and_what_runs_goes_on(
        self, cloud: Cloud, tenant: Tenant
    ) -> None:
        await cloud.apply(given.stack("before", tenant.name))
        await cloud.ready("before", tenant.name)
        await cloud.delete(LICENSE, "dsecos")
        try:
            await cloud.apply(given.stack("after", tenant.name))
            stack = await cloud.says("after", tenant.name, Type.LICENSED, Reason.LICENSE_MISSING)
            assert truth(stack, Type.STALLED) == "True"
            assert stack.status.node is None
            await cloud.apply(given.stack("before", tenant.name, runPolicy="Stopped"))
            running = await cloud.ready("before", tenant.name)
            assert reason(running, Type.LICENSED) == Reason.LICENSE_MISSING
        finally:
            await cloud.apply(given.license_())
        await cloud.ready("after", tenant.name)

    @pytest.mark.parametrize(
        ("spec", "step", "why"),
        [
            ({"template": {"name": "wordpress"}}, Type.RENDERED, Reason.TEMPLATE_NOT_FOUND),
            ({"zone": "nowhere"}, Type.SCHEDULED, Reason.ZONE_NOT_FOUND),
            ({"type": "vm"}, Type.SCHEDULED, Reason.UNSUPPORTED),
            ({"address": "192.0.2.7"}, Type.SCHEDULED, Reason.ADDRESS_INVALID),
            ({"placement": {"nodeSelector": {"gpu": "yes"}}}, Type.SCHEDULED, Reason.NO_NODE_FITS),
            (
                {"volumes": [{"name": "a", "size": "1Gi", "pool": "tape"}]},
                Type.SCHEDULED,
                Reason.POOL_NOT_FOUND,
            ),
            ({"expose": [{"port": 22, "hostPort": 22}]}, Type.SCHEDULED, Reason.PORT_CONFLICT),
            (
                {
                    "compose": {
                        "inline": "services: {web: {image: a}}",
                        "secretValues": [{"name": "x", "secretKeyRef": {"name": "nowhere", "key": "k"}}],
                    }
                },
                Type.RENDERED,
                Reason.SECRET_NOT_FOUND,
            ),
        ],
    )
    async def test_what_cannot_be_had_is_told_and_leaves_nothing(
        self, cloud: Cloud, tenant: Tenant, spec: dict[str, Any], step: Type, why: Reason
    ) -> None:
        await cloud.apply(given.stack("bad", tenant.name, **spec))
        stack = await cloud.says("bad", tenant.name, step, why)
        assert truth(stack, step) == "False"
        assert truth(stack, Type.READY) == "False"
        assert reason(stack, Type.READY) == why
        assert stack.metadata.finalizers == []
        assert await left(cloud, tenant) == []
        assert ("Warning", why) in await events_of(cloud, "bad", tenant.name)


async def _passes(cloud: Cloud) -> float:
    """How many passes the operator's Stack controller has done."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{cloud.settings.operator_metrics_port}/metrics")).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith('dsecos_reconcile_total{controller="stack"')
    )
