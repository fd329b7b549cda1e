"""Whether a server-side apply would change anything.

It would if some field of what is applied differs from what is there, or if this manager owns a field that it
no longer applies. Which lists are merged, and by which keys, is read from what the manager owns: the API
server writes it there. Source: sigs.k8s.io/structured-merge-diff, the fieldsV1 format: `f:name` is a field,
`k:{...}` an item of a list of maps by its keys, `v:value` an item of a set, `.` the thing itself.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Fields = Mapping[str, Any]
"""fieldsV1 of one manager, from the level of the value that it goes with."""


def changes(present: Any, applied: Any, owned: Fields) -> bool:
    """Whether applying `applied` over `present` would change it, where the manager owns `owned`."""
    if isinstance(applied, Mapping):
        return not isinstance(present, Mapping) or _map(present, applied, owned)
    if isinstance(applied, Sequence) and not isinstance(applied, str):
        if not isinstance(present, Sequence) or isinstance(present, str):
            return True
        return _list(present, applied, owned)
    return bool(present != applied)


def _map(present: Mapping[str, Any], applied: Mapping[str, Any], owned: Fields) -> bool:
    if any(step.startswith("f:") and step[2:] not in applied for step in owned):
        return True
    for name, value in applied.items():
        if name not in present:
            if not _empty(value):
                return True
        elif changes(present[name], value, owned.get(f"f:{name}", {})):
            return True
    return False


def _list(present: Sequence[Any], applied: Sequence[Any], owned: Fields) -> bool:
    items = {step: json.loads(step[2:]) for step in owned if step.startswith("k:")}
    if items:
        return _list_of_maps(present, applied, items, owned)
    values = [json.loads(step[2:]) for step in owned if step.startswith("v:")]
    if values:
        return any(value not in applied for value in values) or any(item not in present for item in applied)
    return len(present) != len(applied) or any(
        changes(there, wanted, {}) for there, wanted in zip(present, applied, strict=True)
    )


def _list_of_maps(
    present: Sequence[Any], applied: Sequence[Any], items: Mapping[str, Mapping[str, Any]], owned: Fields
) -> bool:
    names = sorted(next(iter(items.values())))

    def identity(item: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(item.get(name) for name in names)

    there = {identity(item): item for item in present}
    ours = {identity(keys): owned[step] for step, keys in items.items()}
    if not ours.keys() <= {identity(item) for item in applied}:
        return True
    return any(
        identity(item) not in there or changes(there[identity(item)], item, ours.get(identity(item), {}))
        for item in applied
    )


def _empty(value: Any) -> bool:
    """Whether the API server may leave this out."""
    return value is None or value in ({}, [])
