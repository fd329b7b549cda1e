"""One control plane, operator, node and pretend agent for this folder; a tenant for each test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from dsecos_control_plane.testing import ControlPlane
from dsecos_runtime import NAMESPACE, NETWORK_ZONE, STACK

from . import cloud as given
from .agent import PretendAgent
from .cloud import Cloud


@pytest.fixture(scope="package")
def plane() -> Iterator[ControlPlane]:
    """A running control plane."""
    with ControlPlane() as plane:
        yield plane


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def cloud(plane: ControlPlane, compose_binary: Path) -> AsyncIterator[Cloud]:
    """The control plane with the kinds, the operator's roles, a License, and the running operator."""
    cloud = Cloud(plane, compose_binary)
    await cloud.apply(given.license_())
    cloud.start()
    yield cloud
    if not cloud.ended:
        cloud.stop()
    await cloud.admin.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def agent(cloud: Cloud) -> AsyncIterator[PretendAgent]:
    """Node node-1 and its pretend agent."""
    await cloud.apply(given.node("node-1", **{"dsecos.io/role": "compute"}))
    await cloud.registered("node-1")
    agent = PretendAgent(cloud.agent_kubeconfig("node-1"), "node-1")
    await agent.start()
    yield agent
    await agent.stop()


@dataclass(frozen=True)
class Tenant:
    """A namespace of a test's own with zone `backend`."""

    name: str
    cidr: str


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(cloud: Cloud, agent: PretendAgent) -> AsyncIterator[Tenant]:
    """Removed with all its Stacks; that this works is part of each test."""
    name = f"tenant-{secrets.token_hex(4)}"
    third = secrets.randbelow(65536)
    cidr = f"10.{third // 256}.{third % 256}.0/24"
    agent.holding, agent.refusal = False, None
    await cloud.apply(given.namespace(name), given.zone("backend", name, cidr))
    yield Tenant(name, cidr)
    agent.holding, agent.refusal = False, None
    for stack in await cloud.admin.list(STACK, name):
        await cloud.delete(STACK, stack.name, name)
    for stack in await cloud.admin.list(STACK, name):
        await cloud.gone(STACK, stack.name, name)
    for zone in await cloud.admin.list(NETWORK_ZONE, name):
        await cloud.delete(NETWORK_ZONE, zone.name, name)
        await cloud.gone(NETWORK_ZONE, zone.name, name)
    await cloud.delete(NAMESPACE, name)
