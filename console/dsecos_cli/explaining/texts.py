"""YAML that fits into a line, and other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from dsecos_api import NetworkZone, Stack, Type
from dsecos_api.conditions import Condition, ConditionStatus


def flow(value: Sequence[Any] | Mapping[str, Any]) -> str:
    """A list as lines that begin with a dash, a map as one line."""
    if isinstance(value, Mapping):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).strip()
    return "\n".join(f"- {flow(each) if isinstance(each, Mapping) else each}" for each in value)


def condition(of: NetworkZone | Stack, type_: Type) -> Condition | None:
    """A condition that is there."""
    return next((each for each in of.status.conditions if each.type == type_), None)


def why(of: NetworkZone | Stack) -> str:
    """Why an object is not Ready, in its own words; empty if it is, or does not tell."""
    ready = condition(of, Type.READY)
    if ready is None or ready.status is ConditionStatus.TRUE:
        return ""
    return f"{ready.reason}: {ready.message}" if ready.message else ready.reason


def because(of: NetworkZone | Stack) -> str:
    """The same, to be put behind a statement."""
    reason = why(of)
    return f" ({reason})" if reason else ""
