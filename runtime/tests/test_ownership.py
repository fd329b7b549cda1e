"""Whether an apply would change anything."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_runtime.ownership import changes

READY = {"type": "Ready", "status": "True", "reason": "Serving"}
STALLED = {"type": "Stalled", "status": "True", "reason": "PoolFull"}
THEIRS = {"type": "Reachable", "status": "True", "reason": "Pinged"}


@pytest.mark.parametrize(
    ("present", "applied", "expected"),
    [
        ({}, {}, False),
        ({"node": "a"}, {}, False),
        ({"node": "a"}, {"node": "a"}, False),
        ({"node": "a"}, {"node": "b"}, True),
        ({}, {"node": "a"}, True),
        ({}, {"tags": [], "labels": {}, "node": None}, False),
        ({"addresses": {"free": 1, "used": 2}}, {"addresses": {"free": 1}}, False),
        ({"endpoints": ["a"]}, {"endpoints": ["a", "b"]}, True),
        ({"endpoints": ["a", "b"]}, {"endpoints": ["a"]}, True),
        ({"endpoints": ["a", "b"]}, {"endpoints": ["b", "a"]}, True),
        ({"ports": [{"port": 80, "protocol": "TCP"}]}, {"ports": [{"port": 80}]}, False),
        ({"ports": [{"port": 80, "protocol": "TCP"}]}, {"ports": [{"port": 81}]}, True),
        ({"node": ["a"]}, {"node": {"a": 1}}, True),
        ({"node": {"a": 1}}, {"node": ["a"]}, True),
        ({"node": "abc"}, {"node": ["a", "b", "c"]}, True),
    ],
)
def test_before_the_first_apply_the_values_decide(present: Any, applied: Any, expected: bool) -> None:
    assert changes(present, applied, {}) is expected


OWNED = {
    "f:node": {},
    "f:addresses": {"f:free": {}},
    "f:conditions": {'k:{"type":"Ready"}': {".": {}, "f:type": {}, "f:status": {}, "f:reason": {}}},
    "f:ports": {
        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}},
    },
    "f:tags": {'v:"a"': {}},
    "f:endpoints": {},
}
WHOLE: dict[str, Any] = {
    "node": "a",
    "addresses": {"free": 1},
    "conditions": [READY],
    "ports": [{"port": 80, "protocol": "TCP"}],
    "tags": ["a"],
    "endpoints": [{"name": "x"}],
}


def without(name: str) -> dict[str, Any]:
    return {each: value for each, value in WHOLE.items() if each != name}


@pytest.mark.parametrize(
    ("present", "applied", "expected"),
    [
        (WHOLE, WHOLE, False),
        ({**WHOLE, "conditions": [THEIRS, READY], "tags": ["b", "a"]}, WHOLE, False),
        ({**WHOLE, "ports": [{"port": 80, "protocol": "UDP"}, *WHOLE["ports"]]}, WHOLE, False),
        ({**WHOLE, "ports": [{"port": 80, "protocol": "UDP"}]}, WHOLE, True),
        ({**WHOLE, "conditions": [{**READY, "reason": "Other"}]}, WHOLE, True),
        ({**WHOLE, "conditions": [THEIRS]}, WHOLE, True),
        ({**WHOLE, "tags": ["b"]}, WHOLE, True),
        ({**WHOLE, "endpoints": [{"name": "x"}, {"name": "y"}]}, WHOLE, True),
        (WHOLE, {**WHOLE, "conditions": [STALLED, READY]}, True),
    ],
)
def test_lists_are_merged_as_the_api_server_merges_them(present: Any, applied: Any, expected: bool) -> None:
    assert changes(present, applied, OWNED) is expected


@pytest.mark.parametrize(
    "applied",
    [
        *(without(name) for name in WHOLE),
        {**WHOLE, "addresses": {}},
        {**WHOLE, "conditions": [THEIRS]},
        {**WHOLE, "conditions": []},
        {**WHOLE, "conditions": [{"type": "Ready", "status": "True"}]},
        {**WHOLE, "tags": []},
        {},
    ],
)
def test_what_is_not_applied_any_more_would_be_removed(applied: Any) -> None:
    present = {**WHOLE, "conditions": [THEIRS, READY], "tags": ["a", "b"]}
    assert changes(present, applied, OWNED)
