"""What others break is mended, and costs no more than what was broken."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import BY_EVENT, Node, document, eventually

NAME, NUMBER = "heal-00000020", 32


@pytest.fixture(scope="module")
def heal(installed: Node) -> Iterator[Node]:
    """A guest that serves."""
    installed.apply(installed.attachment())
    installed.apply(installed.guest(NAME, NUMBER))
    installed.wait_ready(NAME)
    yield installed
    installed.delete(NAME)


@pytest.fixture(autouse=True)
def whole(heal: Node) -> None:
    """Each test begins with a guest that serves."""
    heal.wait_ready(NAME)


def sh(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


def seconds_until(look: object, what: str) -> float:
    """Seconds until an event has brought it about."""
    begun = time.monotonic()
    eventually(look, what, BY_EVENT)  # type: ignore[arg-type]
    return time.monotonic() - begun


def test_lxc_stop_by_hand(heal: Node) -> None:
    pid = heal.pid(NAME)
    sh("lxc-stop", "-P", str(heal.settings.lxc), "-n", NAME, "-k")
    took = seconds_until(lambda: heal.pid(NAME) not in (None, pid), "it runs again")
    assert heal.http(NUMBER) == "hello"
    print(f"started again after {took:.2f} s")


def test_deleted_tables_are_back_within_a_second(heal: Node) -> None:
    instance = heal.settings.instance
    for family in ("inet", "bridge"):
        sh("nft", "delete", "table", family, instance)
        took = seconds_until(lambda family=family: table(family, instance), f"table {family}")
        print(f"table {family} back after {took * 1000:.0f} ms")
    assert heal.http(NUMBER) == "hello"


def table(family: str, instance: str) -> bool:
    found = subprocess.run(["nft", "list", "table", family, instance], capture_output=True, check=False)
    return found.returncode == 0


def test_a_deleted_bridge_comes_back_without_a_restart(heal: Node) -> None:
    pid = heal.pid(NAME)
    sh("ip", "link", "del", heal.bridge)
    port = Path(f"/sys/class/net/{heal.port(NAME)}/master")
    took = seconds_until(lambda: port.exists() and port.resolve().name == heal.bridge, "it is on its bridge")
    assert heal.http(NUMBER) == "hello"
    assert heal.pid(NAME) == pid
    print(f"bridge back after {took * 1000:.0f} ms")


def test_a_lost_port_is_worth_a_restart(heal: Node) -> None:
    pid = heal.pid(NAME)
    sh("ip", "link", "del", heal.port(NAME))
    eventually(lambda: heal.pid(NAME) not in (None, pid), "it was restarted")
    assert heal.http(NUMBER) == "hello"


def test_a_killed_service_comes_back(heal: Node) -> None:
    for kill in (
        ["docker", "kill", "app-web-1"],
        ["docker", "rm", "-f", "app-web-1"],
        ["docker", "stop", "app-web-1"],
    ):
        heal.run(NAME, *kill)
        assert heal.http(NUMBER, 60) == "hello", kill
        heal.wait_ready(NAME)


def test_a_dead_docker_is_told_and_its_return_too(heal: Node) -> None:
    pid = heal.pid(NAME)
    heal.run(NAME, "systemctl", "stop", "docker.socket", "docker.service")
    heal.wait_condition(NAME, "DockerReady", "False", seconds=90)
    heal.run(NAME, "systemctl", "start", "docker.service")
    heal.wait_ready(NAME)
    assert heal.pid(NAME) == pid


def test_a_process_killed_at_the_memory_limit_is_told(heal: Node) -> None:
    eater = {
        "image": "node:20",
        # In one go: what grows slowly may thrash at the limit for minutes before the kernel kills.
        "command": ["node", "-e", "Buffer.alloc(2e9, 1)"],
        "restart": "always",
    }
    heal.apply(
        heal.guest(
            NAME,
            NUMBER,
            compose={"document": document(eater=eater), "digest": "eater"},
            resources={"cpu": "2", "memory": "400Mi", "disk": "4Gi"},
        )
    )
    heal.wait_condition(NAME, "ServicesReady", "False", "OutOfMemory", seconds=90)
    heal.apply(heal.guest(NAME, NUMBER))
    heal.wait_ready(NAME)


def test_an_api_server_that_is_away(heal: Node) -> None:
    """Running guests do not notice; what breaks meanwhile is mended; the agent finds the way back."""
    pid = heal.pid(NAME)
    heal.plane.stop()
    try:
        sh("ip", "link", "del", heal.bridge)
        sh("nft", "delete", "table", "inet", heal.settings.instance)
        eventually(lambda: table("inet", heal.settings.instance), "rules are back", 10)
        assert heal.http(NUMBER) == "hello"
        assert heal.pid(NAME) == pid
        sh("lxc-stop", "-P", str(heal.settings.lxc), "-n", NAME, "-k")
        assert heal.http(NUMBER, 60) == "hello", "started without being asked"
    finally:
        heal.plane.start()
    heal.kubectl("get", "guests")
    heal.apply(heal.guest(NAME, NUMBER, compose={"document": document(greeting="back"), "digest": "back"}))
    eventually(lambda: heal.http(NUMBER) == "back", "changes arrive again", 90)
    heal.apply(heal.guest(NAME, NUMBER))


def test_a_node_that_boots_without_an_api_server(heal: Node) -> None:
    """Everything of ours is gone from the kernel, as after a boot, and nobody answers:

    guests start all the same.
    """
    heal.stop()
    heal.plane.stop()
    try:
        sh("lxc-stop", "-P", str(heal.settings.lxc), "-n", NAME, "-k")
        sh("ip", "link", "del", heal.bridge)
        for family in ("inet", "bridge"):
            sh("nft", "delete", "table", family, heal.settings.instance)
        heal.start()
        eventually(lambda: heal.pid(NAME), "it runs", 30)
        assert table("inet", heal.settings.instance), "rules first"
        assert heal.http(NUMBER, 60) == "hello"
    finally:
        heal.plane.start()
    heal.wait_ready(NAME)
