"""Orders, what is refused, and what others did: what is done and what the guest's life tells of it."""

from dataclasses import replace
from typing import Any

import pytest
from dsecos_agent.engines.model import GuestState, ObservedGuest
from dsecos_agent.guests import actions as do
from dsecos_agent.guests import drift
from dsecos_agent.guests.blocks import blocks, refused_restart
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.plan import plan
from dsecos_api.conditions import Reason
from hypothesis import given, settings
from hypothesis import strategies as st

from .model import Model
from .samples import LXC, NODE, wish
from .test_plan import check_life, converge, names, up

RESTARTED = ["guest-stop", "guest-start", "guest-attach", "guest-bring-up"]


def reasons(wanted: Wanted, model: Model) -> list[Reason]:
    return [block.reason for block in blocks(wanted, model.seen(wanted))]


def test_the_life_of_a_guest() -> None:
    model, _ = up()
    for policy in ("Suspended", "Running", "Stopped", "Running"):
        converge(model, wish(runPolicy=policy))
    assert model.life == [
        ("Creating", "Created"),
        ("Starting", "Created"),
        ("Running", "Created"),
        ("Suspended", "RunPolicy"),
        ("Running", "RunPolicy"),
        ("Stopping", "RunPolicy"),
        ("Stopped", "RunPolicy"),
        ("Starting", "RunPolicy"),
        ("Running", "RunPolicy"),
    ]
    taken = names(converge(model, wish(deleting=True, deletionPolicy="Retain")))
    assert "guest-stop" in taken
    assert model.life[-2:] == [("Stopping", "Deleted"), ("Stopped", "Deleted")]


def test_a_deletion_goes_through_stopping_and_destroying() -> None:
    model, _ = up()
    wanted = wish(deleting=True)
    passed = []
    seen, actions = model.look(wanted)
    for action in actions:
        model.act(wanted, action, seen)
        passed += [state for state, _ in model.life[-2:] if state not in passed]
    assert passed[-3:] == ["Stopping", "Stopped", "Destroying"]


def test_maintenance_is_told_as_such() -> None:
    model, _ = up()
    converge(model, wish(runPolicy="Stopped", maintenance=True))
    assert model.life[-1] == ("Stopped", "Maintenance")
    converge(model, wish())
    assert model.life[-1] == ("Running", "Maintenance")


def test_what_dies_is_started_again() -> None:
    model, wanted = up()
    model.stop()
    converge(model, wanted)
    assert model.life[-3:] == [("Stopped", "Died"), ("Starting", "Died"), ("Running", "Died")]


def test_what_went_with_its_host_is_started_with_it() -> None:
    model, wanted = up()
    model.stop()
    model.boot = "boot-2"
    converge(model, wanted)
    assert model.life[-3:] == [("Stopped", "Boot"), ("Starting", "Boot"), ("Running", "Boot")]


def test_a_changed_configuration_restarts() -> None:
    model, _ = up()
    converge(model, wish(hostname="other"))
    assert model.life[-1] == ("Running", "ConfigurationChanged")


# Restart


def test_a_restart_is_carried_out_once() -> None:
    model, _ = up(restart="1")
    assert model.boots == 1, "what was asked for before the guest was there is as good as done"
    assert names(converge(model, wish(restart="2"))) == RESTARTED
    assert model.life[-1] == ("Running", "RestartRequested")
    assert model.record is not None
    assert model.record.restart == "2"
    assert converge(model, wish(restart="2")) == []
    assert converge(model, wish()) == [], "that nothing is asked for any more is no order"


@pytest.mark.parametrize("kill_after", [1, 2, 3])
def test_a_restart_that_is_killed_is_not_doubled(kill_after: int) -> None:
    model, _ = up()
    wanted = wish(restart="1")
    converge(model, wanted, kill_after=kill_after)
    converge(model, wanted)
    assert model.boots == 2


@pytest.mark.parametrize("policy", ["Stopped", "Suspended"])
def test_a_restart_of_a_guest_at_rest_is_refused_and_not_kept_for_later(policy: str) -> None:
    model, _ = up()
    converge(model, wish(runPolicy=policy))
    wanted = wish(runPolicy=policy, restart="1")
    assert converge(model, wanted) == []
    assert refused_restart(wanted, model.seen(wanted)) == (
        f"restart 1 refused: Restart is for a guest that is Running; it is {policy}"
    )
    boots = model.boots
    converge(model, wish(restart="1"))
    assert model.boots == boots + (policy == "Stopped")
    assert model.record is not None
    assert model.record.restart is None
    assert names(converge(model, wish(restart="2"))) == RESTARTED


# What a state does not allow


def test_a_stopped_guest_is_not_suspended() -> None:
    model, _ = up()
    converge(model, wish(runPolicy="Stopped"))
    wanted = wish(runPolicy="Suspended")
    assert plan(wanted, model.seen(wanted)) == []
    (block,) = blocks(wanted, model.seen(wanted))
    assert block.reason is Reason.ILLEGAL_TRANSITION
    assert block.message == (
        "Suspend is for a guest that is Running; it is Stopped: set runPolicy: Running first"
    )
    converge(model, wish())
    converge(model, wanted)
    assert model.life[-1] == ("Suspended", "RunPolicy")


def test_a_suspended_guest_that_is_lost_waits_to_be_told() -> None:
    model, _ = up()
    wanted = wish(runPolicy="Suspended")
    converge(model, wanted)
    model.stop()
    model.boot = "boot-2"
    assert converge(model, wanted) == []
    assert reasons(wanted, model) == [Reason.ILLEGAL_TRANSITION]
    assert model.life[-1] == ("Stopped", "Boot")


def test_an_engine_that_cannot_suspend_says_so() -> None:
    kinds = {kind: found - {"Suspend"} for kind, found in LXC.kinds.items()}
    node = replace(NODE, capabilities=replace(LXC, kinds=kinds))
    model, _ = up()
    wanted = wish(node=node, runPolicy="Suspended")
    assert plan(wanted, model.seen(wanted)) == []
    (block,) = blocks(wanted, model.seen(wanted))
    assert (block.reason, block.message) == (Reason.UNSUPPORTED, "lxc 5 has no Suspend for type container")


@pytest.mark.parametrize("state", [GuestState.UNKNOWN, GuestState.CREATING, GuestState.MIGRATING])
@pytest.mark.parametrize("changes", [{"hostname": "other"}, {"runPolicy": "Stopped"}, {"deleting": True}])
def test_nothing_is_done_while_the_engine_is_at_it(state: GuestState, changes: dict[str, Any]) -> None:
    model, _ = up()
    assert model.engine is not None
    model.engine = replace(model.engine, state=state)
    wanted = wish(**changes)
    assert plan(wanted, model.seen(wanted)) == []


def test_a_creation_that_was_cut_short_is_gone_on_with_or_ended() -> None:
    model, wanted = Model(), wish()
    converge(model, wanted, kill_after=6)
    assert model.life == [("Creating", "Created")]
    assert model.engine is not None
    model.engine = replace(model.engine, state=GuestState.CREATING)
    assert names(plan(wanted, model.seen(wanted))) == ["guest-config"]
    ended = wish(deleting=True)
    assert "guest-destroy" in names(plan(ended, model.seen(ended)))
    assert "guest-stop" not in names(plan(ended, model.seen(ended)))


def test_what_a_crash_left_half_written_is_nobody_elses() -> None:
    model, _ = up()
    wanted = wish(hostname="other")
    assert model.record is not None
    model.record = replace(model.record, applied=("old", wanted.digest.full))
    tampered(model)
    assert not drift.found(wanted, model.seen(wanted))


def test_a_guest_waits_for_its_turn() -> None:
    model, wanted = up()
    model.stop()
    seen = replace(model.seen(wanted), turn=False)
    assert plan(wanted, seen) == []


# What others changed


def tampered(model: Model) -> ObservedGuest:
    assert model.engine is not None
    model.engine = replace(model.engine, config_digest="theirs", settings={"cpu": "9"})
    return model.engine


def test_what_others_changed_is_put_right() -> None:
    model, wanted = up()
    tampered(model)
    assert drift.found(wanted, model.seen(wanted))
    assert names(converge(model, wanted)) == ["guest-limits", "guest-config"]
    assert not drift.found(wanted, model.seen(wanted))


def test_what_others_changed_is_left_where_it_is_only_to_be_told() -> None:
    model, _ = up()
    wanted = wish(driftPolicy="Report")
    tampered(model)
    assert converge(model, wanted) == []
    assert model.record is not None
    assert model.record.drift == ("cpu",)
    model.stop()
    assert names(converge(model, wanted)) == ["guest-start", "guest-attach", "guest-bring-up"]
    changed = wish(driftPolicy="Report", resources={"cpu": "2", "memory": "1Gi", "disk": "10Gi"})
    assert names(converge(model, changed)) == ["guest-limits", "guest-config"], "until the wish changes"


def test_a_change_of_the_wish_is_nobody_elses() -> None:
    model, _ = up()
    wanted = wish(hostname="other")
    assert not drift.found(wanted, model.seen(wanted))
    converge(model, wanted, kill_after=1)  # written, and killed before that was written down
    assert not drift.found(wish(), model.seen(wish()))


def test_a_guest_that_others_removed_is_made_again() -> None:
    model, wanted = up()
    model.stop()
    model.engine = None
    assert drift.removed(model.seen(wanted))
    converge(model, wanted)
    assert model.life[-3:] == [("Creating", "Outside"), ("Starting", "Outside"), ("Running", "Outside")]


def test_or_told() -> None:
    model, _ = up()
    model.stop()
    model.engine = None
    wanted = wish(driftPolicy="Report")
    assert converge(model, wanted) == []
    assert reasons(wanted, model) == [Reason.DRIFTED]
    converge(model, wish(driftPolicy="Report", hostname="other"))
    assert model.engine is not None


HISTORY = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {
                "runPolicy": st.sampled_from(["Running", "Stopped", "Suspended"]),
                "restart": st.sampled_from([None, "1", "2", "3"]),
                "driftPolicy": st.sampled_from(["Repair", "Report"]),
                "hostname": st.sampled_from(["shop", "other"]),
            }
        ),
        st.integers(1, 12) | st.none(),
        st.sampled_from(["none", "dies", "boot", "tampered", "removed", "held", "resumed"]),
    ),
    min_size=1,
    max_size=5,
)


def fault(model: Model, what: str) -> None:
    alive = model.engine is not None and model.engine.state is not GuestState.STOPPED
    match what:
        case "dies":
            model.stop()
        case "boot":
            model.stop()
            model.boot += "'"
        case "tampered" if model.engine is not None:
            tampered(model)
        case "removed":
            model.stop()
            model.engine = None
        case "held" | "resumed" if model.engine is not None and alive:
            state = GuestState.SUSPENDED if what == "held" else GuestState.RUNNING
            model.engine = replace(model.engine, state=state)


@settings(max_examples=300, deadline=None)
@given(HISTORY)
def test_any_history_of_orders_kills_and_hands_ends_as_ordered_or_refused(
    history: list[tuple[dict[str, Any], Any, str]],
) -> None:
    model = Model()
    for changes, kill_after, what in history:
        converge(model, wish(**changes), kill_after=kill_after)
        fault(model, what)
        check_life(model)
    wanted = wish(**history[-1][0])
    converge(model, wanted)
    seen, actions = model.look(wanted)
    assert actions == [], "planning after acting is empty"
    check_life(model)
    if blocks(wanted, seen):
        return
    assert seen.engine is not None
    assert seen.record is not None
    assert seen.record.life is not None
    states = {str(seen.record.life.state), str(seen.engine.state), str(wanted.run)}
    assert len(states) == 1
    if wanted.restart is not None:
        assert wanted.restart in (seen.record.restart, seen.record.restart_refused)
    assert not any(isinstance(action, do.Stop) for action in actions)
