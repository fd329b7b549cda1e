"""What was there before is taken over where it is, lives as others do, and is given back as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from dsecos_api import Node, Reason, Type
from dsecos_api.names import LABEL_ZONE, LABEL_ZONE_NAMESPACE
from dsecos_api.types import DeletionPolicy
from dsecos_operator.stacks import retained
from dsecos_operator.stacks.actions import AddFinalizer, ApplyGuest, DeleteGuest, WriteClaim
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.guests import same
from dsecos_operator.stacks.moving import RETRY
from dsecos_operator.stacks.observe import observe
from dsecos_operator.stacks.wakeups import WakeUps
from dsecos_operator.zones.observe import observe as observe_zone
from dsecos_runtime import NODE, Cache, Key
from hypothesis import given, settings
from hypothesis import strategies as st

from .fleet import Fleet, Machine, proxmox, space
from .objects import adopting, node, stack
from .world import World

LARGE = {"cpu": "500m", "memory": "6Gi", "disk": "1Gi"}


def lxc(name: str, **more: Any) -> Node:
    """A node whose engine can take containers over, and nothing else."""
    return node(name, capabilities=["container/Adopt"], **more)


def before(*nodes: Node) -> Fleet:
    """Somebody's guest 105 runs on node a."""
    made = Fleet()
    for each in nodes or (lxc("a"), lxc("b", memory="64Gi")):
        made.add_node(each)
    made.make_by_hand("105", "a")
    return made


def fleet(*nodes: Node, **spec: Any) -> Fleet:
    """Stack old has taken it over."""
    made = before(*nodes)
    made.adopt("old", on="a", **spec)
    made.settle()
    return made


def on_rack(**spec: Any) -> Fleet:
    """The same in a cluster where guests can be moved."""
    made = fleet(proxmox("a"), proxmox("b"), **spec)
    made.done.clear()
    return made


def test_it_is_taken_over_where_it_is_and_has_no_zone_no_address_and_no_document() -> None:
    made = fleet()
    assert made.done == ["stack-finalizer-add", "stack-claim", "guest-apply"]
    status = made.stacks["old"].status
    assert (status.node, status.epoch, status.address, status.endpoints) == ("a", 1, None, [])
    assert (made.where("old"), made.machines["uid-old"].running, made.outside) == ("a", True, {})
    (guest,) = made.guests.values()
    assert guest.spec.adopt == "105"
    assert (guest.spec.image, guest.spec.id_map, guest.spec.network, guest.spec.compose) == (None,) * 4
    assert guest.spec.volumes == []
    assert not {LABEL_ZONE, LABEL_ZONE_NAMESPACE} & set(guest.metadata.labels)
    assert made.secrets == {}
    assert made.attachments == {}


def test_the_first_plan_claims_the_place_before_the_guest_is_made() -> None:
    world = World(stack=adopting())
    assert [type(action) for action in world.plan()] == [AddFinalizer, WriteClaim, ApplyGuest]


def test_it_is_ready_when_it_runs_and_nobody_claims_that_it_serves() -> None:
    made = fleet()
    assert made.ready("old") == Reason.ADOPTED
    assert "whether what is in it serves is not looked at" in made.message("old", Type.READY)
    assert made.reason("old", Type.RENDERED) == Reason.ADOPTED
    assert made.message("old", Type.SCHEDULED) == "on a"


@pytest.mark.parametrize("policy", ["Stopped", "Running"])
def test_its_run_policy_is_obeyed(policy: str) -> None:
    made = fleet()
    made.edit("old", runPolicy=policy)
    made.settle()
    assert made.machines["uid-old"].running == (policy == "Running")
    assert made.ready("old") == (Reason.ADOPTED if policy == "Running" else Reason.STOPPED)


def test_what_the_agent_cannot_find_is_not_ready() -> None:
    made = before()
    made.adopt("old", on="a", engine_id="106")
    made.settle()
    assert made.ready("old") == Reason.FAILED
    assert list(made.outside) == ["105"]


REFUSED: dict[str, tuple[tuple[Node, ...], dict[str, Any], Reason, str, str]] = {
    "no such node": ((lxc("b"),), {}, Reason.NO_NODE_FITS, "spec.adopt.node: there is no Node a", ""),
    "not ready": (
        (lxc("a", ready=False), lxc("b")),
        {},
        Reason.NO_NODE_FITS,
        "it cannot be adopted: a: it is not Ready (AgentLost)",
        "",
    ),
    "in maintenance": ((lxc("a", maintenance=True),), {}, Reason.NO_NODE_FITS, "it is in maintenance", ""),
    "another type": (
        (lxc("a"),),
        {"type": "vm"},
        Reason.UNSUPPORTED,
        "a: engine lxc runs no guests of type vm",
        "Stalled",
    ),
    "an engine that cannot": (
        (node("a", capabilities=["container/Exec"]), lxc("b")),
        {},
        Reason.UNSUPPORTED,
        "a: engine lxc cannot take over guests of type container",
        "Stalled",
    ),
    "an agent that has not told": (
        (node("a"),),
        {},
        Reason.UNSUPPORTED,
        "a: its agent has not told what its engine can do",
        "",
    ),
}


@pytest.mark.parametrize(("nodes", "spec", "why", "told", "stalled"), REFUSED.values(), ids=REFUSED.keys())
def test_it_waits_for_its_own_node_and_goes_to_no_other(
    nodes: tuple[Node, ...], spec: dict[str, Any], why: Reason, told: str, stalled: str
) -> None:
    made = Fleet()
    for each in nodes:
        made.add_node(each)
    made.adopt("old", on="a", **spec)
    made.settle()
    assert made.done == []
    assert made.reason("old", Type.SCHEDULED) == made.ready("old") == why
    assert told in made.message("old", Type.SCHEDULED)
    assert bool(made.reason("old", Type.STALLED)) == bool(stalled)
    made.add_node(node("a", capabilities=["container/Adopt", "vm/Adopt"]))
    made.make_by_hand("105", "a")
    made.settle()
    assert (made.place("old"), made.ready("old")) == ("a", Reason.ADOPTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda: (node("a"), lxc("a")),
        lambda: (lxc("a", ready=False), lxc("a")),
        lambda: (lxc("a", maintenance=True), lxc("a")),
        lambda: (None, lxc("a")),
    ],
)
def test_what_a_node_can_and_whether_it_is_ready_wakes_those_who_wait(
    change: Callable[[], tuple[Node | None, Node]],
) -> None:
    made = Fleet()
    made.adopt("old", on="a")
    made.settle()
    (of_nodes,) = [each for each in WakeUps(cast(Cache, made)).inputs() if each.resource == NODE]
    old, new = change()
    assert of_nodes.changed(old, new)
    assert Key("acme", "old") in of_nodes.keys(new)


def test_a_full_node_refuses_no_adoption_and_nobody_who_is_there_suffers() -> None:
    made = before(lxc("a", memory="4Gi", guests="1"))
    made.add("shop", resources={"cpu": "500m", "memory": "3Gi", "disk": "1Gi"})
    made.settle()
    made.adopt("old", on="a", resources=LARGE)
    made.settle()
    assert (made.ready("old"), made.ready("shop")) == (Reason.ADOPTED, Reason.SERVING)
    made.add("next")
    made.settle()
    assert "memory 1Gi is wanted, 9Gi of 4Gi allocatable is taken" in made.message("next", Type.SCHEDULED)


def test_it_cannot_grow_beyond_its_node_but_in_what_is_left() -> None:
    made = fleet(lxc("a", memory="4Gi"), resources=LARGE)
    made.edit("old", resources={**LARGE, "memory": "7Gi"})
    made.settle()
    assert made.reason("old", Type.SCHEDULED) == Reason.NO_NODE_FITS
    assert "what was deployed before keeps running" in made.message("old", Type.READY)
    (guest,) = made.guests.values()
    assert guest.spec.resources.memory == "6Gi"
    made.edit("old", resources={**LARGE, "cpu": "2"})
    made.settle()
    (guest,) = made.guests.values()
    assert (made.ready("old"), guest.spec.resources.cpu) == (Reason.ADOPTED, "2")


def test_neither_labels_nor_companions_keep_it_from_being_where_it_is() -> None:
    made = before()
    made.add("db", placement={"node": "a"})
    made.settle()
    placement = {"nodeSelector": {"gpu": "yes"}, "antiAffinity": {"stacks": ["db"]}}
    made.adopt("old", on="a", placement=placement)
    made.settle()
    assert (made.place("old"), made.ready("old")) == ("a", Reason.ADOPTED)


def test_others_are_together_with_it_or_apart_by_its_name() -> None:
    made = before()
    made.add("near", placement={"affinity": {"stacks": ["old"]}})
    made.adopt("old", on="a", placement={"antiAffinity": {"stacks": ["shy"]}})
    made.reconcile("near")
    assert "waits for Stack acme/old" in made.message("near", Type.SCHEDULED)
    made.add("far", placement={"antiAffinity": {"stacks": ["old"]}})
    made.add("shy")
    made.settle()
    made.reconcile("near")
    assert [made.place(name) for name in ("near", "far", "shy")] == ["a", "b", "b"]


def test_two_without_a_zone_have_none_in_common() -> None:
    made = fleet()
    made.make_by_hand("200", "b")
    made.adopt("other", on="b", engine_id="200")
    made.settle()
    assert (made.place("other"), made.ready("other")) == ("b", Reason.ADOPTED)
    made.delete("old")
    found = observe(cast(Cache, made), Key("acme", "old"))
    assert (found.zone, found.attachment, found.neighbours) == (None, None, 0)
    of_no_zone = observe_zone(cast(Cache, made), Key("acme", ""))
    assert (of_no_zone.stacks, of_no_zone.guests, of_no_zone.needed) == ([], [], [])
    made.settle()
    assert list(made.stacks) == ["other"]


def test_only_what_was_adopted_has_a_place_without_an_address() -> None:
    placed = fleet().stacks["old"]
    claim = claim_of(placed)
    assert claim is not None
    assert claim.address is None
    forged = placed.model_copy(update={"status": placed.status.model_copy(update={"address": "10.0.0.9"})})
    assert claim_of(forged) == claim
    half = placed.status.to_dict()
    assert claim_of(stack("old", status=half)) is None
    assert claim_of(stack("old", status={**half, "address": "10.20.0.2"})) is not None
    assert claim_of(adopting("another", status=half)) is None
    for lost in ("node", "guest", "epoch"):
        status = placed.status.model_copy(update={lost: None})
        assert claim_of(placed.model_copy(update={"status": status})) is None


def test_a_status_that_was_lost_makes_no_second_guest() -> None:
    made = on_rack()
    made.edit("old", placement={"node": "b"})
    made.settle()
    lost = made.stacks["old"].status.model_copy(update={"node": None, "epoch": None})
    made.stacks["old"] = made.stacks["old"].model_copy(update={"status": lost})
    made.settle()
    assert (made.place("old"), made.where("old"), len(made.guests)) == ("b", "b", 1)


# How it ends


@pytest.mark.parametrize(
    ("policy", "ordered", "left"),
    [
        (None, DeletionPolicy.ORPHAN, True),
        ("Orphan", DeletionPolicy.ORPHAN, True),
        ("Retain", DeletionPolicy.RETAIN, False),
        ("Delete", DeletionPolicy.DELETE, None),
    ],
)
def test_a_stack_that_goes_gives_it_back_unless_it_says_otherwise(
    policy: str | None, ordered: DeletionPolicy, left: bool | None
) -> None:
    made = fleet(**({"deletionPolicy": policy} if policy else {}))
    (guest,) = made.guests.values()
    assert guest.spec.deletion_policy == ordered
    made.delete("old")
    made.settle()
    assert (made.stacks, made.guests, made.machines) == ({}, {}, {})
    assert {name: each.running for name, each in made.outside.items()} == (
        {} if left is None else {"105": left}
    )
    assert "retained-apply" not in made.done


def test_what_is_said_last_holds_although_the_stack_is_paused() -> None:
    world = World(stack=adopting(deletionPolicy="Delete"))
    world.settle()
    world.edit(paused=True, deletionPolicy=None)
    world.delete()
    kinds = [type(action) for action in world.plan()]
    assert kinds == [ApplyGuest, DeleteGuest]
    world.reconcile()
    (guest,) = world.guests.values()
    assert guest.spec.deletion_policy == DeletionPolicy.ORPHAN


@pytest.mark.parametrize("policy", ["Orphan", "Retain", "Delete"])
def test_nothing_is_remembered_of_it_and_nothing_forgotten(policy: str) -> None:
    earlier = {"acme.shop": '{"volumes": [{"name": "data", "pool": null}], "guests": []}'}
    world = World(stack=adopting("shop", deletionPolicy=policy), kept=dict(earlier))
    world.settle()
    world.delete()
    world.settle()
    assert world.stack is None
    assert world.kept == earlier
    assert retained.orphans(world.observed().retained) == []


def test_what_was_given_back_can_be_taken_over_again_by_another_stack() -> None:
    made = fleet()
    made.delete("old")
    made.settle()
    made.adopt("new", on="a")
    made.settle()
    assert made.ready("new") == Reason.ADOPTED


# Its way from node to node


def test_it_moves_as_others_do_and_waits_for_no_zone() -> None:
    made = on_rack()
    made.edit("old", placement={"node": "b"})
    made.settle()
    assert made.done == [
        "stack-reserve",
        "guest-migrate",
        "stack-arrive",
        "guest-take-over",
        "guest-forget",
    ]
    assert (made.place("old"), made.where("old"), made.ready("old")) == ("b", "b", Reason.ADOPTED)
    ((namespace, _),) = made.guests
    (guest,) = made.guests.values()
    assert (namespace, guest.spec.adopt, guest.spec.epoch) == (space("b"), "105", 2)
    made.delete("old")
    made.settle()
    assert made.outside == {"105": Machine("pve-b", True, 0)}


def test_one_that_names_another_node_is_taken_over_first_and_then_moved() -> None:
    made = on_rack(placement={"node": "b"})
    assert (made.place("old"), made.where("old"), made.ready("old")) == ("b", "b", Reason.ADOPTED)
    rooted = fleet(placement={"node": "b"})
    assert (rooted.place("old"), rooted.where("old")) == ("a", "a")
    told = "spec.placement.node: it stays on a: engine lxc of a cannot move guests of type container"
    assert told in rooted.message("old", Type.SCHEDULED)


def test_where_it_is_moved_to_it_is_judged_as_a_newcomer() -> None:
    made = fleet(proxmox("a"), proxmox("b", memory="4Gi"), resources=LARGE)
    made.edit("old", placement={"node": "b", "nodeSelector": {"gpu": "yes"}})
    made.settle()
    told = made.message("old", Type.SCHEDULED)
    assert "it lacks the label gpu=yes" in told
    assert "memory 6Gi is wanted, 0 of 4Gi" in told
    assert made.where("old") == "a"


@pytest.mark.parametrize("kills", range(7))
def test_killed_between_any_two_steps_it_goes_on(kills: int) -> None:
    made = on_rack()
    made.edit("old", placement={"node": "b"})
    for _ in range(12):
        if len(made.done) < kills:
            made.reconcile("old", killed_after=1)
        for name in made.nodes:
            made.agent_pass(name)
    made.settle()
    assert (made.place("old"), made.where("old"), len(made.guests)) == ("b", "b", 1)
    assert made.done.count("stack-arrive") == made.done.count("guest-migrate") == 1


@pytest.mark.parametrize("after", range(6))
def test_deleted_on_the_way_it_is_given_back_where_it_has_arrived(after: int) -> None:
    made = on_rack()
    made.edit("old", placement={"node": "b"})
    for _ in range(12):
        if len(made.done) >= after:
            break
        made.reconcile("old", killed_after=1)
        for name in made.nodes:
            made.agent_pass(name)
    made.delete("old")
    made.settle()
    assert (made.stacks, made.guests, made.machines) == ({}, {}, {})
    assert made.outside["105"].running


def test_maintenance_moves_it_where_that_can_be_and_stops_it_elsewhere() -> None:
    made = on_rack()
    made.maintain("a")
    made.settle()
    assert (made.where("old"), made.outcome("a").done) == ("b", True)
    alone = fleet()
    alone.maintain("a")
    alone.settle()
    assert not alone.machines["uid-old"].running
    assert (alone.ready("old"), alone.outcome("a").done) == (Reason.MAINTENANCE, True)
    alone.maintain("a", on=False)
    alone.settle()
    assert alone.machines["uid-old"].running
    assert alone.ready("old") == Reason.ADOPTED


@pytest.mark.parametrize("nodes", [(lxc("a"),), (proxmox("a"), proxmox("b"))])
def test_one_that_could_not_be_taken_over_keeps_nobody_from_maintenance(nodes: tuple[Node, ...]) -> None:
    made = before(*nodes)
    made.adopt("old", on="a", engine_id="106")
    made.add("shop", placement={"node": "a"})
    made.settle()
    made.edit("shop", placement=None)
    made.maintain("a")
    made.settle()
    assert made.outcome("a").done
    made.maintain("a", on=False)
    made.make_by_hand("106", "a")
    made.settle()
    assert (made.ready("old"), made.ready("shop")) == (Reason.ADOPTED, Reason.SERVING)


def test_its_disruption_group_is_respected() -> None:
    made = fleet(disruptionGroup="web")
    made.add("shop", disruptionGroup="web", placement={"node": "a"})
    made.settle()
    made.maintain("a", maxUnavailable=9)
    made.settle()
    assert sum(each.running for each in made.machines.values()) == 1
    assert "its disruption group web" in made.waiting("a")[0]


# Whatever happens

EVENTS: dict[str, Callable[[World], object]] = {
    "more memory": lambda world: world.edit(resources={"cpu": "1", "memory": "2Gi", "disk": "1Gi"}),
    "stopped": lambda world: world.edit(runPolicy="Stopped"),
    "retain": lambda world: world.edit(deletionPolicy="Retain"),
    "drift": lambda world: world.edit(driftPolicy="Report"),
    "started late": lambda world: world.edit(startup={"order": 200}),
}
MISHAPS: dict[str, Callable[[World], object]] = {
    "a pass": lambda world: world.reconcile(),
    "killed at once": lambda world: world.reconcile(killed_after=1),
    "killed after two": lambda world: world.reconcile(killed_after=2),
    "the agent": lambda world: world.others(),
    "guest deleted by hand": lambda world: world.lose_guest(),
    "paused": lambda world: world.edit(paused=True),
    "resumed": lambda world: world.edit(paused=None),
    "broken": lambda world: setattr(world, "broken", True),
    "mended": lambda world: setattr(world, "broken", False),
}
mishaps = st.lists(st.sampled_from(sorted(MISHAPS)), max_size=12)


@given(st.permutations(sorted(EVENTS)), st.data())
def test_any_order_of_events_ends_the_same(order: list[str], data: st.DataObject) -> None:
    world = World(stack=adopting())
    for name in order:
        EVENTS[name](world)
        for mishap in data.draw(mishaps, label=f"after {name}"):
            MISHAPS[mishap](world)
    world.edit(paused=None)
    world.broken = False
    world.settle()
    assert world.plan() == []
    smooth = World(stack=adopting())
    for name in order:
        EVENTS[name](smooth)
    smooth.settle()
    (guest,), (expected,) = world.guests.values(), smooth.guests.values()
    assert same(guest, expected)


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=4), mishaps, mishaps)
def test_deleted_at_any_moment_nothing_of_ours_is_left(
    events: list[str], first: list[str], after: list[str]
) -> None:
    world = World(stack=adopting())
    for name in events:
        EVENTS[name](world)
    for name in first:
        MISHAPS[name](world)
    world.delete()
    for name in after:
        MISHAPS[name](world)
    world.settle()
    assert (world.stack, world.guests, world.secrets, world.kept) == (None, {}, {}, {})


HAPPENINGS = [
    *("operator",) * 3,
    "killed",
    "agent a",
    "agent b",
    "refuse",
    "allow",
    "there",
    "back",
    "anywhere",
    "maintain",
    "end",
    "pause",
    "go on",
    "stop",
    "run",
]


@given(st.lists(st.sampled_from(HAPPENINGS), max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_happens_there_is_one_of_it_and_it_can_be_had_back(events: list[str], ends: bool) -> None:
    made = on_rack()
    for event in events:
        _happen(made, event)
        assert len(made.machines) + len(made.outside) == 1
    made.refusing = set()
    made.maintain("a", on=False)
    made.edit("old", paused=None, runPolicy=None)
    if ends:
        made.delete("old")
    made.settle()
    made.wait(RETRY)
    made.settle()
    if ends:
        assert (made.stacks, made.guests, made.machines) == ({}, {}, {})
        assert list(made.outside) == ["105"]
        return
    placement = made.stacks["old"].spec.placement
    assert made.ready("old") == Reason.ADOPTED
    assert made.machines["uid-old"].running
    assert [namespace for namespace, _ in made.guests] == [space(made.where("old"))]
    assert made.where("old") == (placement.node if placement and placement.node else made.where("old"))


def _happen(made: Fleet, event: str) -> None:
    edits: dict[str, dict[str, Any]] = {
        "there": {"placement": {"node": "b"}},
        "back": {"placement": {"node": "a"}},
        "anywhere": {"placement": None},
        "pause": {"paused": True},
        "go on": {"paused": None},
        "stop": {"runPolicy": "Stopped"},
        "run": {"runPolicy": None},
    }
    match event.split():
        case ["operator"]:
            made.reconcile("old")
        case ["killed"]:
            made.reconcile("old", killed_after=1)
        case ["agent", name]:
            made.agent_pass(name)
        case ["refuse"]:
            made.refusing = {"pve-a", "pve-b"}
        case ["allow"]:
            made.refusing = set()
        case ["maintain"] | ["end"]:
            made.maintain("a", on=event == "maintain")
        case _:
            made.edit("old", **edits[event])
