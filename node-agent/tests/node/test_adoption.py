"""Guests that somebody else has made, on a simulated Proxmox VE, by the whole agent: taken over, driven and
given back.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector
from dsecos_api.quantity import to_bytes

from .harness import Object, eventually
from .proxmox import STORAGE, ProxmoxNode, proxmox_node

NAME, NUMBER = "wiki-00000080", 30
VMID = 105
"""Outside of our range."""
OWN = ("image", "idMap", "network", "volumes", "compose")
THEIRS = {
    "tags": "ann",
    "description": "Ask Ann.",
    "memory": "2048",
    "cores": "2",
    "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:F6:E6:00,ip=dhcp,type=veth",
}


@pytest.fixture(scope="module")
def pve() -> Iterator[ProxmoxNode]:
    """A registered node."""
    with proxmox_node() as node:
        yield node


@pytest.fixture(autouse=True)
def theirs(pve: ProxmoxNode) -> Iterator[None]:
    """A container of Ann's, which runs."""
    make(pve)
    yield
    if pve.died():
        pve.start()
    pve.delete(NAME)
    pve.simulator.world.destroy_guest(VMID)


def make(pve: ProxmoxNode, kind: str = "lxc", **config: str) -> None:
    pve.simulator.world.add_guest(
        VMID,
        "pve1",
        "qemu" if kind == "qemu" else "lxc",
        status="running",
        storage=STORAGE,
        **{**THEIRS, **({"hostname": "wiki"} if kind == "lxc" else {"name": "wiki"}), **config},
    )


def adopting(pve: ProxmoxNode, **spec: Any) -> Object:
    found = pve.guest(NAME, NUMBER, deletionPolicy="Orphan")
    kept = {key: value for key, value in found["spec"].items() if key not in OWN}
    return {**found, "spec": {**kept, "adopt": f"{VMID}", **spec}}


def status(pve: ProxmoxNode) -> dict[str, Any]:
    return dict((pve.get("guest", NAME) or {}).get("status", {}))


def life(pve: ProxmoxNode) -> list[tuple[str, str]]:
    return [(each["to"], each["cause"]) for each in reversed(status(pve)["lifecycle"]["transitions"])]


def seen(pve: ProxmoxNode) -> tuple[str, dict[str, str]]:
    """State and options of the guest in Proxmox, without those that are limits."""
    guest = pve.simulator.world.guest(VMID)
    assert guest is not None
    limits = ("memory", "cores", "cpulimit", "swap", "onboot", "startup", "rootfs", "scsi0")
    # Proxmox ends a description with a line's end.
    kept = {key: text.strip() for key, text in guest.config.items() if key not in limits}
    return str(guest.status), kept


def memory(pve: ProxmoxNode) -> str:
    guest = pve.simulator.world.guest(VMID)
    return "" if guest is None else guest.config["memory"]


def interruptions(pve: ProxmoxNode) -> int:
    """What was done to it so far that anybody in it would notice."""
    return sum(len(pve.simulator.issued(each, VMID)) for each in ("vzstart", "vzstop", "vzshutdown"))


def test_one_that_runs_is_taken_over_driven_and_given_back(pve: ProxmoxNode) -> None:
    before, writes = seen(pve), pve.metric('dsecos_api_writes_total{kind="Guest"')
    noticed = interruptions(pve)
    pve.apply(adopting(pve))
    found = pve.wait_ready(NAME)["status"]
    writes = pve.metric('dsecos_api_writes_total{kind="Guest"') - writes
    print(f"writes from apply to Ready: {writes:.0f}")
    assert writes <= 3
    assert (found["engineId"], found["lifecycle"]["state"]) == (f"{VMID}", "Running")
    assert life(pve) == [("Creating", "Adopted"), ("Running", "Adopted")]
    told = {each["type"]: each["reason"] for each in found["conditions"]}
    assert told["NetworkReady"] == told["ServicesReady"] == "Adopted"
    assert NAME not in pve.rules()
    assert to_bytes(f"{memory(pve)}Mi") == to_bytes("1Gi"), "its limit is ours now"
    assert interruptions(pve) == noticed
    pve.apply(adopting(pve, runPolicy="Stopped"))
    pve.wait_condition(NAME, "Ready", "True", "Stopped")
    pve.apply(adopting(pve, restart="1"))
    pve.wait_ready(NAME)
    pve.delete(NAME)
    assert seen(pve) == before, "nothing of ours stays on it, and it runs"
    assert not (pve.settings.state / "guests" / f"{NAME}.json").exists()


def test_killed_while_it_is_taken_over(pve: ProxmoxNode) -> None:
    noticed = interruptions(pve)
    pve.stop()
    pve.start(fault_point="guest-adopt")
    pve.apply(adopting(pve))
    eventually(pve.died, "killed", 60)
    pve.start()
    pve.wait_ready(NAME)
    assert life(pve) == [("Creating", "Adopted"), ("Running", "Adopted")]
    assert interruptions(pve) == noticed


def killed_while_it_is_removed(pve: ProxmoxNode, point: str, **spec: Any) -> None:
    """The agent has ended at `point` of the removal of one that was taken over."""
    pve.apply(adopting(pve, **spec))
    pve.wait_ready(NAME)
    pve.stop()
    pve.start(fault_point=point)
    pve.kubectl("delete", "guest", NAME, "--wait=false")
    eventually(pve.died, f"killed at {point}", 60)


def let_go_by_hand(pve: ProxmoxNode) -> None:
    """Somebody takes the finalizers away, and the object is gone."""
    pve.kubectl("patch", "guest", NAME, "--type=merge", "-p", '{"metadata": {"finalizers": []}}')


@pytest.mark.parametrize("point", ["guest-removal", "guest-release", "guest-removed", "guest-forget"])
def test_killed_while_it_is_given_back(pve: ProxmoxNode, point: str) -> None:
    before = seen(pve)
    killed_while_it_is_removed(pve, point)
    pve.start()
    eventually(lambda: pve.get("guest", NAME) is None, "it is gone", 60)
    assert seen(pve) == before


def test_a_removal_ends_though_its_object_is_gone(pve: ProxmoxNode) -> None:
    before = seen(pve)
    killed_while_it_is_removed(pve, "guest-removal", deletionPolicy="Retain")
    let_go_by_hand(pve)
    pve.start()
    eventually(lambda: seen(pve) == ("stopped", before[1]), "stopped and given back", 60)


@pytest.mark.parametrize("point", ["guest-removal", "guest-release", "guest-removed"])
def test_one_that_is_made_again_before_its_removal_ended_is_taken_over_anew(
    pve: ProxmoxNode, point: str
) -> None:
    before = seen(pve)
    killed_while_it_is_removed(pve, point)
    let_go_by_hand(pve)
    pve.apply(adopting(pve))
    pve.start()
    pve.wait_ready(NAME)
    pve.delete(NAME)
    assert seen(pve) == before


def test_who_has_the_id_of_one_that_was_removed_is_another_guest(pve: ProxmoxNode) -> None:
    pve.apply(adopting(pve))
    pve.wait_ready(NAME)
    pve.simulator.world.destroy_guest(VMID)
    make(pve, tags="bob")
    before = seen(pve)
    pve.apply(adopting(pve, driftPolicy="Repair"))
    found = pve.wait_condition(NAME, "Stalled", "True", "Drifted")
    assert "what has that id now may be another guest and is left alone" in found["message"]
    assert status(pve)["drift"] == ["guest"]
    # The record is lost as well: the object knows.
    pve.kill()
    (pve.settings.state / "guests" / f"{NAME}.json").unlink()
    pve.restart()
    pve.apply(adopting(pve, driftPolicy="Report"))
    pve.wait_condition(NAME, "Stalled", "True", "Drifted")
    assert seen(pve) == before
    pve.delete(NAME)
    assert seen(pve) == before


def test_an_id_that_nobody_has_is_told_and_taken_over_when_somebody_has_it(pve: ProxmoxNode) -> None:
    pve.simulator.world.destroy_guest(VMID)
    pve.apply(adopting(pve))
    found = pve.wait_condition(NAME, "Stalled", "True", "Failed")
    assert f"{VMID}" in found["message"]
    make(pve)
    pve.wait_ready(NAME)


def test_deletion_policy_delete_destroys_it(pve: ProxmoxNode) -> None:
    pve.apply(adopting(pve, deletionPolicy="Delete"))
    pve.wait_ready(NAME)
    pve.delete(NAME)
    assert pve.simulator.world.guest(VMID) is None


def test_a_vm_whose_limits_differ_is_restarted_for_them(pve: ProxmoxNode) -> None:
    pve.simulator.world.destroy_guest(VMID)
    make(pve, "qemu", net0="virtio=BC:24:11:F6:E6:00,bridge=vmbr0")
    pve.apply(adopting(pve, type="vm"))
    pve.wait_ready(NAME)
    assert life(pve)[-1] == ("Running", "ConfigurationChanged")
    pve.delete(NAME)
    guest = pve.simulator.world.guest(VMID)
    assert guest is not None
    assert guest.status == "running"


async def ask(pve: ProxmoxNode, method: str, what: str, **body: object) -> tuple[int, dict[str, Any]]:
    connector = UnixConnector(str(pve.settings.run / "agent.sock"))
    async with (
        ClientSession("http://agent", connector=connector) as client,
        client.request(method, f"/v1/guests/{NAME}/{what}", json=body) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


def test_commands_reach_it_by_its_guests_name(pve: ProxmoxNode) -> None:
    pve.apply(adopting(pve))
    pve.wait_ready(NAME)
    code, answer = asyncio.run(ask(pve, "POST", "exec", argv=["true"]))
    assert (code, answer["exitCode"]) == (200, 0)
    code, answer = asyncio.run(ask(pve, "GET", "metrics"))
    assert code == 200
    assert answer["memoryBytes"] is not None
