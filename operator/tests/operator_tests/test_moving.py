"""A guest's way from one node to another: in order, whoever is killed, and back where it cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_api import Reason, Type
from dsecos_operator.stacks.moving import RETRY
from hypothesis import given, settings
from hypothesis import strategies as st

from .fleet import Fleet, proxmox, space
from .objects import node, zone


def fleet(*nodes: Any, **spec: Any) -> Fleet:
    """Stack shop on node a, and other nodes of the same cluster."""
    made = Fleet()
    for each in nodes or (proxmox("a"), proxmox("b")):
        made.add_node(each)
    made.add("shop", **spec)
    made.settle()
    assert made.place("shop") == "a"
    assert made.ready("shop") == Reason.SERVING
    made.done.clear()
    return made


def only_on(made: Fleet, name: str) -> None:
    """Everything of the Stack is there, and nothing elsewhere."""
    assert (made.place("shop"), made.where("shop")) == (name, name)
    assert [namespace for namespace, _ in made.guests] == [space(name)]
    assert [namespace for namespace, _ in made.secrets] == [space(name)]
    assert [namespace for namespace, _ in made.attachments] == [space(name)]


@pytest.mark.parametrize(
    ("kind", "places"), [("vxlan", ["a", "b"]), ("vlan", ["a", "b"]), ("local", ["a", "a"])]
)
def test_a_stack_leaves_others_of_its_zone_only_if_that_spans_nodes(kind: str, places: list[str]) -> None:
    made = Fleet()
    for name in ("a", "b"):
        able = proxmox(name)
        capabilities = [*able.status.capabilities, "zone/vxlan", "zone/vlan"]
        status = able.status.model_copy(update={"capabilities": capabilities})
        made.add_node(able.model_copy(update={"status": status}))
    made.zones["both"] = zone(name="both", encapsulation={"type": kind})
    for name in ("shop", "db"):
        made.add(name, zone="both", placement={"node": "a"})
    made.settle()
    assert [made.place(name) for name in ("shop", "db")] == ["a", "a"]
    made.edit("db", placement={"node": "b"})
    made.settle()
    assert [made.place(name) for name in ("shop", "db")] == places
    assert sorted({namespace for namespace, _ in made.attachments}) == [
        space(each) for each in sorted({*places})
    ]


def test_a_stack_that_names_another_node_moves_there_in_the_order_of_the_steps() -> None:
    made = fleet()
    before = made.guests[next(iter(made.guests))]
    made.edit("shop", placement={"node": "b"})
    made.settle()
    only_on(made, "b")
    assert made.done == [
        "stack-reserve",
        "guest-migrate",
        "stack-arrive",
        "secret-copy",
        "guest-take-over",
        "guest-release",
        "guest-forget",
        "secret-delete",
    ]
    (after,) = made.guests.values()
    assert after.spec.network == before.spec.network, "same MAC and address"
    assert after.spec.id_map == before.spec.id_map
    assert (after.name, after.spec.stack_ref) == (before.name, before.spec.stack_ref)
    assert after.spec.epoch == made.stacks["shop"].status.epoch == 2
    assert after.spec.migrate is None
    assert made.ready("shop") == Reason.SERVING


def test_the_order_waits_for_the_zone_and_the_stack_says_that_it_moves() -> None:
    made = fleet()
    made.edit("shop", placement={"node": "b"})
    made.reconcile("shop")
    made.reconcile("shop")
    assert made.done == ["stack-reserve"]
    assert made.stacks["shop"].status.moving_to == "b"
    assert made.ready("shop") == Reason.MIGRATING
    assert "on its way to b" in made.message("shop", Type.SCHEDULED)
    made.zone_pass()
    made.reconcile("shop")
    assert made.done == ["stack-reserve", "guest-migrate"]


def test_what_moves_counts_on_both_nodes() -> None:
    made = fleet(proxmox("a"), proxmox("b", memory="1Gi"))
    made.edit("shop", placement={"node": "b"})
    made.reconcile("shop")
    made.add("next", placement={"node": "b"})
    made.reconcile("next")
    assert "memory 1Gi is wanted, 1Gi of 1Gi" in made.message("next", Type.SCHEDULED)


KILLS = range(9)


@pytest.mark.parametrize("kills", KILLS)
def test_killed_between_any_two_steps_it_goes_on(kills: int) -> None:
    made = fleet()
    made.edit("shop", placement={"node": "b"})
    for _ in range(20):
        made.zone_pass()
        if len(made.done) < kills:
            made.reconcile("shop", killed_after=1)
        for name in made.nodes:
            made.agent_pass(name)
    made.settle()
    only_on(made, "b")
    assert made.done.count("stack-arrive") == 1
    assert made.done.count("guest-migrate") == 1


STAYS: dict[str, tuple[tuple[Any, Any], dict[str, Any], Reason, str]] = {
    "an engine that cannot": ((node("a"), node("b")), {}, Reason.UNSUPPORTED, "engine lxc of a cannot move"),
    "another cluster": (
        (proxmox("a"), proxmox("b", cluster="other")),
        {},
        Reason.UNSUPPORTED,
        "in no cluster with that of a",
    ),
    "no room": (
        (proxmox("a"), proxmox("b", memory="1Gi")),
        {"resources": {"cpu": "1", "memory": "2Gi", "disk": "1Gi"}},
        Reason.NO_NODE_FITS,
        "memory 2Gi is wanted",
    ),
    "a node in maintenance": (
        (proxmox("a"), proxmox("b", memory="4Gi", maintenance=True)),
        {},
        Reason.NO_NODE_FITS,
        "it is in maintenance",
    ),
}


@pytest.mark.parametrize(("nodes", "spec", "why", "told"), STAYS.values(), ids=STAYS.keys())
def test_what_cannot_be_moved_stays_and_says_why(
    nodes: tuple[Any, Any], spec: dict[str, Any], why: Reason, told: str
) -> None:
    made = fleet(*nodes, **spec)
    made.edit("shop", placement={"node": "b"})
    made.settle()
    assert made.done == []
    assert made.reason("shop", Type.SCHEDULED) == why
    assert told in made.message("shop", Type.SCHEDULED)
    assert "keeps running" in made.message("shop", Type.READY)
    assert made.machines["uid-shop"].running


def test_a_zone_moves_with_its_only_stack_or_not_at_all() -> None:
    made = fleet()
    made.add("other", zone="zone-shop")
    made.settle()
    made.edit("shop", placement={"node": "b"})
    made.settle()
    assert "zone zone-shop is local and lives on a" in made.message("shop", Type.SCHEDULED)
    made.delete("other")
    made.settle()
    only_on(made, "b")


def test_nobody_joins_a_zone_that_is_on_its_way() -> None:
    made = fleet()
    made.edit("shop", placement={"node": "b"})
    made.reconcile("shop")
    made.add("other", zone="zone-shop")
    made.reconcile("other")
    assert "zone zone-shop is local and lives on a, b" in made.message("other", Type.SCHEDULED)
    made.settle()
    assert made.place("other") == "b"


def test_a_move_that_fails_gives_its_reservation_back_and_is_tried_again_later() -> None:
    made = fleet()
    made.refusing = {"pve-b"}
    made.edit("shop", placement={"node": "b"})
    made.settle()
    only_on(made, "a")
    assert made.done == [
        "stack-reserve",
        "guest-migrate",
        "stack-move-failed",
        "guest-migrate-withdraw",
        "stack-give-back",
    ]
    assert made.reason("shop", Type.SCHEDULED) == Reason.MIGRATION_FAILED
    assert "moving to b failed: storage is not available" in made.message("shop", Type.SCHEDULED)
    made.refusing.clear()
    made.wait(RETRY - 1)
    made.settle()
    only_on(made, "a")
    made.wait(2)
    made.settle()
    only_on(made, "b")
    assert made.stacks["shop"].status.failed_move is None


def test_an_agent_that_waits_for_somebody_has_given_the_move_up() -> None:
    made = fleet()
    made.refusing, made.refusal = {"pve-b"}, Reason.ENGINE_DENIED
    made.edit("shop", placement={"node": "b"})
    made.settle()
    only_on(made, "a")
    assert made.reason("shop", Type.SCHEDULED) == Reason.MIGRATION_FAILED


def test_a_guest_that_arrives_although_its_move_was_called_failed_is_taken_over() -> None:
    made = fleet()
    made.refusing = {"pve-b"}
    made.edit("shop", placement={"node": "b"})
    while "guest-migrate-withdraw" not in made.done:
        made.zone_pass()
        made.agent_pass("a")
        made.reconcile("shop")
    made.machines["uid-shop"].at = "pve-b"
    made.settle()
    only_on(made, "b")
    assert made.ready("shop") == Reason.SERVING


def test_a_change_of_the_stack_tries_a_failed_move_again() -> None:
    made = fleet()
    made.refusing = {"pve-b"}
    made.edit("shop", placement={"node": "b"})
    made.settle()
    made.refusing.clear()
    made.edit("shop", runPolicy="Running")
    made.settle()
    only_on(made, "b")


def test_before_the_order_a_move_can_be_called_off() -> None:
    made = fleet()
    made.edit("shop", placement={"node": "b"})
    made.reconcile("shop")
    made.edit("shop", placement=None)
    made.settle()
    only_on(made, "a")
    assert made.done == ["stack-reserve", "stack-give-back"]
    assert made.ready("shop") == Reason.SERVING


def test_a_stopped_stack_moves_as_well_and_a_suspended_one_does_not() -> None:
    made = fleet()
    made.edit("shop", runPolicy="Suspended")
    made.settle()
    made.suspend("shop")
    made.edit("shop", placement={"node": "b"})
    made.reconcile("shop")
    assert made.reason("shop", Type.SCHEDULED) == Reason.ILLEGAL_TRANSITION
    made.edit("shop", runPolicy="Stopped", placement=None)
    made.settle()
    made.edit("shop", placement={"node": "b"})
    made.settle()
    only_on(made, "b")


@pytest.mark.parametrize("after", range(7))
def test_deleted_on_the_way_nothing_is_left(after: int) -> None:
    made = fleet()
    made.edit("shop", placement={"node": "b"})
    for _ in range(12):
        if len(made.done) >= after:
            break
        made.zone_pass()
        made.reconcile("shop", killed_after=1)
        for name in made.nodes:
            made.agent_pass(name)
    made.delete("shop")
    made.settle()
    assert (made.stacks, made.guests, made.secrets, made.machines) == ({}, {}, {}, {})


def test_deleted_while_the_engine_moves_it_nothing_is_left_over_there() -> None:
    made = fleet()
    made.edit("shop", placement={"node": "b"})
    while "guest-migrate" not in made.done:
        made.zone_pass()
        made.reconcile("shop")
    made.delete("shop")
    made.reconcile("shop")
    assert made.done[-1] == "guest-migrate-withdraw", "the agent may be at it already"
    made.machines["uid-shop"].at = "pve-b"
    made.settle()
    assert (made.stacks, made.guests, made.secrets, made.machines) == ({}, {}, {}, {})


def test_a_status_that_was_lost_or_forged_makes_no_second_guest() -> None:
    made = fleet()
    lost = made.stacks["shop"].status.model_copy(update={"node": None, "epoch": None})
    made.stacks["shop"] = made.stacks["shop"].model_copy(update={"status": lost})
    made.settle()
    only_on(made, "a")
    forged = made.stacks["shop"].status.model_copy(update={"node": "b", "moving_to": None})
    made.stacks["shop"] = made.stacks["shop"].model_copy(update={"status": forged})
    made.settle()
    only_on(made, "a")


EVENTS = [
    "operator",
    "killed",
    "agent a",
    "agent b",
    "zone",
    "refuse",
    "allow",
    "there",
    "back",
    "anywhere",
    "pause",
    "go on",
    "carried a",
    "carried b",
]


@given(st.lists(st.sampled_from(EVENTS), max_size=40))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_there_is_one_guest_and_it_ends_where_it_is_wanted(events: list[str]) -> None:
    made = fleet()
    for event in events:
        match event.split():
            case ["operator"]:
                made.reconcile("shop")
            case ["killed"]:
                made.reconcile("shop", killed_after=1)
            case ["agent", name]:
                made.agent_pass(name)
            case ["carried", name]:
                made.carry("shop", name)
            case ["zone"]:
                made.zone_pass()
            case ["refuse"]:
                made.refusing = {"pve-a", "pve-b"}
            case ["allow"]:
                made.refusing = set()
            case ["pause"]:
                made.edit("shop", paused=True)
            case ["go", "on"]:
                made.edit("shop", paused=None)
            case [where]:
                target = {"there": {"node": "b"}, "back": {"node": "a"}, "anywhere": None}[where]
                made.edit("shop", placement=target)
    made.refusing = set()
    made.edit("shop", paused=None)
    made.settle()
    made.wait(RETRY)
    made.settle()
    placement = made.stacks["shop"].spec.placement
    only_on(made, placement.node if placement and placement.node else made.where("shop"))
    assert made.ready("shop") == Reason.SERVING
    assert made.machines["uid-shop"].running
