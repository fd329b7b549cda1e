"""Maintenance: who is moved, stopped or left, in which order, and that it is undone."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_api import Reason, Type
from dsecos_api.types import RunPolicy
from dsecos_operator.maintenance import view
from dsecos_operator.nodes.controller import maintenance_news
from dsecos_runtime import Conditions
from hypothesis import given, settings
from hypothesis import strategies as st

from .fleet import Fleet, proxmox
from .objects import node


def fleet(*names: str, nodes: Any = None, **spec: Any) -> Fleet:
    """Stacks that serve, on node a; LXC unless other nodes are named."""
    made = Fleet()
    for each in nodes or (node("a"),):
        made.add_node(each)
    for name in names:
        made.add(name, **spec)
    made.settle()
    assert {made.place(name) for name in names} <= {"a"}
    assert {made.ready(name) for name in names} <= {Reason.SERVING}
    made.done.clear()
    return made


def pair(*names: str, **spec: Any) -> Fleet:
    """Node a with Stacks, and an empty node b of the same cluster."""
    made = fleet(*names, nodes=(proxmox("a"),), **spec)
    made.add_node(proxmox("b"))
    return made


def running(made: Fleet) -> set[str]:
    return {name for name, each in made.stacks.items() if made.machines[each.uid].running}


def test_what_cannot_be_moved_is_stopped_and_started_again_afterwards() -> None:
    made = fleet("one", "two")
    made.edit("two", runPolicy="Running")
    made.settle()
    made.maintain("a")
    made.settle()
    assert running(made) == set()
    assert all(each.spec.maintenance for each in made.guests.values())
    assert made.ready("one") == Reason.MAINTENANCE
    assert "stopped while a is in maintenance" in made.message("one", Type.SCHEDULED)
    assert made.outcome("a") == (True, Reason.DRAINED, "no guest runs here")
    assert made.stacks["one"].spec.run_policy is None, "a spec is its user's"
    made.maintain("a", on=False)
    made.settle()
    assert running(made) == {"one", "two"}
    assert not any(each.spec.maintenance for each in made.guests.values())
    assert made.ready("one") == Reason.SERVING


def test_what_can_be_moved_is_moved() -> None:
    made = pair("one", "two")
    made.maintain("a")
    made.settle()
    assert {made.where("one"), made.where("two")} == {"b"}
    assert running(made) == {"one", "two"}
    assert made.outcome("a").reason == Reason.DRAINED
    made.maintain("a", on=False)
    made.settle()
    assert made.place("one") == "b", "it stays where it is"


def test_move_leaves_what_cannot_be_moved_and_names_it() -> None:
    made = fleet("one", "two")
    made.maintain("a", policy="Move")
    made.settle()
    assert running(made) == {"one", "two"}
    assert made.outcome("a").reason == Reason.MAINTENANCE
    assert made.waiting("a")[0].startswith("acme/one: engine lxc of a cannot move guests")


def test_stop_stops_what_could_be_moved_and_stay_leaves_all() -> None:
    made = pair("one")
    made.maintain("a", policy="Stay")
    made.settle()
    assert running(made) == {"one"}
    assert made.outcome("a").reason == Reason.MAINTENANCE
    made.maintain("a", policy="Stop")
    made.settle()
    assert (running(made), made.where("one")) == (set(), "a")


def test_a_move_that_fails_becomes_a_stop_where_that_is_allowed() -> None:
    made = pair("one")
    made.refusing = {"pve-b"}
    made.maintain("a")
    made.settle()
    assert (running(made), made.place("one")) == (set(), "a")
    assert made.outcome("a").done
    kept = pair("one")
    kept.refusing = {"pve-b"}
    kept.maintain("a", policy="Move")
    kept.settle()
    assert running(kept) == {"one"}
    assert kept.waiting("a") == ["acme/one: moving to b failed: storage is not available"]
    kept.refusing.clear()
    kept.wait(601)
    kept.settle()
    assert kept.where("one") == "b"


def test_no_more_than_so_many_are_on_their_way_at_a_time() -> None:
    made = fleet("one", "two", "three", "four")
    made.maintain("a", maxUnavailable=2)
    for name in made.stacks:
        made.reconcile(name)
    assert made.on_the_way("a") == 2
    assert made.waiting("a")[0].endswith("waits until its turn comes (spec.drain.maxUnavailable of the Node)")
    made.agent_pass("a")
    for name in made.stacks:
        made.reconcile(name)
    assert made.on_the_way("a") == 2


def test_who_is_started_first_is_stopped_last() -> None:
    made = Fleet()
    made.add_node(node("a"))
    for name, order in (("db", 10), ("web", None), ("cache", 50)):
        made.add(name, startup={"order": order} if order is not None else None)
    made.settle()
    made.maintain("a", maxUnavailable=9)
    stopped = []
    for _ in range(3):
        for name in made.stacks:
            made.reconcile(name)
        stopped.append({each.spec.stack_ref.name for each in made.guests.values() if each.spec.maintenance})
        made.agent_pass("a")
    assert stopped == [{"web"}, {"web", "cache"}, {"web", "cache", "db"}]


def test_what_does_not_run_needs_nothing_and_is_not_started_by_its_user_either() -> None:
    made = fleet("one")
    made.edit("one", runPolicy="Stopped")
    made.settle()
    made.done.clear()
    made.maintain("a")
    made.settle()
    assert made.done == []
    assert made.outcome("a").done
    assert made.ready("one") == Reason.STOPPED
    made.edit("one", runPolicy="Running")
    made.settle()
    assert running(made) == set()
    assert made.ready("one") == Reason.MAINTENANCE
    made.maintain("a", on=False)
    made.settle()
    assert running(made) == {"one"}


def test_paused_is_left_and_named() -> None:
    made = fleet("one", "two")
    made.edit("one", paused=True)
    made.settle()
    made.maintain("a")
    made.settle()
    assert running(made) == {"one"}
    assert made.waiting("a") == ["acme/one: it is paused"]
    assert made.outcome("a").reason == Reason.MAINTENANCE


def test_a_change_that_cannot_be_had_does_not_keep_a_guest_from_being_stopped_and_started() -> None:
    made = fleet("one")
    made.edit("one", resources={"cpu": "1", "memory": "1Ti", "disk": "1Gi"})
    made.settle()
    made.maintain("a")
    made.settle()
    assert running(made) == set()
    made.maintain("a", on=False)
    made.settle()
    assert running(made) == {"one"}
    (guest,) = made.guests.values()
    assert (guest.spec.run_policy, guest.spec.maintenance) == (RunPolicy.RUNNING, None)
    assert guest.spec.resources.memory == "1Gi"


def test_of_a_disruption_group_one_is_down_at_a_time() -> None:
    made = fleet("one", "two", disruptionGroup="web")
    made.maintain("a", maxUnavailable=9)
    made.settle()
    assert running(made) == {"two"}
    assert made.waiting("a") == [
        "acme/two: waits until Stack acme/one of its disruption group web is Ready:"
        " it is stopped while a is in maintenance"
    ]
    assert made.outcome("a").reason == Reason.DRAINING
    made.maintain("a", ignoreDisruptionGroups=True)
    made.settle()
    assert running(made) == set()


def test_a_group_that_is_sick_is_not_touched() -> None:
    made = fleet("one", "two", disruptionGroup="web")
    made.sick = {"two"}
    made.agent_pass("a")
    made.settle()
    made.maintain("a", maxUnavailable=9)
    made.settle()
    assert running(made) == {"one"}, "the sick one itself may go down, the other may not"


def test_groups_that_can_be_moved_are_moved_one_after_another() -> None:
    made = pair("one", "two", "three", disruptionGroup="web")
    made.maintain("a", maxUnavailable=9)
    for _ in range(60):
        made.zone_pass()
        for name in made.stacks:
            made.reconcile(name)
            assert sum(each.status.moving_to is not None for each in made.stacks.values()) <= 1
        for name in made.nodes:
            made.agent_pass(name)
    assert {made.where(name) for name in made.stacks} == {"b"}


def test_what_begins_and_ends_is_told_once() -> None:
    def drained(done: bool) -> Any:
        conditions = Conditions(None, 1)
        conditions.set(Type.DRAINED, done, Reason.DRAINED if done else Reason.DRAINING)
        return conditions.build()[0]

    assert [reason for reason, _ in maintenance_news(None, drained(False))] == [Reason.MAINTENANCE]
    assert maintenance_news(drained(False), drained(False)) == []
    assert [reason for reason, _ in maintenance_news(drained(False), drained(True))] == [Reason.DRAINED]
    assert [reason for reason, _ in maintenance_news(drained(True), None)] == [Reason.AVAILABLE]


NAMES = ["one", "two", "three", "four"]
GROUPS = st.fixed_dictionaries({name: st.sampled_from(["web", "web", "db", None]) for name in NAMES})
DRAINS = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(["MoveOrStop", "Stop", "Move", "Stay"]),
        "maxUnavailable": st.integers(1, 3),
    }
)
EVENTS = [
    *("operators all",) * 6,
    *("agents all",) * 3,
    *(f"operator {name}" for name in NAMES),
    *(f"killed {name}" for name in NAMES),
    *(f"agent {name}" for name in "ab"),
    *(f"sick {name}" for name in NAMES[:2]),
    "healthy all",
    "zone all",
    "refuse b",
    "allow b",
    "maintain a",
    "maintain b",
    "end a",
]
"""What is more likely stands there more often."""


@st.composite
def orders(draw: st.DrawFn) -> dict[str, int]:
    return {name: draw(st.sampled_from([10, 100, 200])) for name in NAMES}


@given(st.booleans(), GROUPS, orders(), DRAINS, st.lists(st.sampled_from(EVENTS), min_size=5, max_size=60))
@settings(max_examples=80, deadline=None)
def test_never_two_of_a_group_are_down_by_our_doing_and_it_ends_or_says_who_waits(
    movable: bool,
    groups: dict[str, str | None],
    startup: dict[str, int],
    drain: dict[str, Any],
    events: list[str],
) -> None:
    made = Fleet()
    for name in "ab":
        made.add_node(proxmox(name) if movable else node(name))
    for name in NAMES:
        made.add(name, disruptionGroup=groups[name], startup={"order": startup[name]})
    made.settle()
    made.done.clear()
    for event in ["maintain a", *events]:
        what, who = event.split()
        before = _down(made)
        _happen(made, what, who, drain)
        for new in _down(made) - before:
            mates = [name for name in NAMES if groups[name] == groups[new] is not None and name != new]
            assert not set(mates) & _down(made), f"{new} and one of {mates} are down: {made.done}"
            assert not set(mates) & _reported_sick(made), f"{new} while one of {mates} is not well"
        for name in "ab":
            assert made.on_the_way(name) <= drain["maxUnavailable"]
    made.refusing, made.sick = set(), set()
    for _ in range(4):
        made.settle()
        made.wait(601)
    for each in made.nodes.values():
        if each.spec.maintenance:
            outcome = made.outcome(each.name)
            assert outcome.done or made.waiting(each.name), "who waits for what"
            assert made.on_the_way(each.name) == 0
    for name in list(made.nodes):
        made.maintain(name, on=False)
    made.settle()
    assert running(made) == set(NAMES)
    assert {made.ready(name) for name in NAMES} == {Reason.SERVING}
    assert len(made.guests) == len(NAMES)


def _happen(made: Fleet, what: str, who: str, drain: dict[str, Any]) -> None:
    match what:
        case "operators":
            for name in made.stacks:
                made.reconcile(name)
        case "agents":
            made.zone_pass()
            for name in made.nodes:
                made.agent_pass(name)
        case "operator":
            made.reconcile(who)
        case "killed":
            made.reconcile(who, killed_after=1)
        case "agent":
            made.agent_pass(who)
        case "sick":
            made.sick.add(who)
        case "healthy":
            made.sick.clear()
        case "zone":
            made.zone_pass()
        case "refuse":
            made.refusing = {"pve-b"}
        case "allow":
            made.refusing = set()
        case "maintain" | "end":
            made.maintain(who, on=what == "maintain", **drain)


def _down(made: Fleet) -> set[str]:
    """Stacks that are stopped, or on their way, by what the operator wrote."""
    found = {each.spec.stack_ref.name for each in made.guests.values() if each.spec.maintenance}
    return found | {name for name, each in made.stacks.items() if each.status.moving_to is not None}


def _reported_sick(made: Fleet) -> set[str]:
    return {
        each.spec.stack_ref.name
        for each in made.guests.values()
        if any(one.reason == Reason.UNHEALTHY for one in each.status.conditions)
    }


def test_a_guest_that_its_agent_has_not_stopped_yet_is_not_down() -> None:
    made = fleet("one")
    made.maintain("a")
    made.reconcile("one")
    (guest,) = made.guests.values()
    assert not view.is_down(guest)
    made.agent_pass("a")
    (guest,) = made.guests.values()
    assert view.is_down(guest)


@pytest.mark.parametrize("policy", ["MoveOrStop", "Stop", "Move"])
def test_a_guest_that_is_made_during_maintenance_is_not_started(policy: str) -> None:
    made = Fleet()
    made.add_node(node("a"))
    made.add("one")
    made.reconcile("one", killed_after=2)  # the claim is written
    made.maintain("a", policy=policy)
    made.settle()
    assert running(made) == set()
    made.maintain("a", on=False)
    made.settle()
    assert running(made) == {"one"}
