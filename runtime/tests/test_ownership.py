"""Whether an apply would change anything."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_runtime.ownership import abandons, covers

READY = {"type": "Ready", "status": "True", "reason": "Serving"}
STALLED = {"type": "Stalled", "status": "True", "reason": "PoolFull"}
THEIRS = {"type": "Reachable", "status": "True", "reason": "Pinged"}


@pytest.mark.parametrize(
    ("present", "applied", "expected"),
    [
        ({}, {}, True),
        ({"node": "a"}, {}, True),
        ({"node": "a"}, {"node": "a"}, True),
        ({"node": "a"}, {"node": "b"}, False),
        ({}, {"node": "a"}, False),
        ({"addresses": {"free": 1, "used": 2}}, {"addresses": {"free": 1}}, True),
        ({"endpoints": ["a"]}, {"endpoints": ["a", "b"]}, False),
        ({"endpoints": ["a", "b"]}, {"endpoints": ["a"]}, False),
        ({"conditions": [THEIRS, READY]}, {"conditions": [READY]}, True),
        ({"conditions": [{**READY, "reason": "Other"}]}, {"conditions": [READY]}, False),
        ({"conditions": []}, {"conditions": [READY]}, False),
        ({"conditions": [READY]}, {"conditions": []}, False),
        ({"services": [{"name": "db"}, {"name": "web"}]}, {"services": [{"name": "web"}]}, True),
        ({"node": ["a"]}, {"node": {"a": 1}}, False),
    ],
)
def test_present_covers_applied(present: Any, applied: Any, expected: bool) -> None:
    assert covers(present, applied) is expected


OWNED = {
    "f:node": {},
    "f:addresses": {"f:free": {}},
    "f:conditions": {'k:{"type":"Ready"}': {".": {}, "f:type": {}, "f:status": {}, "f:reason": {}}},
    "f:tags": {'v:"a"': {}},
}
WHOLE = {"node": "a", "addresses": {"free": 1}, "conditions": [READY], "tags": ["a"]}


@pytest.mark.parametrize(
    ("applied", "expected"),
    [
        (WHOLE, False),
        ({**WHOLE, "more": 1}, False),
        ({**WHOLE, "conditions": [STALLED, READY]}, False),
        ({name: value for name, value in WHOLE.items() if name != "node"}, True),
        ({**WHOLE, "addresses": {}}, True),
        ({**WHOLE, "conditions": [STALLED]}, True),
        ({**WHOLE, "conditions": [{"type": "Ready", "status": "True"}]}, True),
        ({**WHOLE, "tags": ["b"]}, True),
        ({}, True),
    ],
)
def test_what_is_not_applied_any_more_would_be_removed(applied: Any, expected: bool) -> None:
    assert abandons(OWNED, applied) is expected


def test_nothing_is_owned_before_the_first_apply() -> None:
    assert not abandons({}, {})
