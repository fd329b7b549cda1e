"""A change converges with the least disruption: what did not change does not restart."""

from __future__ import annotations

import pytest

from tests.e2e.cloud import Cloud, until
from tests.e2e.conftest import shop_stack


@pytest.fixture
def guest(shop: Cloud) -> str:
    """Name of the shop's guest, when the shop is as deployed."""
    shop.apply(shop_stack(shop))
    shop.wait_ready("shop")
    name: str = shop.guest("shop")["metadata"]["name"]
    return name


def test_a_port_opens_and_closes_and_nothing_restarts(shop: Cloud, guest: str) -> None:
    pid, services = shop.init_pid(guest), shop.services(guest)
    expose = [
        {"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"], "hostPort": 23001},
    ]
    shop.apply(shop_stack(shop, expose=expose))
    until(lambda: shop.http(23001)[0] == 200, 10)
    until(lambda: shop.http(23000, timeout=1)[0] == 0, 10)
    assert (shop.init_pid(guest), shop.services(guest)) == (pid, services)


def test_limits_change_while_it_runs(shop: Cloud, guest: str) -> None:
    pid, services = shop.init_pid(guest), shop.services(guest)
    shop.apply(shop_stack(shop, resources={"cpu": "1", "memory": "1536Mi", "disk": "5Gi"}))
    limit = ("memory.limit_in_bytes", "memory.max")

    def in_force() -> bool:
        return any(
            shop.lxc("cgroup", guest, name, check=False).strip() == str(1536 * 2**20) for name in limit
        )

    until(in_force, 20, every=0.2)
    shop.wait_ready("shop")
    assert (shop.init_pid(guest), shop.services(guest)) == (pid, services)


def test_a_value_changes_the_services_that_use_it_only(shop: Cloud, guest: str) -> None:
    pid, services = shop.init_pid(guest), shop.services(guest)
    template = shop_stack(shop)["spec"]["template"]
    values = {**template["values"], "greeting": "Good evening"}
    shop.apply(shop_stack(shop, template={**template, "values": values}))
    until(lambda: "Good evening" in shop.http(23000)[1], 60)
    shop.wait_ready("shop")
    now = shop.services(guest)
    assert shop.init_pid(guest) == pid
    assert now["web"] != services["web"]
    assert now["db"] == services["db"]


def test_an_image_that_does_not_exist_leaves_the_rest_running(shop: Cloud) -> None:
    compose = {
        "services": {
            "web": {"image": "node:20", "command": ["sleep", "infinity"], "init": True},
            "more": {"image": "registry.dsecos.internal:21005/no/such:1"},
        }
    }
    shop.apply(shop.compose_stack("typo", {"services": {"web": compose["services"]["web"]}}))
    shop.wait_ready("typo")
    guest = shop.guest("typo")["metadata"]["name"]
    before = shop.services(guest)
    shop.apply(shop.compose_stack("typo", compose))
    said = shop.wait_condition("typo", "ServicesReady", "ImageNotFound", 90)
    assert "no/such:1" in said["message"]
    assert shop.services(guest) == before
    shop.delete_stack("typo")
