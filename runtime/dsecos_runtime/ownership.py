"""Whether a server-side apply would change anything.

It would if some field of what is applied differs from what is there, or if this manager owns a field that it
no longer applies. Source: sigs.k8s.io/structured-merge-diff, the fieldsV1 format: `f:name` is a field,
`k:{...}` an item of a list of maps by its keys, `v:value` an item of a set, `.` the thing itself.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def covers(present: Any, applied: Any) -> bool:
    """Whether `present` holds everything of `applied` already. Lists of objects with a `type` or `name` match
    by it.
    """
    if isinstance(applied, Mapping):
        return isinstance(present, Mapping) and all(
            name in present and covers(present[name], value) for name, value in applied.items()
        )
    if isinstance(applied, Sequence) and not isinstance(applied, str):
        if not isinstance(present, Sequence) or isinstance(present, str):
            return False
        key = _merge_key(applied)
        if key is None or _merge_key(present) != key:
            return list(present) == list(applied)
        by_key = {item[key]: item for item in present}
        return all(item[key] in by_key and covers(by_key[item[key]], item) for item in applied)
    return bool(present == applied)


def abandons(owned: Mapping[str, Any], applied: Any) -> bool:
    """Whether `owned` (fieldsV1 of this manager) has a field that `applied` lacks: it would be removed."""
    for step, inner in owned.items():
        if step == ".":
            continue
        kind, _, text = step.partition(":")
        if kind == "f":
            missing = not isinstance(applied, Mapping) or text not in applied
            if missing or abandons(inner, applied[text]):
                return True
        elif kind in ("k", "v") and not isinstance(applied, Sequence):
            return True
        elif kind == "k":
            keys = json.loads(text)
            found = [item for item in applied if keys.items() <= item.items()]
            if not found or abandons(inner, found[0]):
                return True
        elif kind == "v" and json.loads(text) not in applied:
            return True
    return False


def _merge_key(items: Sequence[Any]) -> str | None:
    for key in ("type", "name"):
        if items and all(isinstance(item, Mapping) and isinstance(item.get(key), str) for item in items):
            return key
    return None
