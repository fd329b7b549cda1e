"""The words that programs rely on."""

from __future__ import annotations

import re

import pytest
from dsecos_api.conditions import GUEST_STEPS, STACK_STEPS, Condition, ConditionStatus, Reason, Type
from dsecos_api.structural import structural

WORD = re.compile(structural(Condition)["properties"]["reason"]["pattern"])


@pytest.mark.parametrize("word", [*Type, *Reason])
def test_types_and_reasons_are_words_that_the_schema_accepts(word: str) -> None:
    assert WORD.fullmatch(word)
    assert len(word) <= 63


@pytest.mark.parametrize("member", [*Type, *Reason], ids=str)
def test_a_constant_is_called_like_its_word(member: Type | Reason) -> None:
    assert member.name == re.sub(r"(?<!^)(?=[A-Z])", "_", member.value).upper()


def test_a_guests_steps_are_steps_of_its_stack() -> None:
    assert set(GUEST_STEPS) < set(STACK_STEPS)


def test_every_step_comes_once() -> None:
    assert len(set(STACK_STEPS)) == len(STACK_STEPS)
    assert len(set(GUEST_STEPS)) == len(GUEST_STEPS)


def test_a_condition_is_written_as_the_api_server_takes_it() -> None:
    condition = Condition(type=Type.READY, status=ConditionStatus.FALSE, reason=Reason.UNHEALTHY)
    assert condition.to_dict() == {"type": "Ready", "status": "False", "reason": "Unhealthy", "message": ""}
