"""The agent is killed after each of its actions, and what is left is made whole by the next one."""

import subprocess

import pytest

from tests.faults import alike

from .harness import Node, eventually

DEPLOYMENT = (
    "guest-volume",
    "guest-clone",
    "guest-bridge",
    "guest-firewall",
    "guest-prepare",
    "guest-config",
    "guest-start",
    "guest-attach",
    "guest-bring-up",
    "guest-docker-ready",
    "guest-compose-up",
    "guest-compose-recorded",
)
REMOVAL = (
    "guest-removal",
    "guest-stop",
    "guest-destroy",
    "guest-disk-remove",
    "guest-volume-remove",
    "guest-removed",
    "guest-forget",
    "guest-finalizer",
)


def wanted(node: Node, name: str, number: int) -> dict[str, object]:
    volumes = [{"name": "data", "size": "100Mi", "deletionPolicy": "Delete"}]
    return node.guest(name, number, volumes=volumes)


@pytest.fixture
def bare(node: Node) -> Node:
    """No zone yet, so that the bridge and the rules are made together with the guest."""
    node.stop()
    subprocess.run(["ip", "link", "del", node.bridge], check=False, capture_output=True)
    for family in ("inet", "bridge"):
        subprocess.run(
            ["nft", "delete", "table", family, node.settings.instance], check=False, capture_output=True
        )
    return node


@pytest.mark.parametrize("point", DEPLOYMENT)
def test_killed_while_a_guest_is_made(bare: Node, point: str) -> None:
    name = "killed-00000050"
    bare.apply(wanted(bare, name, 80))
    bare.start(fault_point=alike(point))
    eventually(bare.died, f"killed at {point}", 60)
    pid = bare.pid(name)
    bare.start()
    bare.wait_ready(name)
    assert bare.http(80) == "hello"
    if pid is not None:
        assert bare.pid(name) == pid, "a guest that runs is left alone"
    containers = bare.run(name, "docker", "ps", "-aq").split()
    assert len(containers) == 1, "nothing twice"


@pytest.mark.parametrize("point", REMOVAL)
def test_killed_while_a_guest_is_removed(node: Node, point: str) -> None:
    name = "killed-00000051"
    node.apply(wanted(node, name, 81))
    eventually(lambda: node.pid(name), "it runs")
    node.stop()
    node.start(fault_point=point)
    node.kubectl("delete", "guest", name, "--wait=false")
    eventually(node.died, f"killed at {point}", 60)
    node.start()
    eventually(lambda: node.get("guest", name) is None, "it is gone", 60)
    assert node.observe(name) is None
    pool = node.settings.pools / "default"
    assert not (pool / "guests" / name).exists()
    assert not (pool / "volumes/acme/killed").exists()
    assert not (node.settings.state / "guests" / f"{name}.json").exists()
