"""What breaks under a running application comes back by itself, and what did not break is not touched."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.e2e.cloud import Cloud, until
from tests.e2e.conftest import shop_stack

PORT = 23000


@pytest.fixture
def guest(shop: Cloud) -> str:
    """Name of the shop's guest, when the shop serves."""
    shop.apply(shop_stack(shop))
    shop.wait_ready("shop")
    until(lambda: shop.http(PORT)[0] == 200, 30)
    name: str = shop.guest("shop")["metadata"]["name"]
    return name


def test_a_stopped_container_is_started_again(shop: Cloud, guest: str) -> None:
    pid = shop.init_pid(guest)
    shop.lxc("stop", guest, "-k")
    until(lambda: shop.init_pid(guest) not in {-1, pid}, 20)
    until(lambda: shop.http(PORT)[0] == 200, 60)
    shop.wait_ready("shop")
    assert shop.containers() == {guest}


def test_a_deleted_table_is_restored(shop: Cloud, guest: str) -> None:
    pid, services = shop.init_pid(guest), shop.services(guest)
    for family in ("inet", "bridge"):
        table = f"{family} {shop.instance}"
        assert table in shop.nft_tables()
        subprocess.run(["nft", "delete", "table", *table.split()], check=True)
        until(lambda table=table: table in shop.nft_tables(), 5, every=0.01)
    until(lambda: shop.http(PORT)[0] == 200, 5)
    assert (shop.init_pid(guest), shop.services(guest)) == (pid, services)


def test_a_rule_slipped_in_is_thrown_out(shop: Cloud, guest: str) -> None:
    def text() -> str:
        return subprocess.run(
            ["nft", "-s", "list", "table", "inet", shop.instance], capture_output=True, text=True, check=True
        ).stdout

    before = text()
    chain = next(line.split()[1] for line in before.splitlines() if line.strip().startswith("chain "))
    subprocess.run(["nft", "insert", "rule", "inet", shop.instance, chain, "accept"], check=True)
    until(lambda: text() == before, 5)


def test_a_killed_service_runs_again(shop: Cloud, guest: str) -> None:
    db = shop.services(guest)["db"]
    shop.inside(guest, "docker", "rm", "-f", shop.services(guest)["web"])
    until(lambda: shop.http(PORT)[0] == 200, 60)
    shop.wait_ready("shop")
    assert shop.services(guest)["db"] == db


def test_a_deleted_bridge_comes_back_and_the_guest_is_on_it(shop: Cloud, guest: str) -> None:
    pid, services = shop.init_pid(guest), shop.services(guest)
    bridge = next(a for a in shop.find("zoneattachments"))["status"]["bridge"]
    subprocess.run(["ip", "link", "delete", bridge], check=True)
    until(lambda: shop.http(PORT, timeout=1)[0] == 200, 20)
    assert (shop.init_pid(guest), shop.services(guest)) == (pid, services)


@pytest.mark.parametrize("part", ["agent", "operator"])
def test_a_killed_controller_comes_back_and_touches_nothing(shop: Cloud, guest: str, part: str) -> None:
    pid, services = shop.init_pid(guest), shop.services(guest)
    version = shop.get("guest", guest, "dsecos-node-node-1")["metadata"]["resourceVersion"]
    old = shop.process(part)
    os.kill(old, signal.SIGKILL)
    until(lambda: shop.process(part) not in {0, old}, 30)
    shop.apply(shop_stack(shop, placement={"nodeSelector": {}}))
    shop.wait_ready("shop")
    assert shop.http(PORT)[0] == 200
    assert (shop.init_pid(guest), shop.services(guest)) == (pid, services)
    if part == "agent":
        assert shop.get("guest", guest, "dsecos-node-node-1")["metadata"]["resourceVersion"] == version


def test_a_minute_without_the_api_server_is_not_noticed_by_the_application(shop: Cloud, guest: str) -> None:
    pid, services = shop.init_pid(guest), shop.services(guest)
    server, agent, operator = shop.process("kube-apiserver"), shop.process("agent"), shop.process("operator")
    os.kill(server, signal.SIGSTOP)
    try:
        end = time.monotonic() + 60
        subprocess.run(["nft", "delete", "table", "inet", shop.instance], check=True)
        until(lambda: f"inet {shop.instance}" in shop.nft_tables(), 5)
        while time.monotonic() < end:
            assert shop.http(PORT)[0] == 200
            time.sleep(1)
    finally:
        os.kill(server, signal.SIGCONT)
    assert shop.process("kube-apiserver") == server
    until(lambda: shop.kubectl("get", "--raw", "/readyz", check=False).returncode == 0, 60)
    expose = [{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"], "hostPort": 23002}]
    shop.apply(shop_stack(shop, expose=expose))
    until(lambda: shop.http(23002)[0] == 200, 120, every=0.5)
    assert (shop.init_pid(guest), shop.services(guest)) == (pid, services)
    del agent, operator
