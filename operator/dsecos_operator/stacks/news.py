"""Which changes of a Stack's conditions are worth an event: what happened, never what is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dsecos_api import Condition, ConditionStatus, Type

STEPS = (Type.LICENSED, Type.RENDERED, Type.SCHEDULED)
"""The operator's own steps. Of the others the agent tells, on the Guest."""


class News(NamedTuple):
    """One event."""

    warning: bool
    reason: str
    message: str


def news(before: Sequence[Condition], after: Sequence[Condition]) -> list[News]:
    """A step that says no, a place that was found, the Stack that serves or does not any more."""
    old = {each.type: each for each in before}
    new = {each.type: each for each in after}
    found: list[News] = []
    for step in STEPS:
        now = new.get(step)
        if now is None or _words(now) == _words(old.get(step)):
            continue
        if now.status == ConditionStatus.FALSE:
            found.append(News(True, now.reason, now.message))
        elif step == Type.SCHEDULED and now.status == ConditionStatus.TRUE:
            found.append(News(False, now.reason, now.message))
    return [*found, *_outcome(old, new, told={each.reason for each in found})]


def _outcome(old: dict[str, Condition], new: dict[str, Condition], told: set[str]) -> list[News]:
    was, now = old.get(Type.READY), new.get(Type.READY)
    if now is None or now.reason in told:
        return []
    served = was is not None and was.status == ConditionStatus.TRUE
    if now.status == ConditionStatus.TRUE:
        changed = not served or (was is not None and was.reason != now.reason)
        return [News(False, now.reason, now.message or "as wanted")] if changed else []
    stalled = Type.STALLED in new and _words(new[Type.STALLED]) != _words(old.get(Type.STALLED))
    if stalled or (served and now.reason not in ("Progressing", "Deleting")):
        return [News(True, now.reason, now.message)]
    return []


def _words(condition: Condition | None) -> tuple[str, str, str] | None:
    return (condition.status, condition.reason, condition.message) if condition is not None else None
