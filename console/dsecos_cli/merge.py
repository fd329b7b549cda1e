"""What `kubectl apply` would send for an object that it applied before: a three-way JSON merge patch.

Source: RFC 7386; kubectl's client-side apply for custom resources (apimachinery, `jsonmergepatch`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dsecos_cli.fields import LAST_APPLIED


def last_applied(live: Mapping[str, Any]) -> dict[str, Any] | None:
    """What kubectl applied the last time; None where it never applied this object client-side."""
    text = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def three_way(
    previous: Mapping[str, Any], wanted: Mapping[str, Any], live: Mapping[str, Any]
) -> dict[str, Any]:
    """The patch that makes `live` what `wanted` says and takes away what `previous` said and `wanted` does
    not.
    """
    patch: dict[str, Any] = {key: None for key in previous if key not in wanted and key in live}
    for key, value in wanted.items():
        old = live.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            before = previous.get(key)
            inner = three_way(before if isinstance(before, Mapping) else {}, value, old)
            if inner:
                patch[key] = inner
        elif value != old:
            patch[key] = value
    return patch
