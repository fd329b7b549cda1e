"""Guests on a simulated Proxmox VE, by the whole agent: from nothing to Ready and back to nothing."""

from collections.abc import Iterator

import pytest

from .harness import eventually
from .proxmox import ProxmoxNode, proxmox_node

NAME, NUMBER = "shop-00000070", 20


@pytest.fixture(scope="module")
def pve() -> Iterator[ProxmoxNode]:
    """A registered node and its zone."""
    with proxmox_node() as node:
        node.apply(node.attachment())
        yield node


def test_the_node_tells_its_engine(pve: ProxmoxNode) -> None:
    found = (pve.get("node", pve.settings.node_name) or {})["status"]
    assert "container/OwnDisks" in found["capabilities"]
    assert found["capabilities"] == sorted(found["capabilities"])
    assert found["nodeInfo"]["engine"].startswith("proxmox 8")
    assert found["engineCluster"] == "pve1,pve2", "all that its token may know of the cluster"


def test_a_guest_comes_up_and_goes_without_a_trace(pve: ProxmoxNode) -> None:
    before = pve.metric('dsecos_api_writes_total{kind="Guest"')
    pve.apply(pve.guest(NAME, NUMBER))
    found = pve.wait_ready(NAME)["status"]
    writes = pve.metric('dsecos_api_writes_total{kind="Guest"') - before
    print(f"writes from apply to Ready: {writes:.0f}")
    assert writes <= 3
    vmid = pve.vmid(NAME)
    assert pve.guests_in_proxmox() == [vmid]
    assert found["engineNode"] == "pve1"
    steps = [(each["to"], each["cause"]) for each in reversed(found["lifecycle"]["transitions"])]
    assert steps == [("Creating", "Created"), ("Starting", "Created"), ("Running", "Created")]
    assert f'"veth{vmid}i0"' in pve.rules(), "its rules are about the port that Proxmox names"
    pve.delete(NAME)
    assert pve.guests_in_proxmox() == []
    eventually(lambda: f"veth{vmid}i0" not in pve.rules(), "its rules are gone", 10)
    assert not (pve.settings.run / "guests" / NAME).exists()
    assert not (pve.settings.state / "guests" / f"{NAME}.json").exists()
    assert len(pve.simulator.issued("vzcreate")) == 1
    assert len(pve.simulator.issued("vzdestroy")) == 1


@pytest.fixture
def shop(pve: ProxmoxNode) -> Iterator[ProxmoxNode]:
    """A guest that serves."""
    pve.apply(pve.guest(NAME, NUMBER))
    pve.wait_ready(NAME)
    yield pve
    pve.simulator.world.node_up("pve1")
    pve.apply(pve.guest(NAME, NUMBER))
    pve.delete(NAME)


def lifecycle(node: ProxmoxNode, count: int) -> list[tuple[str, str]]:
    steps = ((node.get("guest", NAME) or {})["status"])["lifecycle"]["transitions"][:count]
    return [(each["to"], each["cause"]) for each in reversed(steps)]


def test_orders(shop: ProxmoxNode) -> None:
    vmid = shop.vmid(NAME)
    shop.apply(shop.guest(NAME, NUMBER, restart="1"))
    eventually(lambda: len(shop.simulator.issued("vzstart", vmid)) == 2, "it was restarted")
    shop.wait_ready(NAME)
    assert lifecycle(shop, 1) == [("Running", "RestartRequested")]
    shop.apply(shop.guest(NAME, NUMBER, restart="1", runPolicy="Suspended"))
    found = shop.wait_condition(NAME, "Stalled", "True", "Unsupported")
    assert "has no Suspend for type container" in found["message"]
    shop.apply(shop.guest(NAME, NUMBER, restart="1", runPolicy="Stopped"))
    shop.wait_condition(NAME, "Ready", "True", "Stopped")
    shop.apply(shop.guest(NAME, NUMBER, restart="1"))
    shop.wait_ready(NAME)
    assert shop.vmid(NAME) == vmid


def test_what_others_changed_is_put_right(shop: ProxmoxNode) -> None:
    vmid = shop.vmid(NAME)
    shop.simulator.world.change_config(vmid, memory="4096")
    shop.apply(shop.guest(NAME, NUMBER, driftPolicy="Repair"))
    eventually(lambda: config(shop, vmid)["memory"] == "1024", "put right")
    eventually(lambda: "Drifted" in shop.kubectl("get", "events"), "told", 20)


def config(node: ProxmoxNode, vmid: int) -> dict[str, str]:
    guest = node.simulator.world.guest(vmid)
    return {} if guest is None else dict(guest.config)


def test_a_guest_that_others_removed_is_made_again(shop: ProxmoxNode) -> None:
    before = len(shop.simulator.issued("vzcreate"))
    shop.simulator.world.destroy_guest(shop.vmid(NAME))
    shop.apply(shop.guest(NAME, NUMBER, driftPolicy="Repair"))
    eventually(lambda: len(shop.simulator.issued("vzcreate")) == before + 1, "made again")
    shop.wait_ready(NAME)
    assert ("Creating", "Outside") in lifecycle(shop, 3)


def test_a_disk_grows_and_never_shrinks(shop: ProxmoxNode) -> None:
    vmid = shop.vmid(NAME)
    large = {"cpu": "2", "memory": "1Gi", "disk": "6Gi"}
    shop.apply(shop.guest(NAME, NUMBER, resources=large))
    eventually(lambda: "size=6G" in config(shop, vmid)["rootfs"], "larger")
    shop.wait_ready(NAME)
    shop.apply(shop.guest(NAME, NUMBER, resources={**large, "disk": "4Gi"}))
    found = shop.wait_condition(NAME, "Stalled", "True", "Unsupported")
    assert "cannot be made smaller" in found["message"]
    shop.apply(shop.guest(NAME, NUMBER, resources=large))
    shop.wait_ready(NAME)
    shop.delete(NAME)


def test_a_volume_that_is_to_outlive_its_guest_is_refused(pve: ProxmoxNode) -> None:
    name = "keeps-00000071"
    volumes = [{"name": "data", "size": "1Gi", "deletionPolicy": "Retain"}]
    pve.apply(pve.guest(name, 21, volumes=volumes))
    found = pve.wait_condition(name, "Stalled", "True", "Unsupported")
    assert "set deletionPolicy: Delete" in found["message"]
    volumes[0]["deletionPolicy"] = "Delete"
    pve.apply(pve.guest(name, 21, volumes=volumes))
    pve.wait_ready(name)
    assert "mp=/srv/volumes/data" in config(pve, pve.vmid(name))["mp0"]
    pve.delete(name)


def test_an_agent_that_is_killed_while_it_makes_a_guest_makes_one(pve: ProxmoxNode) -> None:
    name, before = "killed-00000072", len(pve.simulator.issued("vzcreate"))
    pve.stop()
    pve.start(fault_point="guest-config")
    pve.apply(pve.guest(name, 22))
    eventually(pve.died, "killed", 60)
    pve.start()
    pve.wait_ready(name)
    assert len(pve.simulator.issued("vzcreate")) == before + 1
    pve.delete(name)
    assert pve.guests_in_proxmox() == []


def test_a_guest_that_has_moved_away_by_order_is_only_forgotten(pve: ProxmoxNode) -> None:
    name = "moves-00000073"
    pve.apply(pve.guest(name, 23))
    pve.wait_ready(name)
    vmid = pve.vmid(name)
    pve.simulator.world.add_bridge(pve.bridge, "pve2")
    pve.apply(pve.guest(name, 23, migrate={"node": "node-2", "engineNode": "pve2"}))
    eventually(
        lambda: ((pve.get("guest", name) or {}).get("status") or {}).get("engineNode") == "pve2", "moved", 60
    )
    guest = pve.simulator.world.guest(vmid)
    assert guest is not None
    assert (guest.node, guest.status) == ("pve2", "running")
    pve.delete(name)
    guest = pve.simulator.world.guest(vmid)
    assert guest is not None
    assert guest.status == "running"
    eventually(lambda: f"veth{vmid}i0" not in pve.rules(), "its rules are gone", 10)
    pve.simulator.world.destroy_guest(vmid)
