"""One guest from nothing to serving, and what changes cost.

Real LXC, btrfs, nftables, Docker and API server.
"""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import BY_EVENT, Node, document, eventually

NAME, NUMBER = "shop-00000010", 16


@pytest.fixture(scope="module")
def shop(installed: Node) -> Iterator[Node]:
    """A guest that serves; the tests of this file take turns with it and leave it serving."""
    installed.apply(installed.attachment())
    installed.apply(wanted(installed))
    installed.wait_ready(NAME)
    yield installed
    installed.delete(NAME)


def wanted(node: Node, **spec: object) -> dict[str, object]:
    return node.guest(NAME, NUMBER, **spec)


def settle(node: Node) -> int:
    """Ready as first wished for; the init's pid."""
    node.apply(wanted(node))
    node.wait_ready(NAME)
    pid = node.pid(NAME)
    assert pid is not None
    return pid


def test_a_guest_comes_up_in_three_writes_and_goes(node: Node) -> None:
    name = "first-00000011"
    before = node.metric('dsecos_api_writes_total{kind="Guest"')
    node.apply(node.guest(name, 17))
    found = node.wait_ready(name)
    assert node.http(17) == "hello"
    assert [(each["name"], each["health"]) for each in found["status"]["services"]] == [("web", "healthy")]
    assert node.metric('dsecos_api_writes_total{kind="Guest"') - before <= 3
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    node.delete(name)
    assert node.observe(name) is None
    assert not list((node.settings.pools / "default" / "guests").glob(f"{name}*"))
    assert not Path(f"/sys/class/net/{node.port(name)}").exists()


def test_the_guests_root_is_nobody_on_the_host(shop: Node) -> None:
    pid = shop.pid(NAME)
    base = shop.settings.guest_id_base + NUMBER * 65536
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(base), "65536"]


def test_a_restarted_agent_changes_nothing(shop: Node) -> None:
    pid = settle(shop)
    version = (shop.get("guest", NAME) or {})["metadata"]["resourceVersion"]
    for end in (shop.stop, shop.kill):
        end()
        begun = shop.restart()
        time.sleep(3)  # time to do something that it should not do
        assert shop.pid(NAME) == pid
        assert (shop.get("guest", NAME) or {})["metadata"]["resourceVersion"] == version
        assert "compose is up" not in shop.log_since(begun)


def test_an_edited_port_is_in_force_at_once_and_restarts_nothing(shop: Node) -> None:
    pid = settle(shop)
    network = wanted(shop)["spec"]["network"]  # type: ignore[index]
    closed = {**network, "ports": []}
    shop.apply(wanted(shop, network=closed))
    generation = (shop.get("guest", NAME) or {})["metadata"]["generation"]
    eventually(lambda: not reachable(shop), "the port is closed", BY_EVENT)
    begun = time.monotonic()
    shop.apply(wanted(shop))
    applied = time.monotonic()
    eventually(lambda: reachable(shop), "the port is open", BY_EVENT)
    took = time.monotonic() - applied
    print(f"port in force {took * 1000:.0f} ms after the apply ({(applied - begun) * 1000:.0f} ms)")
    assert generation
    assert shop.pid(NAME) == pid


def reachable(node: Node) -> bool:
    """Whether the host's own network lets a packet from another network namespace through is the firewall's
    test; here the rules' text tells.
    """
    rules = subprocess.run(
        ["nft", "list", "table", "inet", node.settings.instance], capture_output=True, text=True, check=True
    ).stdout
    return f"{node.net}.{NUMBER} . tcp . 3000" in rules.replace("tcp . 3000 :", "tcp . 3000")


def test_limits_change_live(shop: Node) -> None:
    pid = settle(shop)
    shop.apply(wanted(shop, resources={"cpu": "500m", "memory": "700Mi", "disk": "5Gi"}))
    eventually(lambda: str(700 << 20) in shop.run(NAME, "sh", "-c", MEMORY), "the limit is in force")
    shop.wait_ready(NAME)
    assert shop.pid(NAME) == pid
    assert settle(shop) == pid


MEMORY = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"


def test_another_document_is_brought_up_without_a_restart(shop: Node) -> None:
    pid = settle(shop)
    shop.apply(wanted(shop, compose={"document": document(greeting="good day"), "digest": "d2"}))
    eventually(lambda: shop.http(NUMBER) == "good day", "the new service answers")
    shop.wait_ready(NAME)
    assert (shop.get("guest", NAME) or {})["status"]["composeDigest"] == "d2"
    assert settle(shop) == pid


def test_stopped_and_running_again(shop: Node) -> None:
    settle(shop)
    shop.apply(wanted(shop, runPolicy="Stopped"))
    shop.wait_condition(NAME, "Ready", "True", "Stopped")
    assert shop.pid(NAME) is None
    settle(shop)
    assert shop.http(NUMBER) == "hello"


def test_suspended_and_running_again(shop: Node) -> None:
    pid = settle(shop)
    shop.apply(wanted(shop, runPolicy="Suspended"))
    shop.wait_condition(NAME, "Ready", "True", "Suspended")
    found = shop.observe(NAME)
    assert found is not None
    assert (found.state, found.init_pid) == ("Suspended", pid)
    assert settle(shop) == pid
    assert shop.http(NUMBER) == "hello"


def test_another_host_name_restarts(shop: Node) -> None:
    pid = settle(shop)
    shop.apply(wanted(shop, hostname="other"))
    eventually(lambda: shop.run(NAME, "hostname").strip() == "other", "renamed")
    shop.wait_ready(NAME)
    assert shop.pid(NAME) != pid
    settle(shop)


def test_paused_looks_and_does_nothing(shop: Node) -> None:
    pid = settle(shop)
    shop.apply(wanted(shop, hostname="other", paused=True))
    shop.wait_condition(NAME, "Ready", "False", "Paused")
    assert shop.run(NAME, "hostname").strip() == "shop"
    assert settle(shop) == pid
