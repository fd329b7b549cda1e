"""One instance for all end-to-end tests; each test brings Stacks of its own and takes them away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.cloud import Cloud, Object, exclusive, kind, namespace, remove, secret

PASSWORD = 'it\'s a $secret with "quotes" & ${braces}'
"""A password with everything in it that shells, YAML and compose give a meaning to."""


@pytest.fixture(scope="session")
def running() -> Iterator[Cloud]:
    """A DsecOS that runs, without any Stack."""
    with exclusive():
        cloud = Cloud()
        remove(cloud)
        cloud.launch("up", "--without-sample")
        cloud.apply(namespace(cloud.namespace))
        egress = {"mode": "NAT"}
        cloud.apply(
            kind("NetworkZone", "backend", cloud.namespace, {"cidrs": [cloud.cidr], "egress": egress}),
            secret("shop-db", cloud.namespace, password=PASSWORD),
        )
        yield cloud
        remove(cloud)


@pytest.fixture
def cloud(running: Cloud) -> Iterator[Cloud]:
    """The instance; whatever Stacks a test leaves are taken away."""
    yield running
    running.kubectl("delete", "stacks", "--all", "-n", running.namespace, "--timeout=120s")


@pytest.fixture(scope="module")
def shop(running: Cloud) -> Iterator[Cloud]:
    """The instance with the Stack `shop` serving on port 23000 of this host."""
    running.apply(shop_stack(running))
    running.wait_ready("shop")
    yield running
    running.kubectl("delete", "stacks", "--all", "-n", running.namespace, "--timeout=120s")


def shop_stack(cloud: Cloud, **spec: Any) -> Object:
    """The Stack that the fixture `shop` deploys, with fields replaced."""
    wanted: dict[str, Any] = {
        "expose": [{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"], "hostPort": 23000}],
        "volumes": [{"name": "pgdata", "size": "2Gi", "deletionPolicy": "Retain"}],
    }
    return cloud.stack("shop", **{**wanted, **spec})


HELLO = {
    "services": {
        "web": {
            "image": "node:20",
            "command": ["node", "-e", "require('http').createServer((q,s)=>s.end('hello')).listen(3000)"],
            "init": True,
            "ports": ["3000:3000"],
        }
    }
}
"""The smallest application that answers."""


@pytest.fixture
def hello(cloud: Cloud) -> Callable[..., Object]:
    """Make the smallest Stack that answers, on a host port of its own."""

    def make(name: str, host_port: int = 23100, **spec: Any) -> Object:
        wanted: dict[str, Any] = {
            "expose": [{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"], "hostPort": host_port}],
            "resources": {"cpu": "500m", "memory": "512Mi", "disk": "2Gi"},
        }
        return cloud.compose_stack(name, HELLO, **{**wanted, **spec})

    return make
