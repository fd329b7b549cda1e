"""NetworkZones are judged, and attached to the nodes that need them and to no others."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_api import Reason, Type
from dsecos_api.names import attachment_name
from dsecos_runtime import NETWORK_ZONE, ZONE_ATTACHMENT

from . import cloud as given
from .cloud import Cloud, message, reason, truth
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")
NODE_SPACE = "dsecos-node-node-1"


async def test_a_zone_without_guests_is_ready_and_has_a_gateway(cloud: Cloud, tenant: Tenant) -> None:
    zone = await cloud.wait(
        NETWORK_ZONE, "backend", tenant.name, lambda each: reason(each, Type.READY) == Reason.NO_GUESTS
    )
    assert zone.status.gateway == tenant.cidr.replace(".0/24", ".1")
    assert zone.status.addresses is not None
    assert (zone.status.addresses.allocated, zone.status.addresses.available) == (0, 253)


@pytest.mark.parametrize(
    ("cidr", "spec", "why", "told"),
    [
        ("10.250.0.0/30", {}, Reason.CIDR_INVALID, "/29"),
        ("10.0.0.0/8", {}, Reason.CIDR_INVALID, "/16"),
        ("127.0.0.0/24", {}, Reason.CIDR_INVALID, "special"),
        ("fd00:20::/64", {}, Reason.UNSUPPORTED, "name an IPv4 network as well"),
    ],
)
async def test_a_zone_that_cannot_be_had(
    cloud: Cloud, tenant: Tenant, cidr: str, spec: dict[str, Any], why: Reason, told: str
) -> None:
    await cloud.apply(given.zone("bad", tenant.name, cidr, **spec))
    zone = await cloud.wait(NETWORK_ZONE, "bad", tenant.name, lambda each: reason(each, Type.READY) == why)
    assert truth(zone, Type.STALLED) == "True"
    assert told in message(zone, Type.READY)
    await cloud.apply(given.stack("bad", tenant.name, zone="bad"))
    stack = await cloud.says("bad", tenant.name, Type.SCHEDULED, Reason.ZONE_NOT_READY)
    assert told in message(stack, Type.SCHEDULED)


async def test_of_two_zones_with_one_network_the_older_has_it(cloud: Cloud, tenant: Tenant) -> None:
    other = f"{tenant.name}-other"
    await cloud.wait(NETWORK_ZONE, "backend", tenant.name, lambda each: truth(each, Type.READY) == "True")
    await cloud.apply(given.namespace(other), given.zone("copy", other, tenant.cidr))
    zone = await cloud.wait(
        NETWORK_ZONE, "copy", other, lambda each: reason(each, Type.READY) == Reason.CIDR_OVERLAPS
    )
    assert f"{tenant.name}/backend" in message(zone, Type.READY)
    await cloud.delete(NETWORK_ZONE, "backend", tenant.name)
    await cloud.wait(NETWORK_ZONE, "copy", other, lambda each: truth(each, Type.READY) == "True")
    await cloud.delete(NETWORK_ZONE, "copy", other)


async def test_a_change_of_egress_reaches_the_node(cloud: Cloud, tenant: Tenant) -> None:
    await cloud.apply(given.stack("shop", tenant.name))
    await cloud.ready("shop", tenant.name)
    name = attachment_name(tenant.name, "backend")
    before = await cloud.admin.get(ZONE_ATTACHMENT, name, NODE_SPACE)
    assert before.spec.egress.mode == "Deny"
    await cloud.apply(given.zone("backend", tenant.name, tenant.cidr, egress={"mode": "NAT"}))
    await cloud.wait(ZONE_ATTACHMENT, name, NODE_SPACE, lambda each: each.spec.egress.mode == "NAT")
    await cloud.delete(ZONE_ATTACHMENT, name, NODE_SPACE)
    await cloud.wait(
        ZONE_ATTACHMENT, name, NODE_SPACE, lambda each: each.uid != before.uid and not each.deleting
    )
