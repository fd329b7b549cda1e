"""A Stack's guest on its way between two nodes of a cluster of Proxmox VE.

Operator, two agents, API server and the engine's HTTPS calls are real; what `proxmox_agent.py` says is
double.
"""

from collections.abc import Iterator

import pytest
from dsecos_proxmox_simulator.faults import FailedTask, LostAnswer, SlowTask

from .harness import Object, eventually
from .proxmox_pair import FIRST, SECOND, SPACE, Pair, proxmox_pair

MOVE = ("POST", "/nodes/{node}/lxc/{vmid}/migrate")
AT_LENGTH = SlowTask(factor=150)
"""A move takes some seconds: time to do something meanwhile."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Pair]:
    """Two nodes that are ready; nothing is done twice in all of this file."""
    with proxmox_pair() as pair:
        yield pair
        assert pair.doubled() == []


@pytest.fixture
def pair(cluster: Pair) -> Iterator[Pair]:
    """Stack `shop` serves on the first node; afterwards nothing of it is left anywhere."""
    cluster.deploy("shop")
    yield cluster
    cluster.simulator.faults.clear()
    cluster.delete("shop")
    assert cluster.machines("shop") == []
    assert [cluster.records("shop", node) for node in cluster.nodes] == [[], []]


def vmid(pair: Pair) -> int:
    (machine,) = pair.machines("shop")
    return machine.vmid


def tasks(pair: Pair) -> list[str]:
    """What was done to it, since it was made."""
    done = [task.type for task in pair.simulator.issued(vmid=vmid(pair))]
    return done[len(done) - done[::-1].index("vzcreate") :]


def is_on(pair: Pair, node: str, status: str = "running") -> bool:
    """Whether Proxmox has its one guest there."""
    return [(each.node, each.status) for each in pair.machines("shop")] == [(node, status)]


def network(guest: Object) -> object:
    return guest["spec"]["network"]


def test_a_stack_that_names_another_node_is_moved_there_as_it_is(pair: Pair) -> None:
    before, there = pair.stack("shop")["status"], pair.guest("shop", FIRST)
    number = vmid(pair)
    pair.edit("shop", placement={"node": SECOND})
    after = pair.wait("shop", node=SECOND)["status"]
    assert (after["address"], after["epoch"]) == (before["address"], before["epoch"] + 1)
    guest = pair.guest("shop", SECOND)
    assert network(guest) == network(there)
    assert (guest["status"]["engineNode"], guest["status"]["engineId"]) == (SECOND, f"{number}")
    assert vmid(pair) == number
    assert is_on(pair, SECOND)
    (step,) = guest["status"]["lifecycle"]["transitions"]
    assert (step["to"], step["cause"]) == ("Running", "Migration")
    assert tasks(pair) == ["vzstart", "vzmigrate"]
    assert pair.records("shop", FIRST) == []
    eventually(lambda: f"veth{number}i0" not in pair.rules(FIRST), "its rules are gone", 20)
    assert f"veth{number}i0" in pair.rules(SECOND)
    pair.edit("shop", placement={"node": FIRST})
    pair.wait("shop", node=FIRST)
    assert is_on(pair, FIRST)
    assert pair.stack("shop")["status"]["epoch"] == before["epoch"] + 2
    assert tasks(pair) == ["vzstart", "vzmigrate", "vzmigrate"]


def test_a_stopped_stack_is_moved_as_it_is_and_started_there_when_it_is_to_run(pair: Pair) -> None:
    pair.edit("shop", runPolicy="Stopped")
    pair.wait_condition("shop", "Ready", "Stopped")
    pair.edit("shop", placement={"node": SECOND})
    pair.wait("shop", node=SECOND)
    assert is_on(pair, SECOND, "stopped")
    assert tasks(pair) == ["vzstart", "vzshutdown", "vzmigrate"]
    pair.edit("shop", runPolicy="Running")
    pair.wait_condition("shop", "Ready", "Serving")
    assert is_on(pair, SECOND)
    name, run = pair.guest("shop", SECOND)["metadata"]["name"], pair.nodes[SECOND].settings.run
    assert (run / "guests" / name).is_dir(), "the directory that it shares with its node"


def test_a_node_is_emptied_for_its_maintenance_and_what_left_stays_away(pair: Pair) -> None:
    def drained() -> Object:
        told = pair.node(FIRST)["status"]
        done = [each for each in told["conditions"] if each["type"] == "Drained" and each["status"] == "True"]
        return dict(told["drain"]) if done else {}

    pair.edit_node(FIRST, maintenance=True, drain={"policy": "Move"})
    try:
        pair.wait("shop", node=SECOND)
        assert eventually(drained, "the node is empty", 30).get("remaining", 0) == 0
    finally:
        pair.edit_node(FIRST, maintenance=None, drain=None)
    eventually(lambda: "drain" not in pair.node(FIRST)["status"], "the maintenance is over", 30)
    pair.wait("shop", node=SECOND)
    assert is_on(pair, SECOND)
    assert tasks(pair) == ["vzstart", "vzmigrate"]


def test_an_agent_that_is_killed_in_the_middle_of_a_move_goes_on_with_it(pair: Pair) -> None:
    pair.simulator.faults.once(*MOVE, AT_LENGTH)
    pair.edit("shop", placement={"node": SECOND})
    eventually(lambda: "vzmigrate" in tasks(pair), "it is being moved", 60)
    pair.nodes[FIRST].kill()
    pair.nodes[FIRST].start()
    pair.wait("shop", node=SECOND)
    assert is_on(pair, SECOND)
    assert tasks(pair) == ["vzstart", "vzmigrate"]


@pytest.mark.parametrize("point", [f"proxmox-after {' '.join(MOVE)}", "guest-migrate"])
def test_an_agent_that_is_killed_before_it_could_tell_moves_nothing_twice(pair: Pair, point: str) -> None:
    first = pair.nodes[FIRST]
    first.stop()
    first.start(fault_point=point)
    pair.edit("shop", placement={"node": SECOND})
    eventually(first.died, "killed", 90)
    first.start()
    pair.wait("shop", node=SECOND)
    assert tasks(pair) == ["vzstart", "vzmigrate"]


def test_an_answer_that_is_lost_is_no_second_move(pair: Pair) -> None:
    pair.simulator.faults.once(*MOVE, LostAnswer())
    pair.edit("shop", placement={"node": SECOND})
    pair.wait("shop", node=SECOND)
    assert tasks(pair) == ["vzstart", "vzmigrate"]


def test_a_guest_that_was_moved_and_could_not_be_started_there_is_started_by_its_new_node(pair: Pair) -> None:
    pair.simulator.faults.once(*MOVE, FailedTask("migration problems", done=True))
    pair.edit("shop", placement={"node": SECOND})
    pair.wait("shop", node=SECOND)
    assert is_on(pair, SECOND)
    assert "failedMove" not in pair.stack("shop")["status"]


def test_a_move_that_the_engine_refuses_leaves_it_where_it_is(pair: Pair) -> None:
    pair.simulator.faults.always(*MOVE, FailedTask("migration aborted", done=False))
    pair.edit("shop", placement={"node": SECOND})
    found = pair.wait_condition("shop", "Scheduled", "MigrationFailed")
    assert "migration aborted" in found["message"]
    told = pair.stack("shop")["status"]
    assert (told["node"], told["failedMove"]["node"]) == (FIRST, SECOND)
    assert "movingTo" not in told
    eventually(lambda: is_on(pair, FIRST), "it goes on", 30)
    assert pair.homes("shop") == [FIRST]
    pair.edit("shop", placement=None)
    pair.wait("shop", node=FIRST)


@pytest.mark.parametrize(
    "begun", [False, True], ids=["before the engine moves it", "while it is being moved"]
)
def test_a_stack_that_is_deleted_on_its_way_is_removed_completely(pair: Pair, begun: bool) -> None:
    pair.simulator.faults.once(*MOVE, AT_LENGTH)
    pair.edit("shop", placement={"node": SECOND})
    if begun:
        eventually(lambda: "vzmigrate" in tasks(pair), "it is being moved", 60)
    else:
        eventually(lambda: "movingTo" in pair.stack("shop")["status"], "it is on its way", 60)
    pair.delete("shop")
    assert pair.machines("shop") == []
    assert pair.homes("shop") == []


def test_a_stack_follows_its_guest_that_somebody_else_has_moved(pair: Pair) -> None:
    before, number = pair.stack("shop")["status"], vmid(pair)
    pair.simulator.world.move_guest(number, SECOND)
    after = pair.wait("shop", node=SECOND)["status"]
    assert (after["address"], after["epoch"]) == (before["address"], before["epoch"] + 1)
    assert is_on(pair, SECOND)
    assert tasks(pair) == ["vzstart"], "nothing is done to it"
    assert pair.records("shop", FIRST) == []
    told = pair.plane.kubectl("get", "events", "-n", SPACE, "-o", "jsonpath={.items[*].message}")
    assert f"somebody else moved it to {SECOND}" in told
