"""A Stack of type vm, from its user's side: operator, two agents, API server and Proxmox VE's API over HTTPS;
the Docker in the VM is a double.
"""

from collections.abc import Iterator

import pytest

from .harness import eventually
from .machines import Machines
from .proxmox_pair import FIRST, SECOND, Pair, proxmox_pair


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two nodes that are ready; nothing is done twice in all of this file."""
    with proxmox_pair() as made:
        yield made
        assert made.doubled() == []


@pytest.fixture(scope="module")
def inside(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """What is in the VMs."""
    made = Machines(tmp_path_factory.mktemp("machines"), pair.simulator.world)
    made.add_template()
    return made


def test_a_stack_runs_in_a_vm_and_moves_while_it_runs(pair: Pair, inside: Machines) -> None:
    resources = {"cpu": "1", "memory": "512Mi", "disk": "4Gi"}
    pair.deploy("shop", type="vm", resources=resources)
    eventually(lambda: pair.stack("shop")["status"].get("state") == "Running", "told as running")
    (machine,) = pair.machines("shop")
    assert (machine.kind, machine.node, machine.status) == ("qemu", FIRST, "running")
    assert f'"tap{machine.vmid}i0"' in pair.rules(FIRST)

    inside.tell(machine.vmid, "web", health="unhealthy")
    pair.wait_condition("shop", "ServicesReady", "Unhealthy")
    inside.tell(machine.vmid, "web", health="healthy")
    pair.wait("shop", node=FIRST)

    life = machine.started_at, machine.pid
    pair.edit("shop", placement={"node": SECOND})
    pair.wait("shop", node=SECOND)
    assert pair.machines("shop") == [machine]
    assert (machine.node, machine.status, machine.started_at, machine.pid) == (SECOND, "running", *life)
    assert f'"tap{machine.vmid}i0"' in pair.rules(SECOND)
    eventually(lambda: f"tap{machine.vmid}i0" not in pair.rules(FIRST), "its rules are gone there", 20)

    inside.tell(machine.vmid, "web", state="exited", code=1)
    before = inside.ups(machine.vmid)
    eventually(lambda: inside.ups(machine.vmid) == before + 1, "the other node looks after it")
    pair.wait("shop", node=SECOND)
    pair.edit("shop", runPolicy="Stopped")
    eventually(lambda: pair.stack("shop")["status"].get("state") == "Stopped", "stopped")
    pair.delete("shop")
    assert pair.machines("shop") == []
    assert [pair.records("shop", node) for node in pair.nodes] == [[], []]
