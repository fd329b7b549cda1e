"""Conditions after kstatus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dsecos_api import Condition
from dsecos_runtime import Conditions, is_true
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 11, 20, 2, 0, 41, tzinfo=UTC)
STEPS = ("Rendered", "Scheduled", "GuestReady")


def conditions(previous: object = None, generation: int = 1, later: int = 0) -> Conditions:
    return Conditions(previous, generation, STEPS, now=lambda: START + timedelta(seconds=later))


def types(built: list[Condition]) -> list[str]:
    return [condition.type for condition in built]


def one(built: list[Condition], name: str) -> Condition:
    return next(condition for condition in built if condition.type == name)


def test_a_new_object_has_every_step_and_ready_as_unknown() -> None:
    built = conditions().build()
    assert types(built) == [*STEPS, "Ready"]
    assert {condition.status for condition in built} == {"Unknown"}
    assert {condition.reason for condition in built} == {"Pending"}


def test_the_order_is_the_declared_one_whatever_the_order_of_calls() -> None:
    now = conditions()
    now.ready("Serving")
    now.true("GuestReady", "Running")
    now.true("Other", "Because")
    now.true("Rendered", "ComposeValid")
    assert types(now.build()) == [*STEPS, "Other", "Ready"]


def test_the_time_stays_while_the_status_is_the_same() -> None:
    first = conditions()
    first.false("Rendered", "ComposeInvalid", "line 1")
    second = conditions(first.build(), generation=2, later=60)
    second.false("Rendered", "UndefinedVariable", "line 2")
    found = one(second.build(), "Rendered")
    assert (found.reason, found.message, found.observed_generation) == ("UndefinedVariable", "line 2", 2)
    assert found.last_transition_time == "2026-11-20T02:00:41Z"
    third = conditions(second.build(), later=60)
    third.true("Rendered", "ComposeValid")
    assert one(third.build(), "Rendered").last_transition_time == "2026-11-20T02:01:41Z"


def test_a_step_that_was_not_looked_at_stays_and_tells_its_age() -> None:
    first = conditions()
    first.true("Scheduled", "Placed", "on node-1")
    second = conditions(first.build(), generation=2, later=60)
    second.stalled("ComposeInvalid", "line 1")
    found = one(second.build(), "Scheduled")
    assert (found.status, found.observed_generation) == ("True", 1)


def test_reconciling_and_stalled_are_there_only_while_true() -> None:
    now = conditions()
    now.reconciling("Starting")
    assert types(now.build())[-2:] == ["Ready", "Reconciling"]
    now = conditions(now.build())
    now.stalled("PoolFull", "no space")
    built = now.build()
    assert types(built)[-2:] == ["Ready", "Stalled"]
    assert one(built, "Ready").status == "False"
    assert one(built, "Ready").reason == "PoolFull"
    now = conditions(built)
    now.ready("Serving")
    assert types(now.build()) == [*STEPS, "Ready"]


def test_the_last_word_counts() -> None:
    now = conditions()
    now.stalled("PoolFull")
    now.ready("Serving")
    assert types(now.build()) == [*STEPS, "Ready"]


def test_previous_may_be_a_dict_as_the_api_gives_it() -> None:
    first = conditions()
    first.ready("Serving")
    raw = {"conditions": [condition.to_dict() for condition in first.build()]}
    second = conditions(raw, later=60)
    second.ready("Serving")
    assert second.build() == first.build()
    assert second.is_true("Ready")
    assert is_true(raw, "Ready")
    assert not is_true(None, "Ready")


passes = st.lists(
    st.dictionaries(st.sampled_from([*STEPS, "Ready"]), st.sampled_from([True, False, None])), max_size=8
)


@given(passes)
def test_saying_the_same_again_changes_nothing(said: list[dict[str, bool | None]]) -> None:
    built: list[Condition] = []
    for number, words in enumerate(said):
        now, again = conditions(built, later=number), conditions(built, later=number)
        for name, status in words.items():
            now.set(name, status, "Because")
        once = now.build()
        again = conditions(once, later=number + 1)
        for name, status in words.items():
            again.set(name, status, "Because")
        assert again.build() == once
        assert len(types(once)) == len(set(types(once)))
        built = once
