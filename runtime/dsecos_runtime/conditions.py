"""The next list of conditions of one object, after kstatus.

Ready is always there; Reconciling and Stalled are there only while they are True. A condition's
lastTransitionTime changes with its status and with nothing else. Source: sigs.k8s.io/cli-utils `pkg/kstatus`,
Kubernetes API conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dsecos_api import Condition, ConditionStatus, Reason, Type

LAST = (Type.READY, Type.RECONCILING, Type.STALLED)

Previous = Any
"""A status model or dict with conditions, a list of conditions, or None."""


def utcnow() -> datetime:
    """The present time."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """A time in the API's form (RFC 3339, seconds)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Conditions:
    """Collects what holds in this pass, then builds the list."""

    def __init__(
        self,
        previous: Previous,
        generation: int | None,
        order: Sequence[str] = (),
        *,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        """`previous`: the status that the object has; `order`: the types of the steps, in the order of the
        work.
        """
        self._previous = {condition.type: condition for condition in _conditions(previous)}
        self._generation = generation
        self._order = tuple(str(name) for name in order)
        self._now = now
        self._set: dict[str, Condition] = {}

    def set(self, type: str, status: bool | None, reason: str, message: str = "") -> None:  # noqa: A002
        """What holds: True, False, or None for unknown. The last word on a type counts."""
        value = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE, None: ConditionStatus.UNKNOWN}[
            status
        ]
        name = str(type)
        before = self._previous.get(name)
        since = before.last_transition_time if before is not None and before.status == value else None
        self._set[name] = Condition(
            type=name,
            status=value,
            reason=str(reason),
            message=message,
            observed_generation=self._generation,
            last_transition_time=since or timestamp(self._now()),
        )

    def true(self, type: str, reason: str, message: str = "") -> None:  # noqa: A002
        """The condition holds."""
        self.set(type, True, reason, message)

    def false(self, type: str, reason: str, message: str = "") -> None:  # noqa: A002
        """The condition does not hold."""
        self.set(type, False, reason, message)

    def unknown(self, type: str, reason: str, message: str = "") -> None:  # noqa: A002
        """It cannot be said whether the condition holds."""
        self.set(type, None, reason, message)

    def ready(self, reason: str, message: str = "") -> None:
        """All is as wanted: Ready=True, neither Reconciling nor Stalled."""
        self._outcome(True, None, reason, message)

    def reconciling(self, reason: str, message: str = "") -> None:
        """On the way: Ready=False, Reconciling=True."""
        self._outcome(False, Type.RECONCILING, reason, message)

    def stalled(self, reason: str, message: str = "") -> None:
        """It will not go on until something changes: Ready=False, Stalled=True."""
        self._outcome(False, Type.STALLED, reason, message)

    def is_true(self, type: str) -> bool:  # noqa: A002
        """Whether the condition holds, as set in this pass or else as it was."""
        found = self._set.get(str(type)) or self._previous.get(str(type))
        return found is not None and found.status == ConditionStatus.TRUE

    def build(self) -> list[Condition]:
        """Declared steps in their order, then others that were set, then Ready, Reconciling, Stalled.

        A step that was not set stays as it was: its observedGeneration says how old it is. One that never was
        is Unknown/Pending, and so is Ready.
        """
        last = [str(name) for name in LAST]
        others = [name for name in self._set if name not in self._order and name not in last]
        built = [self._one(name) for name in (*self._order, *others)]
        built.append(self._one(str(Type.READY)))
        return built + [self._set[name] for name in last[1:] if name in self._set]

    def _one(self, name: str) -> Condition:
        if name not in self._set and name in self._previous:
            return self._previous[name]
        if name not in self._set:
            self.set(name, None, Reason.PENDING)
        return self._set[name]

    def _outcome(self, ready: bool, abnormal: str | None, reason: str, message: str) -> None:
        for name in LAST[1:]:
            self._set.pop(str(name), None)
        self.set(Type.READY, ready, reason, message)
        if abnormal is not None:
            self.set(abnormal, True, reason, message)


def is_true(status: Previous, type: str) -> bool:  # noqa: A002
    """Whether a condition holds in a status."""
    return any(each.type == str(type) and each.status == ConditionStatus.TRUE for each in _conditions(status))


def _conditions(previous: Previous) -> Iterable[Condition]:
    if previous is None:
        return ()
    if isinstance(previous, Mapping):
        found = previous.get("conditions") or ()
    elif isinstance(previous, Sequence):
        found = previous
    else:
        found = previous.conditions
    return [each if isinstance(each, Condition) else Condition.model_validate(each) for each in found]
