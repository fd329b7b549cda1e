"""The plan: tables for what a change costs, properties for what holds whatever happens."""

from dataclasses import replace
from typing import Any

import pytest
from dsecos_agent.engines.model import GuestState, ObservedGuest
from dsecos_agent.guests import actions as do
from dsecos_agent.guests import desired
from dsecos_agent.guests.blocks import blocks
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.lifecycle import SEEN
from dsecos_agent.guests.plan import plan
from dsecos_agent.storage.protocol import Dataset, DatasetKind, VolumeRef
from dsecos_api.conditions import Reason
from dsecos_api.lifecycle import TRANSITIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from .model import Model
from .samples import NODE, STRANGER, attachment, digest, guest, spec, wish

ROUNDS = 12


def converge(model: Model, wanted: Wanted, *, kill_after: int | None = None) -> list[do.Action]:
    """Plan and act until there is nothing to do; with `kill_after` stop after so many actions, as a crash
    would.
    """
    taken: list[do.Action] = []
    for _ in range(ROUNDS):
        seen, actions = model.look(wanted)
        if not actions and model.job is None:
            return taken
        for action in actions:
            model.act(wanted, action, seen)
            taken.append(action)
            if kill_after is not None and len(taken) >= kill_after:
                model.job = None  # it lived in the process that was killed
                return taken
            if isinstance(action, do.RemoveFinalizer):
                return taken
        model.finish_job(wanted)
    raise AssertionError(f"no end: {[action.name for action in taken]}")


def up(**changes: Any) -> tuple[Model, Wanted]:
    """A guest that is up."""
    model, wanted = Model(), wish(**changes)
    converge(model, wanted)
    return model, wanted


def names(actions: list[do.Action]) -> list[str]:
    return [action.name for action in actions]


def test_a_new_guest() -> None:
    wanted = wish()
    assert names(plan(wanted, Model().seen(wanted))) == [
        "guest-volume",
        "guest-clone",
        "guest-bridge",
        "guest-firewall",
        "guest-prepare",
        "guest-config",
        "guest-start",
        "guest-attach",
        "guest-bring-up",
    ]


def test_a_guest_that_is_up_needs_nothing() -> None:
    model, wanted = up()
    assert plan(wanted, model.seen(wanted)) == []
    assert (model.boots, model.ups) == (1, 1)


CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a limit is set live": (
        {"resources": {"cpu": "2", "memory": "1Gi", "disk": "10Gi"}},
        ["guest-limits", "guest-config"],
    ),
    "the disk's size is a quota": (
        {"resources": {"cpu": "1", "memory": "512Mi", "disk": "20Gi"}},
        ["guest-quota"],
    ),
    "a volume's size is a quota": (
        {"volumes": [{"name": "pgdata", "size": "9Gi", "deletionPolicy": "Retain"}]},
        ["guest-volume-quota"],
    ),
    "a document is brought up": (
        {"compose": {"document": spec()["compose"]["document"], "digest": "d2"}},
        ["guest-bring-up"],
    ),
    "another host name restarts": (
        {"hostname": "other"},
        ["guest-config", "guest-stop", "guest-start", "guest-attach", "guest-bring-up"],
    ),
    "another id map restarts": (
        {"idMap": {"base": 2000000, "count": 65536}},
        [
            "guest-volume",
            "guest-admit",
            "guest-config",
            "guest-stop",
            "guest-start",
            "guest-attach",
            "guest-bring-up",
        ],
    ),
    "a volume more restarts": (
        {"volumes": [*spec()["volumes"], {"name": "more", "size": "1Gi"}]},
        ["guest-volume", "guest-config", "guest-stop", "guest-start", "guest-attach", "guest-bring-up"],
    ),
    "a volume less restarts, then gives it up": (
        {"volumes": []},
        [
            "guest-config",
            "guest-stop",
            "guest-start",
            "guest-attach",
            "guest-bring-up",
            "guest-volume-release",
        ],
    ),
    "stopped": ({"runPolicy": "Stopped"}, ["guest-limits", "guest-config", "guest-stop"]),
    "suspended": ({"runPolicy": "Suspended"}, ["guest-limits", "guest-config", "guest-freeze"]),
    "restarted once": (
        {"restart": "1"},
        ["guest-stop", "guest-start", "guest-attach", "guest-bring-up"],
    ),
    "another order at boot is written": ({"startup": {"order": 1}}, ["guest-limits", "guest-config"]),
    "what happens on deletion changes nothing now": ({"deletionPolicy": "Retain"}, []),
    "paused": ({"hostname": "other", "paused": True}, []),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_costs_no_more_than_it_must(what: str) -> None:
    changes, expected = CHANGES[what]
    model, _ = up()
    wanted = wish(**changes)
    assert names(converge(model, wanted)) == expected
    assert plan(wanted, model.seen(wanted)) == []


def test_an_edited_port_is_the_firewalls_alone() -> None:
    model, wanted = up()
    model.rules = "others"
    assert names(plan(wanted, model.seen(wanted))) == ["guest-firewall"]


def test_a_dead_guest_is_started_and_its_services_are_looked_at() -> None:
    model, wanted = up()
    model.stop()
    assert names(plan(wanted, model.seen(wanted))) == ["guest-start", "guest-attach", "guest-bring-up"]
    converge(model, wanted)
    assert (model.boots, model.ups) == (2, 1), "its services come back by themselves: no needless compose up"


def test_a_service_that_was_removed_comes_back() -> None:
    model, wanted = up()
    del model.containers["db"]
    assert names(converge(model, wanted)) == ["guest-bring-up"]
    assert model.ups == 2


def test_a_lost_bridge_is_made_and_the_port_put_back_without_a_restart() -> None:
    model, wanted = up()
    assert model.port is not None
    model.bridge, model.port = None, replace(model.port, bridge=None)
    assert names(converge(model, wanted)) == ["guest-bridge", "guest-attach"]
    assert model.boots == 1


def test_a_lost_port_is_worth_a_restart() -> None:
    model, wanted = up()
    model.port = None
    assert names(converge(model, wanted)) == ["guest-stop", "guest-start", "guest-attach", "guest-bring-up"]


def test_a_suspended_guest_goes_on_where_it_was() -> None:
    model, _ = up(runPolicy="Suspended", compose=spec()["compose"])
    wanted = wish()
    converge(model, wanted)
    converge(model, wish(runPolicy="Suspended"))
    assert model.engine is not None
    assert model.engine.state is GuestState.SUSPENDED
    converge(model, wanted)
    assert model.boots == 1


def test_no_template_no_guest() -> None:
    wanted = wish(node=replace(NODE, templates={}))
    assert plan(wanted, Model().seen(wanted)) == []
    found = blocks(wanted, Model().seen(wanted))
    assert [(block.reason, block.stalled) for block in found] == [(Reason.GUEST_TEMPLATE_MISSING, False)]


def test_a_template_that_went_does_not_matter_to_a_guest_that_is_there() -> None:
    model, _ = up()
    wanted = wish(node=replace(NODE, templates={}))
    assert plan(wanted, model.seen(wanted)) == []


@pytest.mark.parametrize("what", ["container", "disk", "volume", "bridge"])
def test_what_is_not_ours_is_not_touched(what: str) -> None:
    model, wanted = Model(), wish()
    if what == "container":
        model.engine = ObservedGuest(wanted.name, STRANGER, GuestState.RUNNING, 1, "x", "x", None)
    if what == "disk":
        model.disk = Dataset(DatasetKind.GUEST, wanted.name, STRANGER, "abc", None)
    if what == "volume":
        ref = wanted.volumes[0].ref
        model.volumes["default", ref] = Dataset(DatasetKind.VOLUME, str(ref), STRANGER, None, None)
    if what == "bridge":
        assert wanted.bridge is not None
        model.act(wanted, do.EnsureBridge(replace(wanted.bridge, owner_uid=STRANGER)))
    seen = model.seen(wanted)
    assert plan(wanted, seen) == []
    assert [block.reason for block in blocks(wanted, seen)] == [Reason.NOT_OURS]


def test_a_foreign_container_does_not_keep_a_deleted_object() -> None:
    model, wanted = Model(), wish(deleting=True)
    model.engine = ObservedGuest(wanted.name, STRANGER, GuestState.RUNNING, 1, "x", "x", None)
    converge(model, wanted)
    assert not model.finalizer
    assert model.engine is not None
    assert model.engine.state is GuestState.RUNNING


DELETIONS = {
    # guest's policy, volume's policy: destroyed, container, volume's owner
    ("Delete", "Retain"): (["disk"], None, None),
    ("Delete", "Delete"): (["acme/shop/pgdata", "disk"], None, "gone"),
    ("Retain", "Retain"): ([], "Stopped", None),
    ("Retain", "Delete"): (["acme/shop/pgdata"], "Stopped", "gone"),
    ("Orphan", "Delete"): ([], "Running", "kept"),
    ("Delete", "Orphan"): (["disk"], None, "kept"),
}


@pytest.mark.parametrize(("policy", "volume"), DELETIONS)
def test_a_deletion_does_what_the_policy_says(policy: str, volume: str) -> None:
    destroyed, state, owner = DELETIONS[policy, volume]
    volumes = [{"name": "pgdata", "size": "5Gi", "deletionPolicy": volume}]
    model, _ = up(deletionPolicy=policy, volumes=volumes)
    wanted = wish(deletionPolicy=policy, volumes=volumes, deleting=True)
    converge(model, wanted)
    assert not model.finalizer
    assert sorted(model.destroyed) == destroyed
    assert (model.engine.state if model.engine else None) == state
    dataset = model.volumes.get(("default", VolumeRef("acme", "shop", "pgdata")))
    found = "gone" if dataset is None else ("kept" if dataset.owner_uid else None)
    assert found == owner


def test_data_that_was_kept_meets_a_stack_that_is_made_again() -> None:
    model, _ = up()
    converge(model, wish(deleting=True))
    again = "5e0f6b8e-0000-4000-8000-000000000002"
    model.finalizer = True
    wanted = wish(stackRef={"namespace": "acme", "name": "shop", "uid": again})
    converge(model, wanted)
    dataset = model.volumes["default", VolumeRef("acme", "shop", "pgdata")]
    assert dataset.owner_uid == again


def test_a_half_made_disk_is_removed_though_no_listing_shows_it() -> None:
    model = Model(half_disk=True)
    converge(model, wish(deleting=True))
    assert not model.finalizer


# Properties

VOLUMES = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", "c"]),
            "size": st.sampled_from(["1Gi", "2Gi"]),
            "pool": st.sampled_from([None, "fast"]),
            "deletionPolicy": st.sampled_from(["Retain", "Delete", "Orphan"]),
        }
    ),
    max_size=3,
    unique_by=lambda volume: volume["name"],
)

SPECS = st.fixed_dictionaries(
    {
        "hostname": st.sampled_from(["shop", "other"]),
        "resources": st.fixed_dictionaries(
            {
                "cpu": st.sampled_from(["1", "500m"]),
                "memory": st.just("512Mi"),
                "disk": st.sampled_from(["10Gi", "11Gi"]),
            }
        ),
        "idMap": st.sampled_from([{"base": 1000000, "count": 65536}, {"base": 2000000, "count": 65536}]),
        "volumes": VOLUMES,
        "compose": st.sampled_from(["d1", "d2"]).map(lambda name: {**spec()["compose"], "digest": name}),
        "runPolicy": st.sampled_from(["Running", "Running", "Stopped", "Suspended"]),
        "deletionPolicy": st.sampled_from(["Delete", "Retain", "Orphan"]),
    }
)


def check_life(model: Model) -> None:
    """Whatever we did follows the table; what does not was done by others."""
    life = model.record.life if model.record else None
    for step in [] if life is None else life.transitions:
        assert step.to in TRANSITIONS[step.from_] or step.cause in SEEN, step


FAULTS = st.sampled_from(["none", "dies", "bridge", "port", "rules", "service", "restart", "records"])


def fault(model: Model, what: str) -> None:
    """What may happen from outside."""
    match what:
        case "dies":
            model.stop()
        case "bridge":
            model.bridge = None
            model.port = replace(model.port, bridge=None) if model.port else None
        case "port":
            model.port = None
        case "rules":
            model.rules = None
        case "service":
            model.containers.pop("db", None)
        case "restart":
            model.job = None


STEPS = st.lists(st.tuples(SPECS, st.integers(1, 12) | st.none(), FAULTS), min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_any_history_of_changes_kills_and_faults_converges(
    steps: list[tuple[dict[str, Any], Any, str]],
) -> None:
    model = Model()
    for changes, kill_after, what in steps:
        wanted = wish(**changes)
        converge(model, wanted, kill_after=kill_after)
        fault(model, what)
    wanted = wish(**steps[-1][0])
    converge(model, wanted)
    seen = model.seen(wanted)
    assert plan(wanted, seen) == [], "planning after acting is empty"
    check_life(model)
    if any(block.reason is Reason.ILLEGAL_TRANSITION for block in blocks(wanted, seen)):
        assert wanted.run == "Suspended"
        assert not seen.alive
        return
    assert seen.engine is not None
    assert seen.frozen or seen.engine.config_digest == wanted.digest.full
    assert model.destroyed == [], "nothing is destroyed without a deletion"
    if wanted.run == "Running":
        assert seen.running
        assert seen.engine.booted_digest == wanted.digest.boot
        assert set(model.containers) >= {"web", "db"}
    elif wanted.run == "Stopped":
        assert not seen.alive
    named = {(volume.pool, volume.ref) for volume in wanted.volumes}
    for key, dataset in model.volumes.items():
        if key in named:
            assert dataset.owner_uid == wanted.owner_uid


@settings(max_examples=400, deadline=None)
@given(STEPS, st.lists(st.integers(1, 6), max_size=4))
def test_any_deletion_that_is_killed_anywhere_ends_and_destroys_only_what_it_may(
    steps: list[tuple[dict[str, Any], Any, str]], kills: list[int]
) -> None:
    model = Model()
    for changes, kill_after, what in steps:
        converge(model, wish(**changes), kill_after=kill_after)
        fault(model, what)
    last = steps[-1][0]
    wanted = wish(deleting=True, **last)
    for kill_after in kills:
        if model.finalizer:
            converge(model, wanted, kill_after=kill_after)
    if model.finalizer:
        converge(model, wanted)
    assert not model.finalizer
    check_life(model)
    policy = last["deletionPolicy"]
    allowed = {
        f"acme/shop/{volume['name']}" for volume in last["volumes"] if volume["deletionPolicy"] == "Delete"
    }
    assert set(model.destroyed) <= ({"disk"} if policy == "Delete" else set()) | (
        allowed if policy != "Orphan" else set()
    )
    if policy == "Delete":
        assert model.engine is None
        assert model.disk is None
        assert model.record is None


def test_nothing_is_started_without_its_zone() -> None:
    wanted = desired.wanted(guest(), None, NODE, digest)
    model = Model()
    assert plan(wanted, model.seen(wanted)) == []
    assert attachment().name in blocks(wanted, model.seen(wanted))[0].message


def test_a_pool_that_the_node_never_had_does_not_keep_a_deleted_object() -> None:
    volumes = [{"name": "pgdata", "size": "5Gi", "pool": "none", "deletionPolicy": "Delete"}]
    model = Model()
    changes: dict[str, Any] = {"pool": "none", "volumes": volumes}
    converge(model, wish(**changes))
    converge(model, wish(deleting=True, **changes))
    assert not model.finalizer
    assert model.destroyed == []
