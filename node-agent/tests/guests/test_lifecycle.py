"""Where a guest is in its life: what is told of what was done, and of what others did."""

import pytest
from dsecos_agent.engines.model import GuestState as G
from dsecos_agent.guests.lifecycle import SEEN, STATES, begin, done, enter, failed, moved, settle
from dsecos_api.lifecycle import MAX_TRANSITIONS, TRANSITIONS, Cause, Lifecycle
from dsecos_api.lifecycle import LifecycleState as S
from dsecos_api.types import RunPolicy
from hypothesis import given
from hypothesis import strategies as st

T0, T1 = "2026-11-22T00:00:00Z", "2026-11-22T00:00:01Z"


def at(state: S, cause: Cause = Cause.RUN_POLICY, before: S | None = None) -> Lifecycle:
    start = None if before is None else enter(None, before, Cause.CREATED, "", T0)
    return enter(start, state, cause, "why", T0)


def test_a_state_that_it_has_already_is_no_transition() -> None:
    life = at(S.RUNNING)
    assert enter(life, S.RUNNING, Cause.OUTSIDE, "", T1) is life
    assert settle(life, G.RUNNING, run=RunPolicy.RUNNING, now=T1) is life


def test_the_newest_transition_is_first_and_the_oldest_are_forgotten() -> None:
    life: Lifecycle | None = None
    for number in range(MAX_TRANSITIONS + 5):
        life = enter(life, S.RUNNING if number % 2 else S.STOPPED, Cause.RUN_POLICY, str(number), T0)
    assert life is not None
    assert len(life.transitions) == MAX_TRANSITIONS
    assert life.transitions[0].message == str(MAX_TRANSITIONS + 4)


SEEN_AS = {
    # life, what is seen, what is wanted: state and cause afterwards
    "killed": (S.RUNNING, G.STOPPED, "Running", S.STOPPED, Cause.DIED),
    "killed while it was held": (S.SUSPENDED, G.STOPPED, "Suspended", S.STOPPED, Cause.DIED),
    "shutting itself down": (S.RUNNING, G.STOPPING, "Running", S.STOPPING, Cause.DIED),
    "started by hand": (S.STOPPED, G.RUNNING, "Stopped", S.RUNNING, Cause.OUTSIDE),
    "suspended by hand": (S.RUNNING, G.SUSPENDED, "Running", S.SUSPENDED, Cause.OUTSIDE),
    "suspended by us": (S.RUNNING, G.SUSPENDED, "Suspended", S.SUSPENDED, Cause.RUN_POLICY),
    "resumed by hand": (S.SUSPENDED, G.RUNNING, "Suspended", S.RUNNING, Cause.OUTSIDE),
    "resumed by us": (S.SUSPENDED, G.RUNNING, "Running", S.RUNNING, Cause.RUN_POLICY),
    "being moved by others": (S.RUNNING, G.MIGRATING, "Running", S.MIGRATING, Cause.OUTSIDE),
    "come up": (S.STARTING, G.RUNNING, "Running", S.RUNNING, Cause.RUN_POLICY),
    "not come up": (S.STARTING, G.STOPPED, "Running", S.STOPPED, Cause.FAILED),
    "stopped at last": (S.STOPPING, G.STOPPED, "Stopped", S.STOPPED, Cause.RUN_POLICY),
    "a stop that was not carried out": (S.STOPPING, G.RUNNING, "Running", S.RUNNING, Cause.FAILED),
    "moved": (S.MIGRATING, G.RUNNING, "Running", S.RUNNING, Cause.RUN_POLICY),
    "nobody knows": (S.RUNNING, G.UNKNOWN, "Running", S.RUNNING, Cause.RUN_POLICY),
}


@pytest.mark.parametrize("what", SEEN_AS)
def test_what_is_seen_is_told_with_its_cause(what: str) -> None:
    state, found, run, after, cause = SEEN_AS[what]
    life = settle(at(state), found, run=RunPolicy(run), now=T1)
    assert life is not None
    assert (life.state, life.cause) == (after, cause)


def test_a_guest_that_went_with_its_host_did_not_die() -> None:
    life = settle(at(S.RUNNING), G.STOPPED, run=RunPolicy.RUNNING, rebooted=True, now=T1)
    assert life is not None
    assert life.cause is Cause.BOOT


def test_an_action_that_a_crash_cut_short_has_not_failed_while_it_is_done_again() -> None:
    life = at(S.STARTING)
    assert settle(life, G.STOPPED, run=RunPolicy.RUNNING, repeated=[S.STARTING], now=T1) is life


def test_a_start_that_fails_again_and_again_is_told_once() -> None:
    life = begin(at(S.STOPPED), S.STARTING, Cause.RUN_POLICY, "", T0)
    life = failed(life, "no bridge", T0)
    assert life is not None
    assert (life.state, life.cause) == (S.STOPPED, Cause.FAILED)
    for _ in range(3):
        again = begin(life, S.STARTING, Cause.FAILED, "tried again", T1)
        assert again == failed(again, "no bridge", T1) == life
    up = done(life, S.STARTING, S.RUNNING, (Cause.FAILED, "tried again"), T1)
    assert up is not None
    assert [each.to for each in up.transitions[:2]] == [S.RUNNING, S.STARTING]


def test_a_move_that_fails_leaves_the_guest_where_it_was() -> None:
    life = failed(begin(at(S.RUNNING), S.MIGRATING, Cause.MIGRATION, "to pve2", T0), "no memory", T1)
    assert life is not None
    assert (life.state, life.cause) == (S.RUNNING, Cause.FAILED)


def test_what_is_destroyed_was_stopped_before() -> None:
    assert begin(None, S.DESTROYING, Cause.DELETED, "", T1) is None
    life = begin(at(S.CREATING), S.DESTROYING, Cause.DELETED, "", T1)
    assert life is not None
    assert [each.to for each in life.transitions] == [S.DESTROYING, S.STOPPED, S.CREATING]


def test_a_move_by_others_is_two_transitions() -> None:
    life = moved(at(S.RUNNING), "pve1", "pve2", T1)
    assert [(each.to, each.cause) for each in life.transitions[:2]] == [
        (S.RUNNING, Cause.OUTSIDE),
        (S.MIGRATING, Cause.OUTSIDE),
    ]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("seen"), st.sampled_from(G), st.booleans()),
        st.tuples(st.just("fail"), st.none(), st.none()),
        st.tuples(st.just("move"), st.none(), st.none()),
    ),
    max_size=20,
)


@given(EVENTS, st.sampled_from(RunPolicy))
def test_whatever_is_seen_every_transition_is_legal_or_told_as_somebody_elses(
    events: list[tuple[str, G | None, bool | None]], run: RunPolicy
) -> None:
    life: Lifecycle | None = None
    for what, state, rebooted in events:
        if what == "seen":
            life = settle(life, state, run=run, rebooted=bool(rebooted), now=T1)
        elif what == "fail":
            life = failed(life, "it failed", T1)
        elif life is not None:
            life = moved(life, "a", "b", T1)
        for step in [] if life is None else life.transitions:
            assert step.to in TRANSITIONS[step.from_] or step.cause in SEEN
        if life is not None and what == "seen" and state in STATES:
            assert life.state is STATES[state] or (life.state, state) == (S.CREATING, G.STOPPED)
            assert life.transitions[0].to is life.state
