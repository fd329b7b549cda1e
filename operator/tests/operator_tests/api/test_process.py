"""The operator as a process: killed at every action, stopped, started twice, without the API server."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from dsecos_api import Type
from dsecos_runtime import GUEST, LEASE, SECRET, STACK, ZONE_ATTACHMENT, Object

from . import cloud as given
from .agent import PretendAgent
from .cloud import Cloud, truth, until
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")
NODE_SPACE = "dsecos-node-node-1"


def shop(tenant: Tenant, name: str = "shop") -> Object:
    return given.stack(
        name,
        tenant.name,
        compose={
            "inline": "services: {web: {image: a, environment: {A: '${x}'}}}",
            "secretValues": [{"name": "x", "secretKeyRef": {"name": "s", "key": "k"}}],
        },
        volumes=[{"name": "data", "size": "1Gi"}],
    )


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def running_afterwards(cloud: Cloud, tenant: Tenant) -> AsyncIterator[None]:
    """Whatever a test does to the operator, it runs when the tenant is removed, and for the next test."""
    yield
    if not cloud.ended:
        cloud.stop()
    cloud.start()


def done(log: Path, since: int, *objects: str) -> list[str]:
    """The actions on objects of these names that the log tells of, each once, in order."""
    names: list[str] = []
    for line in log.read_text().splitlines()[since:]:
        if '"action done"' not in line:
            continue
        entry = json.loads(line)
        if entry["name"] in objects and entry["action"] not in names:
            names.append(entry["action"])
    return names


async def logged(cloud: Cloud, since: int, least: set[str]) -> list[str]:
    """All actions on `second` and its zone, as soon as the log has these: it comes after the API's answer."""

    async def look() -> list[str] | None:
        found = done(cloud.log, since, "second", "backend")
        return found if least <= set(found) else None

    return await until(look, what=f"{least} in the log")


async def killed_at(cloud: Cloud, point: str) -> None:
    """Replace the running operator by one that dies after an action."""
    cloud.stop()
    cloud.start(DSECOS_FAULT_POINT=point)


async def dead(cloud: Cloud, point: str) -> None:
    async def look() -> bool:
        return cloud.ended

    try:
        await until(look, 60)
    except AssertionError as error:
        raise AssertionError(f"never killed after {point}:\n{cloud.tail()}") from error


async def test_killed_after_each_action_nothing_is_lost_and_nothing_is_double(
    cloud: Cloud, tenant: Tenant, agent: PretendAgent
) -> None:
    async def deploy(name: str) -> str:
        await cloud.apply(shop(tenant, name))
        stack = await cloud.ready(name, tenant.name, 60)
        return stack.status.guest or ""

    async def remove(name: str) -> None:
        await cloud.delete(STACK, name, tenant.name)
        await cloud.gone(STACK, name, tenant.name, 60)

    await cloud.apply(given.secret("s", tenant.name, k="v"))
    await deploy("first")  # what is done once for the zone is done
    await remove("first")
    since = len(cloud.log.read_text().splitlines())
    await deploy("second")
    deploying = await logged(
        cloud, since, {"stack-finalizer-add", "stack-claim", "secret-apply", "guest-apply"}
    )
    since = len(cloud.log.read_text().splitlines())
    await remove("second")
    going = {"guest-delete", "secret-delete", "attachment-delete", "stack-finalizer-remove"}
    deleting = await logged(cloud, since, going)

    for number, point in enumerate(deploying):
        name = f"deployed-{number}"
        await killed_at(cloud, point)
        await cloud.apply(shop(tenant, name))
        await dead(cloud, point)
        cloud.start()
        guest = await deploy(name)
        assert [each.name for each in await cloud.admin.list(GUEST, NODE_SPACE)] == [guest], f"after {point}"
        await remove(name)

    for number, point in enumerate(deleting):
        name = f"deleted-{number}"
        await deploy(name)
        await killed_at(cloud, point)
        await cloud.delete(STACK, name, tenant.name)
        await dead(cloud, point)
        cloud.start()
        await remove(name)
        assert await cloud.admin.list(GUEST, NODE_SPACE) == []
        assert await cloud.admin.list(ZONE_ATTACHMENT, NODE_SPACE) == []
        left = [each["metadata"]["name"] for each in await cloud.admin.list(SECRET, NODE_SPACE)]
        assert left == ["agent-binding"], f"after {point}"


async def test_a_restart_changes_nothing(cloud: Cloud, tenant: Tenant, agent: PretendAgent) -> None:
    await cloud.apply(given.secret("s", tenant.name, k="v"), shop(tenant))
    stack = await cloud.ready("shop", tenant.name)
    before = await cloud.admin.get(GUEST, stack.status.guest or "", NODE_SPACE)
    assert cloud.stop() == 0
    since = len(cloud.log.read_text().splitlines())
    cloud.start()

    async def looked() -> bool:
        return "controllers run" in "\n".join(cloud.log.read_text().splitlines()[since:])

    await until(looked)
    await cloud.apply(given.stack("next", tenant.name))
    await cloud.ready("next", tenant.name)
    assert (await cloud.admin.get(GUEST, before.name, NODE_SPACE)).metadata.resource_version == (
        before.metadata.resource_version
    )
    found = await cloud.admin.get(STACK, "shop", tenant.name)
    assert found.metadata.resource_version == stack.metadata.resource_version


async def test_of_two_operators_one_acts(cloud: Cloud, tenant: Tenant, agent: PretendAgent) -> None:
    async def led() -> bool:
        lease = await cloud.admin.get(LEASE, "dsecos-operator", "dsecos-system")
        return bool(lease["spec"]["holderIdentity"])

    await until(led)
    second = Cloud.beside(cloud)
    second.start(DSECOS_OPERATOR_METRICS_PORT="0")
    await cloud.apply(given.stack("one", tenant.name))
    await cloud.ready("one", tenant.name)
    assert "controllers run" not in second.log.read_text()
    cloud.stop(signal.SIGKILL)
    await cloud.apply(given.stack("two", tenant.name))
    await cloud.ready("two", tenant.name, 60)
    assert second.stop() == 0


async def test_the_api_server_is_away_for_a_while(cloud: Cloud, tenant: Tenant, agent: PretendAgent) -> None:
    await cloud.apply(given.stack("shop", tenant.name))
    await cloud.ready("shop", tenant.name)
    cloud.plane.stop()
    cloud.plane.start()
    await cloud.apply(given.stack("after", tenant.name))
    await cloud.ready("after", tenant.name, 90)
    found = await cloud.admin.get(STACK, "shop", tenant.name)
    assert truth(found, Type.READY) == "True"
