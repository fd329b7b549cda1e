"""A guest that was there before is taken over once, driven, and given up as it was."""

from dataclasses import replace
from typing import Any

import pytest
from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.engines.model import Adopted, Capability, GuestKind, GuestState, Limits
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.blocks import blocks
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.failures import ActionFailedError, explain
from dsecos_agent.guests.plan import plan, plan_removal
from dsecos_agent.guests.record import Record, Removal
from dsecos_agent.guests.report import status
from dsecos_agent.guests.state import Observed
from dsecos_api.conditions import Reason
from dsecos_api.guest import GuestStatus
from dsecos_api.lifecycle import LifecycleState
from dsecos_api.types import DeletionPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

from .outside import ID, Outside
from .samples import LXC, NODE, PROXMOX, PVE, STRANGER, UID, guest, wish
from .test_plan import check_life, converge, names

GIB = 1 << 30
OTHER_LIMITS = {"cpu": "2", "memory": "1Gi", "disk": "10Gi"}


def adopting(**changes: Any) -> Wanted:
    return wish(**{"adopt": ID, "deletionPolicy": "Orphan", **changes})


def taken(state: GuestState = GuestState.RUNNING, **changes: Any) -> tuple[Outside, Wanted]:
    """A guest that was taken over in that state."""
    model, wanted = Outside(theirs={ID: state}), adopting(**changes)
    converge(model, wanted)
    return model, wanted


def told(model: Outside, **changes: Any) -> GuestStatus:
    changes = {"adopt": ID, **changes}
    wanted = adopting(**changes)
    return status(guest(**changes), wanted, model.seen(wanted))


def brief(found: GuestStatus) -> dict[str, tuple[str, str]]:
    return {each.type: (str(each.status), each.reason) for each in found.conditions}


def message(found: GuestStatus, condition: str) -> str:
    return next(each.message for each in found.conditions if each.type == condition)


# What is wanted


def test_its_configuration_is_limits_and_start_order() -> None:
    config = adopting(startup={"order": 7}).config
    assert config.root == Adopted(ID, 10 * GIB)
    assert config.limits == Limits(cpu_millis=1000, memory_bytes=512 << 20)
    assert (config.startup.autostart, config.startup.order) == (True, 7)
    assert (config.interfaces, config.mounts, config.disks, config.id_map) == ((), (), (), None)


@pytest.mark.parametrize("kind", ["container", "vm"])
def test_it_needs_an_engine_that_can_take_it_over_and_nothing_else(kind: str) -> None:
    able = replace(LXC, kinds={GuestKind(kind): frozenset({Capability.ADOPT})})
    node = replace(NODE, capabilities=able, pools={}, templates={})
    assert adopting(node=node, type=kind).blocks == ()
    unable = replace(node, capabilities=replace(able, kinds={GuestKind(kind): frozenset({Capability.EXEC})}))
    (block,) = adopting(node=unable, type=kind).blocks
    assert (block.reason, block.message) == (Reason.UNSUPPORTED, f"lxc 5 has no Adopt for type {kind}")
    (none,) = adopting(node=replace(node, capabilities=replace(able, kinds={})), type=kind).blocks
    assert none.message == f"lxc 5 runs no guests of type {kind}"


# Taking over


def test_one_that_runs_is_marked_and_limited_and_goes_on_running() -> None:
    model, wanted = Outside(), adopting()
    assert names(converge(model, wanted)) == ["guest-adopt"]
    assert (model.boots, model.taken) == (0, [ID])
    assert model.limits == wanted.config.limits
    assert model.life == [("Creating", "Adopted"), ("Running", "Adopted")]
    assert plan(wanted, model.seen(wanted)) == []


def test_one_that_is_stopped_is_started_where_it_is_to_run() -> None:
    model, _ = taken(GuestState.STOPPED)
    assert model.boots == 1
    assert model.life == [
        ("Creating", "Adopted"),
        ("Stopped", "Adopted"),
        ("Starting", "RunPolicy"),
        ("Running", "RunPolicy"),
    ]


@pytest.mark.parametrize(
    ("state", "policy", "last"),
    [
        (GuestState.STOPPED, "Stopped", ("Stopped", "Adopted")),
        (GuestState.RUNNING, "Stopped", ("Stopped", "RunPolicy")),
        (GuestState.RUNNING, "Suspended", ("Suspended", "RunPolicy")),
        (GuestState.SUSPENDED, "Suspended", ("Suspended", "Adopted")),
        (GuestState.SUSPENDED, "Running", ("Running", "RunPolicy")),
    ],
)
def test_then_its_run_policy_holds(state: GuestState, policy: str, last: tuple[str, str]) -> None:
    model, wanted = taken(state, runPolicy=policy)
    assert model.life[-1] == last
    assert model.boots == 0
    assert blocks(wanted, model.seen(wanted)) == []


def test_a_restart_that_was_asked_for_before_is_none() -> None:
    model, _ = taken(restart="1")
    assert model.boots == 0
    assert names(converge(model, adopting(restart="2"))) == ["guest-stop", "guest-start"]
    assert converge(model, adopting(restart="2")) == []


def test_it_is_restarted_only_where_the_engine_says_that_a_limit_takes_one() -> None:
    model, wanted = taken()
    assert model.engine is not None
    model.engine = replace(model.engine, booted_digest="other")
    assert names(converge(model, wanted)) == ["guest-stop", "guest-start"]
    assert model.life[-1] == ("Running", "ConfigurationChanged")


def test_limits_are_changed_live_and_its_disk_only_grows() -> None:
    model, _ = taken()
    wanted = adopting(resources=OTHER_LIMITS)
    assert names(converge(model, wanted)) == ["guest-limits", "guest-config"]
    assert model.engine is not None
    model.engine = replace(model.engine, disk_bytes=4 * GIB)
    assert names(converge(model, wanted)) == ["guest-disk-resize"]
    model.engine = replace(model.engine, disk_bytes=40 * GIB)
    assert plan(wanted, model.seen(wanted)) == []
    assert blocks(wanted, model.seen(wanted)) == []


def test_what_others_changed_is_put_right() -> None:
    model, wanted = taken()
    assert model.engine is not None
    model.engine = replace(model.engine, config_digest="theirs", settings={"cores": "9"})
    assert names(converge(model, wanted)) == ["guest-limits", "guest-config"]


def test_it_runs_wherever_others_moved_it() -> None:
    model, wanted = taken(node=PVE)
    assert model.engine is not None
    model.stop()
    model.engine = replace(model.engine, engine_node="pve2")
    assert names(plan(wanted, model.seen(wanted))) == ["guest-start"]


def test_it_is_moved_by_order_and_is_the_other_nodes_from_then_on() -> None:
    model, _ = taken(node=PVE)
    assert model.engine is not None
    model.engine = replace(model.engine, engine_node="pve1")
    moving = adopting(node=PVE, migrate={"node": "node-2", "engineNode": "pve2"})
    assert plan(moving, model.seen(moving)) == [do.Migrate("pve2")]
    model.engine = replace(model.engine, engine_node="pve2")
    assert plan(moving, model.seen(moving)) == []
    leaving = adopting(node=PVE, migrate={"node": "node-2", "engineNode": "pve2"}, deleting=True)
    assert plan(leaving, model.seen(leaving)) == [do.Forget(None), do.RemoveFinalizer()], "not released"


def test_the_other_node_finds_it_by_its_marks() -> None:
    model, _ = taken()
    model.record = None
    wanted = adopting(epoch=2)
    assert converge(model, wanted) == []
    assert model.record is not None
    assert model.record.adopted
    assert model.taken == [ID]


def test_an_id_that_nobody_has_is_told_until_somebody_has_it() -> None:
    failed = ActionFailedError(do.Adopt(adopting().config, "d"), NotFoundError("there is no guest 104"))
    block = explain(failed)
    assert (block.reason, block.message, block.stalled) == (Reason.FAILED, "there is no guest 104", True)
    model, wanted = Outside(theirs={}), adopting()
    with pytest.raises(NotFoundError):
        converge(model, wanted)
    model.theirs = {ID: GuestState.RUNNING}
    converge(model, wanted)
    assert model.taken == [ID]


def test_a_paused_one_is_not_taken_over() -> None:
    wanted = adopting(paused=True)
    assert plan(wanted, Outside().seen(wanted)) == []


# Removed by others


def removed(**changes: Any) -> tuple[Outside, Wanted]:
    """Somebody removed it, and its id has gone to another guest."""
    model, wanted = taken(**changes)
    model.stop()
    model.engine, model.theirs = None, {ID: GuestState.RUNNING}
    return model, wanted


@pytest.mark.parametrize("policy", [None, "Repair", "Report"])
@pytest.mark.parametrize("changes", [{}, {"resources": OTHER_LIMITS}, {"runPolicy": "Stopped"}])
def test_who_has_its_id_now_is_another_guest(policy: str | None, changes: dict[str, Any]) -> None:
    model, _ = removed()
    wanted = adopting(driftPolicy=policy, **changes)
    assert converge(model, wanted) == []
    assert model.taken == [ID], "nothing is adopted twice"
    (block,) = blocks(wanted, model.seen(wanted))
    assert (block.reason, block.stalled) == (Reason.DRIFTED, True)
    assert block.message == (
        "somebody else removed the guest that was taken over as 104, or our marks on it: what has that id now"
        " may be another guest and is left alone; delete the Stack, and let another one adopt the guest that"
        " is meant"
    )
    found = told(model, driftPolicy=policy, **changes)
    assert (brief(found)["Ready"], brief(found)["Stalled"]) == (("False", "Drifted"), ("True", "Drifted"))
    assert found.drift == ["guest"]


def test_its_object_remembers_where_the_record_is_lost() -> None:
    model, wanted = taken()
    life = model.record.life if model.record else None
    model.engine, model.theirs, model.record = None, {ID: GuestState.RUNNING}, None
    model.lives.recall(wanted.name, wanted.owner_uid, life)
    assert converge(model, wanted) == []
    assert [block.reason for block in blocks(wanted, model.seen(wanted))] == [Reason.DRIFTED]


def test_an_object_that_tells_of_no_more_than_an_attempt_remembers_nothing() -> None:
    model, wanted = Outside(theirs={}), adopting()
    with pytest.raises(NotFoundError):
        converge(model, wanted)
    life = model.record.life if model.record else None
    assert life is not None
    assert life.state is LifecycleState.CREATING
    model.record = None
    for attempt in (None, life):
        model.lives.recall(wanted.name, wanted.owner_uid, attempt)
    assert model.record is None


def test_a_node_that_it_comes_to_never_takes_it_over_by_its_id() -> None:
    model, wanted = Outside(), adopting(epoch=2)
    assert converge(model, wanted) == []
    assert model.taken == []
    (block,) = blocks(wanted, model.seen(wanted))
    assert (block.reason, block.stalled) == (Reason.DRIFTED, True)
    assert block.message.startswith("it was placed before, and what was taken over as 104 carries its")


# Giving up


RELEASES: dict[str, tuple[list[str], GuestState | None]] = {
    "Orphan": (["guest-removal", "guest-release", "guest-removed"], GuestState.RUNNING),
    "Retain": (["guest-removal", "guest-stop", "guest-release", "guest-removed"], GuestState.STOPPED),
    "Delete": (["guest-removal", "guest-stop", "guest-destroy", "guest-removed"], None),
}


@pytest.mark.parametrize("policy", RELEASES)
def test_a_deletion_gives_it_up_or_destroys_it(policy: str) -> None:
    steps, state = RELEASES[policy]
    model, _ = taken()
    done = names(converge(model, adopting(deletionPolicy=policy, deleting=True)))
    assert done == [*steps, "guest-forget", "guest-finalizer"]
    assert model.theirs.get(ID) is state
    assert model.destroyed == ([ID] if policy == "Delete" else [])
    assert not model.finalizer
    assert model.record is None, "no record, no fate, no rules"


@pytest.mark.parametrize("policy", RELEASES)
@pytest.mark.parametrize("kill_after", range(1, 6))
def test_a_deletion_that_is_killed_goes_on(policy: str, kill_after: int) -> None:
    model, _ = taken()
    wanted = adopting(deletionPolicy=policy, deleting=True)
    converge(model, wanted, kill_after=kill_after)
    converge(model, wanted)
    assert not model.finalizer
    assert model.record is None
    assert model.theirs.get(ID) is RELEASES[policy][1]
    assert model.destroyed == ([ID] if policy == "Delete" else [])


@pytest.mark.parametrize("policy", RELEASES)
def test_what_was_never_taken_over_is_left_alone(policy: str) -> None:
    model = Outside()
    converge(model, adopting(deletionPolicy=policy, deleting=True))
    assert model.theirs == {ID: GuestState.RUNNING}
    assert (model.destroyed, model.finalizer) == ([], False)


@pytest.mark.parametrize("policy", [DeletionPolicy.ORPHAN, DeletionPolicy.RETAIN])
def test_a_removal_whose_object_is_gone_knows_that_it_was_taken_over(policy: DeletionPolicy) -> None:
    removal = Removal(policy, None, adopted=True)
    assert adopting(deletionPolicy=policy.value, deleting=True).removal == removal
    model, _ = taken()
    seen = Observed(engine=model.engine, record=Record(UID, removal=removal))
    assert do.Release() in plan_removal(UID, removal, seen)
    assert do.Release() not in plan_removal(STRANGER, removal, seen), "another owner's"


def test_what_is_released_can_be_taken_over_by_another_stack() -> None:
    model, _ = taken()
    converge(model, adopting(deleting=True))
    other = {"namespace": "acme", "name": "other", "uid": STRANGER}
    converge(model, adopting(stackRef=other))
    assert model.taken == [ID, ID]


# What is told


def test_it_is_ready_when_it_runs_and_says_what_is_not_looked_at() -> None:
    model, _ = taken()
    found = told(model)
    assert brief(found) == {
        "VolumesReady": ("True", "Adopted"),
        "NetworkReady": ("True", "Adopted"),
        "GuestReady": ("True", "Running"),
        "DockerReady": ("True", "Adopted"),
        "ServicesReady": ("True", "Adopted"),
        "Ready": ("True", "AllHealthy"),
    }
    assert message(found, "NetworkReady") == "its network is its own: no rules of a zone hold for it"
    assert message(found, "Ready") == "it runs; what is in it is its own and not looked at"
    assert (found.engine_id, found.compose_digest, found.services) == (ID, None, [])


def test_it_is_told_that_it_is_being_taken_over() -> None:
    for policy in ("Running", "Stopped"):
        found = told(Outside(), runPolicy=policy)
        assert brief(found)["Ready"] == ("False", "Progressing")
        assert message(found, "Ready") == "it is being taken over"


@pytest.mark.parametrize("policy", ["Stopped", "Suspended"])
def test_at_rest_as_wanted_is_ready(policy: str) -> None:
    model, _ = taken(runPolicy=policy)
    found = told(model, runPolicy=policy)
    assert (brief(found)["Ready"], message(found, "Ready")) == (("True", policy), "as runPolicy asks")
    assert brief(found)["GuestReady"] == ("False", policy)


def test_drift_that_is_only_reported_is_told() -> None:
    model, _ = taken(driftPolicy="Report")
    assert model.engine is not None
    model.engine = replace(model.engine, config_digest="theirs", settings={"cores": "9"})
    assert converge(model, adopting(driftPolicy="Report")) == []
    found = told(model, driftPolicy="Report")
    assert brief(found)["Ready"] == ("True", "Drifted")
    assert message(found, "Ready") == "changed past DsecOS: cores"


# Properties

SPECS = st.fixed_dictionaries(
    {
        "runPolicy": st.sampled_from(["Running", "Running", "Stopped", "Suspended"]),
        "resources": st.sampled_from([{"cpu": "1", "memory": "512Mi", "disk": "10Gi"}, OTHER_LIMITS]),
        "restart": st.sampled_from([None, "1", "2"]),
        "driftPolicy": st.sampled_from(["Repair", "Report"]),
        "deletionPolicy": st.sampled_from(["Orphan", "Retain", "Delete"]),
    }
)
FAULTS = st.sampled_from(["none", "dies", "boot", "tampered", "removed", "held", "record"])
HISTORY = st.lists(st.tuples(SPECS, st.integers(1, 6) | st.none(), FAULTS), min_size=1, max_size=5)
STATES = st.sampled_from([GuestState.RUNNING, GuestState.STOPPED, GuestState.SUSPENDED])


def fault(model: Outside, what: str) -> None:
    """What may happen from outside; who is removed leaves the id to another guest."""
    engine, record = model.engine, model.record
    alive = engine is not None and engine.state is not GuestState.STOPPED
    match what:
        case "dies":
            model.stop()
        case "boot":
            model.stop()
            model.boot += "'"
        case "tampered" if engine is not None:
            model.engine = replace(engine, config_digest="theirs")
        case "removed" if engine is not None and record is not None and record.adopted:
            model.engine, model.theirs = None, {ID: GuestState.RUNNING}
        case "held" if engine is not None and alive:
            model.engine = replace(engine, state=GuestState.SUSPENDED)
        case "record" if engine is not None:
            model.record = None


@settings(max_examples=300, deadline=None)
@given(STATES, HISTORY)
def test_any_history_of_changes_kills_and_hands_ends_as_ordered_or_told(
    state: GuestState, history: list[tuple[dict[str, Any], Any, str]]
) -> None:
    model = Outside(theirs={ID: state})
    for changes, kill_after, what in history:
        converge(model, adopting(**changes), kill_after=kill_after)
        fault(model, what)
        check_life(model)
    wanted = adopting(**history[-1][0])
    converge(model, wanted)
    seen, actions = model.look(wanted)
    assert actions == [], "planning after acting is empty"
    check_life(model)
    assert model.taken == [ID], "nothing is adopted twice"
    assert model.destroyed == []
    if blocks(wanted, seen):
        return
    assert seen.engine is not None
    assert str(seen.engine.state) == str(wanted.run)
    if seen.running and not wanted.report_drift:
        assert model.limits == wanted.config.limits


@settings(max_examples=200, deadline=None)
@given(STATES, HISTORY, st.lists(st.integers(1, 5), max_size=3))
def test_any_deletion_that_is_killed_anywhere_ends_and_gives_up_what_it_does_not_destroy(
    state: GuestState, history: list[tuple[dict[str, Any], Any, str]], kills: list[int]
) -> None:
    model = Outside(theirs={ID: state})
    for changes, kill_after, what in history:
        converge(model, adopting(**changes), kill_after=kill_after)
        fault(model, what)
    there = model.engine is not None
    policy = history[-1][0]["deletionPolicy"]
    wanted = adopting(deleting=True, **history[-1][0])
    for kill_after in kills:
        if model.finalizer:
            converge(model, wanted, kill_after=kill_after)
    if model.finalizer:
        converge(model, wanted)
    assert (model.finalizer, model.record, model.engine) == (False, None, None)
    assert model.destroyed == ([ID] if there and policy == "Delete" else [])
    check_life(model)


def test_proxmox_guests_have_no_link_of_ours() -> None:
    model, wanted = taken(node=PVE)
    assert PROXMOX.has(GuestKind.CONTAINER, Capability.ADOPT)
    assert model.engine is not None
    model.engine = replace(model.engine, ports=("veth104i0",))
    model.look(wanted)
    assert model.record is not None
    assert (wanted.port, model.record.link) == (None, None)
