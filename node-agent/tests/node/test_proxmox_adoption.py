"""A container and a VM of somebody else on a simulated Proxmox VE: driven by the whole agent beside him, and
given back as they were. What a guest goes through otherwise is in `test_adoption`.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from .harness import Object, eventually
from .proxmox import STORAGE, ProxmoxNode, proxmox_node

VMID = 105
NAME, NUMBER = "blog-00000081", 31
WORDS = {
    "tags": "ann",
    "description": "Ask Ann.",
    "onboot": "1",
    "startup": "order=3,down=60",
    "memory": "1024",
}
OWN = {
    "lxc": {
        "hostname": "blog",
        "features": "keyctl=1",
        "mp200": "/srv/blog,mp=/srv/blog",
        "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:F6:E6:01,ip=dhcp,type=veth",
    },
    "qemu": {
        "name": "blog",
        "sockets": "2",
        "bios": "ovmf",
        "boot": "order=scsi0;net0",
        "net0": "e1000=BC:24:11:F6:E6:01,bridge=vmbr0,tag=7",
    },
}
KINDS = pytest.mark.parametrize(("type_", "kind"), [("lxc", "container"), ("qemu", "vm")], ids=OWN)


@pytest.fixture(scope="module")
def pve() -> Iterator[ProxmoxNode]:
    """A registered node."""
    with proxmox_node() as node:
        yield node


@pytest.fixture(autouse=True)
def cleaned(pve: ProxmoxNode) -> Iterator[None]:
    """No guest of Ann's is left to the next test."""
    yield
    pve.delete(NAME)
    pve.simulator.world.destroy_guest(VMID)


def make(pve: ProxmoxNode, type_: Any) -> dict[str, str]:
    """Ann's guest, which runs; its options."""
    options: Any = WORDS | OWN[type_]
    return dict(
        pve.simulator.world.add_guest(
            VMID, "pve1", type_, status="running", storage=STORAGE, **options
        ).config
    )


def adopting(pve: ProxmoxNode, kind: str, **spec: Any) -> Object:
    found = pve.guest(NAME, NUMBER, deletionPolicy="Orphan")
    made_here = {"image", "idMap", "network", "volumes", "compose"}
    kept = {key: value for key, value in found["spec"].items() if key not in made_here}
    return {**found, "spec": {**kept, "type": kind, "adopt": f"{VMID}", **spec}}


def options(pve: ProxmoxNode) -> dict[str, str]:
    """All of it, with a description as it was written."""
    guest = pve.simulator.world.guest(VMID)
    assert guest is not None
    return {key: text.strip() for key, text in guest.config.items()}


def verbs(pve: ProxmoxNode, since: int) -> list[str]:
    """What was done to it, without its kind."""
    return [task.type[2:] for task in pve.simulator.issued()[since:] if task.vmid == VMID]


@KINDS
def test_it_is_driven_and_given_back_as_it_was(pve: ProxmoxNode, type_: str, kind: str) -> None:
    before, since = make(pve, type_), len(pve.simulator.issued())
    pve.apply(adopting(pve, kind))
    pve.wait_ready(NAME)
    assert verbs(pve, since) == [], "nobody in it has noticed"
    taken = options(pve)
    assert taken["tags"].split(";")[:2] == ["ann", "dsecos"]
    assert {key: taken[key] for key in OWN[type_]} == OWN[type_]
    pve.apply(adopting(pve, kind, runPolicy="Stopped"))
    pve.wait_condition(NAME, "Ready", "True", "Stopped")
    pve.apply(adopting(pve, kind))
    pve.wait_ready(NAME)
    assert verbs(pve, since) == ["shutdown", "start"]
    pve.delete(NAME)
    assert options(pve) == {**before, "cpulimit": "2"}, "its limit stays"
    assert verbs(pve, since) == ["shutdown", "start"], "it goes on"


@KINDS
def test_what_others_change_of_its_limits_is_told_and_put_right(
    pve: ProxmoxNode, type_: str, kind: str
) -> None:
    make(pve, type_)
    pve.apply(adopting(pve, kind, driftPolicy="Report"))
    pve.wait_ready(NAME)
    pve.simulator.world.change_config(VMID, cpulimit="1")
    pve.apply(adopting(pve, kind, driftPolicy="Report", startup={"order": 100}))
    found = pve.wait_condition(NAME, "Ready", "True", "Drifted")
    assert "changed past DsecOS" in found["message"]
    assert (pve.get("guest", NAME) or {})["status"]["drift"] == ["cpulimit"]
    assert options(pve)["cpulimit"] == "1"
    pve.apply(adopting(pve, kind, driftPolicy="Repair"))
    eventually(lambda: options(pve)["cpulimit"] == "2", "put right")


@KINDS
def test_what_others_change_beside_is_theirs(pve: ProxmoxNode, type_: str, kind: str) -> None:
    make(pve, type_)
    pve.apply(adopting(pve, kind))
    pve.wait_ready(NAME)
    theirs = {"cores": "4", "net1": OWN[type_]["net0"].replace("eth0", "eth1").replace(":01", ":02")}
    pve.simulator.world.change_config(VMID, **theirs)
    pve.apply(adopting(pve, kind, driftPolicy="Repair", restart="1"))
    eventually(lambda: verbs(pve, 0)[-1] == "start", "restarted")
    pve.wait_ready(NAME)
    assert "drift" not in (pve.get("guest", NAME) or {})["status"]
    assert {key: options(pve)[key] for key in theirs} == theirs
