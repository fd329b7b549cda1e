"""Many Stacks at once on a Proxmox VE that fails one request in five: all come up, and go, by themselves.

Operator, agent, API server and the engine's HTTPS calls are real; what `proxmox_agent.py` says is double.
"""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from dsecos_agent.zones.naming import bridge_name
from dsecos_proxmox_simulator import FailedTask, Faults
from dsecos_proxmox_simulator.faults import KINDS

from tests.amount import amount

from ..engines.schedules.history import Histories  # noqa: TID252 - node-agent is no name to be imported
from ..engines.schedules.weather import DONE, UNDONE  # noqa: TID252
from .cloud import apply, namespace, obj, stack, start_operator
from .harness import Object, eventually
from .proxmox import ProxmoxNode, proxmox_node

COUNT = amount(20, of_all=50)
RATE = 0.2
SPACE = "crowd"
OTHERS = [kind for kind in KINDS if kind is not FailedTask]
WEATHER = [*OTHERS, FailedTask(UNDONE, done=False), FailedTask(DONE, done=True)]


@pytest.fixture
def pve() -> Iterator[ProxmoxNode]:
    """A node that is ready, with an operator beside it and a zone on it."""
    with proxmox_node(faults=Faults(seed=50, kinds=WEATHER)) as node:
        operator = start_operator(node.plane)
        try:
            apply(
                node.plane,
                namespace(SPACE),
                obj("License", "dsecos", development=True),
                obj("NetworkZone", "backend", SPACE, cidrs=[f"{node.net}.0/24"]),
            )
            zone = node.reader.get("networkzone", "backend", SPACE) or {}
            node.simulator.world.add_bridge(
                bridge_name(node.settings.link_prefix, zone["metadata"]["uid"]), "pve1"
            )
            yield node
        finally:
            operator.kill()
            operator.wait()


def stacks(node: ProxmoxNode) -> list[Object]:
    return node.reader.find("stacks", SPACE)


def ready(each: Object) -> str:
    """Status and reason of its Ready."""
    conditions = {one["type"]: one for one in each.get("status", {}).get("conditions", [])}
    found = conditions.get("Ready", {})
    return f"{found.get('status')} {found.get('reason')}: {found.get('message', '')[:150]}"


def wait(node: ProxmoxNode, what: str, limit: float) -> None:
    """Until all are Ready, or gone; says what the others wait for."""

    def look() -> bool:
        assert not node.died(), node.log_tail()
        told = [ready(each) for each in stacks(node)]
        return not told if what == "gone" else sum(one.startswith("True") for one in told) == COUNT

    try:
        eventually(look, f"all {COUNT} Stacks are {what}", limit)
    except AssertionError as error:
        told = "\n".join(f"{count} x {text}" for text, count in Counter(map(ready, stacks(node))).items())
        raise AssertionError(f"{error}\n{told}\n{node.log_tail()}") from None


def test_they_come_up_and_go_though_one_request_in_five_fails(pve: ProxmoxNode) -> None:
    simulator = pve.simulator
    histories = Histories(simulator, "dsecos@pve!agent")
    simulator.calls.clear()
    simulator.faults.rate = RATE
    begun = time.monotonic()
    apply(pve.plane, *(stack(f"app-{number}", SPACE) for number in range(COUNT)))
    wait(pve, "Ready", 500)
    calls, came_up = len(simulator.calls), time.monotonic() - begun
    assert len(pve.guests_in_proxmox()) == COUNT
    running = [guest for guest in simulator.world.guests.values() if guest.status == "running"]
    assert len(running) == COUNT

    pve.plane.kubectl("delete", "stacks", "--all", "-n", SPACE, "--wait=false")
    wait(pve, "gone", 400)
    gone = time.monotonic() - begun - came_up
    struck = Counter(name for _, _, name in simulator.faults.struck)
    print(
        f"{COUNT} Stacks: Ready in {came_up:.0f} s with {calls / COUNT:.1f} API calls a guest, gone in "
        f"{gone:.0f} s; {len(simulator.calls) / COUNT:.1f} calls a guest in all; faults {dict(struck)}"
    )
    simulator.faults.clear()
    simulator.tasks.wait_idle()
    assert pve.guests_in_proxmox() == []
    assert [volume.volid for volume in simulator.world.volumes() if volume.vmid] == []
    assert pve.kubectl("get", "guests", "-o", "name") == ""
    files = (pve.settings.state / "proxmox").rglob("*.json*")
    notes = {path.name: path.read_text() for path in files if not path.name.startswith("template")}
    assert notes == {}
    assert list(histories.doubled()) == []
