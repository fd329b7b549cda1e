"""VMs on a simulated Proxmox VE, by the whole agent: made, booted, entered, driven, and gone again."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from dsecos_api.names import REGISTRY_HOST

from .harness import Object, document, eventually
from .machines import Machines
from .proxmox import ProxmoxNode, proxmox_node

NAME, NUMBER = "shop-00000080", 30


@pytest.fixture(scope="module")
def pve() -> Iterator[ProxmoxNode]:
    """A registered node and its zone."""
    with proxmox_node() as node:
        node.apply(node.attachment())
        yield node


@pytest.fixture(scope="module")
def inside(pve: ProxmoxNode, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """What is in the VMs."""
    made = Machines(tmp_path_factory.mktemp("machines"), pve.simulator.world)
    made.add_template()
    return made


def machine(pve: ProxmoxNode, **spec: Any) -> Object:
    return pve.guest(NAME, NUMBER, **{"type": "vm", **spec})


@pytest.fixture
def shop(pve: ProxmoxNode, inside: Machines) -> Iterator[int]:
    """A VM that serves; its id."""
    pve.apply(machine(pve))
    pve.wait_ready(NAME)
    yield pve.vmid(NAME)
    pve.delete(NAME)
    assert pve.guests_in_proxmox() == []


def starts(pve: ProxmoxNode, vmid: int) -> int:
    """Of the guest that has this id now."""
    types = [task.type for task in pve.simulator.issued(vmid=vmid)]
    gone = max((at for at, each in enumerate(types) if each == "qmdestroy"), default=-1)
    return types[gone + 1 :].count("qmstart")


def steps(pve: ProxmoxNode, count: int) -> list[tuple[str, str]]:
    found = (pve.get("guest", NAME) or {})["status"]["lifecycle"]["transitions"][:count]
    return [(each["to"], each["cause"]) for each in reversed(found)]


def test_the_node_tells_what_it_can_do_with_vms(pve: ProxmoxNode) -> None:
    found = (pve.get("node", pve.settings.node_name) or {})["status"]["capabilities"]
    assert {"vm/Exec", "vm/OwnDisks", "vm/Suspend"} <= set(found)
    assert "vm/HostMounts" not in found


def test_a_vm_waits_for_its_template_and_comes_up_as_one(pve: ProxmoxNode, inside: Machines) -> None:
    inside.remove_template()
    pve.apply(machine(pve))
    missing = pve.wait_condition(NAME, "GuestReady", "False", "GuestTemplateMissing")
    assert "no qemu templates on pve1 are named dsecos-debian-13-docker" in missing["message"]
    inside.add_template()
    found = pve.wait_ready(NAME)["status"]
    vmid = pve.vmid(NAME)
    assert pve.guests_in_proxmox() == [vmid]
    assert len(pve.simulator.issued("qmclone")) == 1
    assert [(each["name"], each["state"], each["health"]) for each in found["services"]] == [
        ("web", "running", "healthy")
    ]
    assert steps(pve, 3) == [("Creating", "Created"), ("Starting", "Created"), ("Running", "Created")]
    assert f'"tap{vmid}i0"' in pve.rules(), "its rules are about the port that Proxmox names"
    guest = pve.simulator.world.guest(vmid)
    assert guest is not None
    assert guest.config["net0"].split(",")[0] == f"virtio=02:00:00:00:00:{NUMBER:02X}"
    assert guest.config["ipconfig0"] == f"gw={pve.net}.1,ip={pve.net}.{NUMBER}/32"
    pve.delete(NAME)
    assert pve.guests_in_proxmox() == []
    eventually(lambda: f"tap{vmid}i0" not in pve.rules(), "its rules are gone", 10)
    assert not (pve.settings.run / "guests" / NAME).exists(), "nothing was shared"
    assert not (pve.settings.state / "guests" / f"{NAME}.json").exists()


def test_it_is_told_where_its_nodes_registry_is(pve: ProxmoxNode, inside: Machines, shop: int) -> None:
    port = pve.settings.registry_read_port
    etc = inside.etc(shop)
    assert f"{pve.net}.1 {REGISTRY_HOST}" in (etc / "hosts").read_text().splitlines()
    mirrors = json.loads((etc / "docker/daemon.json").read_text())
    assert mirrors == {"registry-mirrors": [f"https://{REGISTRY_HOST}:{port}"]}
    authority = pve.settings.trust / "ca.crt"
    authority.parent.mkdir(exist_ok=True)
    authority.write_text("an authority of another day\n")
    (etc / "hosts").write_text("127.0.0.1 as cloud-init writes it\n")
    pve.apply(machine(pve, restart="1"))
    told = etc / f"docker/certs.d/{REGISTRY_HOST}:{port}/ca.crt"
    eventually(lambda: told.exists() and told.read_text() == authority.read_text(), "told again", 60)
    assert REGISTRY_HOST in (etc / "hosts").read_text()
    pve.wait_ready(NAME)
    authority.unlink()


def test_a_vm_that_boots_slowly_is_waited_for_quietly(pve: ProxmoxNode, inside: Machines, shop: int) -> None:
    pve.apply(machine(pve, runPolicy="Stopped"))
    pve.wait_condition(NAME, "Ready", "True", "Stopped")
    inside.answer(shop, answers=False)
    pve.simulator.calls.clear()
    begun = pve.log.stat().st_size
    pve.apply(machine(pve))
    waiting = pve.wait_condition(NAME, "DockerReady", "False", "Progressing")
    assert waiting["message"] == "waits for the guest's dockerd"
    asked = "/nodes/{node}/qemu/{vmid}/agent/exec"
    eventually(lambda: pve.simulator.calls.to("POST", asked), "its agent was asked")
    inside.kill_docker(shop)
    inside.answer(shop, answers=True)
    inside.kill_docker(shop, dead=False)
    pve.wait_ready(NAME)
    assert inside.ups(shop) == 1, "its containers were there again, so nothing was brought up anew"
    log = pve.log_since(begun)
    assert "bring-up failed" not in log
    assert "action failed" not in log
    assert starts(pve, shop) == 2


def test_one_whose_agent_never_comes_is_told_as_such_and_can_be_stopped(
    pve: ProxmoxNode, inside: Machines, shop: int
) -> None:
    pve.stop()
    inside.answer(shop, answers=False)
    pve.start(DSECOS_DOCKER_TIME_LIMIT="2")
    found = pve.wait_condition(NAME, "DockerReady", "False", "DockerNotReady")
    assert "no command reaches the guest" in found["message"]
    assert (pve.condition(NAME, "GuestReady"))["status"] == "True"
    inside.answer(shop, answers=True)
    pve.wait_ready(NAME)
    inside.answer(shop, answers=False)
    pve.apply(machine(pve, runPolicy="Stopped"))
    pve.wait_condition(NAME, "Ready", "True", "Stopped")
    inside.answer(shop, answers=True)


def test_what_happens_to_its_services_is_seen(pve: ProxmoxNode, inside: Machines, shop: int) -> None:
    inside.tell(shop, "web", health="unhealthy")
    found = pve.wait_condition(NAME, "ServicesReady", "False", "Unhealthy")
    assert found["message"] == "unhealthy: web"
    inside.tell(shop, "web", health="healthy")
    pve.wait_ready(NAME)
    assert inside.ups(shop) == 1
    inside.tell(shop, "web", state="exited", code=1)
    eventually(lambda: inside.ups(shop) == 2, "brought up again")
    pve.wait_ready(NAME)
    inside.kill_docker(shop)
    pve.wait_condition(NAME, "DockerReady", "False")
    inside.kill_docker(shop, dead=False)
    pve.wait_ready(NAME)


def test_a_new_document_is_brought_up(pve: ProxmoxNode, inside: Machines, shop: int) -> None:
    both = document(greeting="grün, 5 €", db={"image": "postgres:17"})
    pve.apply(machine(pve, compose={"document": both, "digest": "d2"}))
    eventually(lambda: inside.ups(shop) == 2, "brought up")
    found = pve.wait_ready(NAME)["status"]
    assert [each["name"] for each in found["services"]] == ["db", "web"]
    assert starts(pve, shop) == 1, "and nothing was restarted"


def test_a_document_that_is_too_long_for_a_guest_agent_is_told(
    pve: ProxmoxNode, inside: Machines, shop: int
) -> None:
    noise = {"image": "node:20", "labels": {"noise": random.Random(0).randbytes(80_000).hex()}}
    pve.apply(machine(pve, compose={"document": document(noise=noise), "digest": "d2"}))
    found = pve.wait_condition(NAME, "Stalled", "True", "Unsupported")
    assert "takes 65536 characters of input" in found["message"]
    assert inside.ups(shop) == 1
    pve.apply(machine(pve))
    pve.wait_ready(NAME)


def test_orders(pve: ProxmoxNode, inside: Machines, shop: int) -> None:
    pve.apply(machine(pve, restart="1"))
    eventually(lambda: starts(pve, shop) == 2, "it was restarted")
    pve.wait_ready(NAME)
    assert steps(pve, 1) == [("Running", "RestartRequested")]
    pve.apply(machine(pve, restart="1", runPolicy="Suspended"))
    pve.wait_condition(NAME, "Ready", "True", "Suspended")
    pve.apply(machine(pve, restart="1"))
    pve.wait_ready(NAME)
    pve.apply(machine(pve, restart="1", runPolicy="Stopped"))
    pve.wait_condition(NAME, "Ready", "True", "Stopped")
    assert "services" not in (pve.get("guest", NAME) or {})["status"]
    pve.apply(machine(pve, restart="1"))
    pve.wait_ready(NAME)
    assert pve.guests_in_proxmox() == [shop]
    assert starts(pve, shop) == 3


def test_volumes_are_refused_with_what_to_do(pve: ProxmoxNode, inside: Machines) -> None:
    volumes = [{"name": "data", "size": "1Gi", "deletionPolicy": "Delete"}]
    pve.apply(machine(pve, volumes=volumes))
    found = pve.wait_condition(NAME, "Stalled", "True", "Unsupported")
    assert "named volumes of the compose document" in found["message"]
    assert pve.guests_in_proxmox() == []
    pve.delete(NAME)


def test_an_agent_that_is_killed_while_it_makes_a_vm_makes_one(pve: ProxmoxNode, inside: Machines) -> None:
    before = len(pve.simulator.issued("qmclone"))
    for point in ("guest-config", "guest-docker-ready"):
        pve.stop()
        pve.start(fault_point=point)
        pve.apply(machine(pve))
        eventually(pve.died, "killed", 60)
        pve.start()
        pve.wait_ready(NAME)
        assert len(pve.guests_in_proxmox()) == 1
        pve.delete(NAME)
        assert pve.guests_in_proxmox() == []
    assert len(pve.simulator.issued("qmclone")) == before + 2
