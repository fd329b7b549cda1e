"""What differs between two forms of an object, and what each change does."""

from __future__ import annotations

import json
from typing import Any

from dsecos_api import Stack
from dsecos_cli.changes import change_lines
from dsecos_cli.fields import ABSENT, LAST_APPLIED, changes
from dsecos_cli.merge import last_applied, three_way
from hypothesis import given
from hypothesis import strategies as st

LIVE: dict[str, Any] = {
    "metadata": {"name": "shop", "uid": "1", "resourceVersion": "7", "generation": 2, "managedFields": []},
    "spec": {
        "template": {"name": "node-postgres", "values": {"env": "dev"}},
        "zone": "backend",
        "expose": [{"port": 3000, "protocol": "TCP", "hostPort": 3000}],
        "resources": {"cpu": "1", "memory": "1Gi", "disk": "2Gi"},
    },
    "status": {"node": "node-1"},
}


def with_spec(**spec: Any) -> dict[str, Any]:
    return {**LIVE, "spec": {**LIVE["spec"], **spec}}


def summary(after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(change.where, change.before, change.after) for change in changes(LIVE, after, Stack)]


def test_an_object_does_not_differ_from_itself() -> None:
    assert changes(LIVE, LIVE, Stack) == []


def test_what_the_server_keeps_for_itself_does_not_count() -> None:
    other = {
        **LIVE,
        "metadata": {"name": "shop", "resourceVersion": "9", "uid": "1"},
        "status": {"node": "b"},
    }
    assert changes(LIVE, other, Stack) == []


def test_a_change_names_its_field_and_what_it_does() -> None:
    [change] = changes(LIVE, with_spec(resources={**LIVE["spec"]["resources"], "memory": "2Gi"}), Stack)
    assert (change.where, change.before, change.after) == ("spec.resources.memory", "1Gi", "2Gi")
    assert change.effect == "live: cgroup limits change, nothing restarts"


def test_entries_of_a_list_are_told_apart_by_their_keys() -> None:
    more = [*LIVE["spec"]["expose"], {"port": 53, "protocol": "UDP"}]
    assert summary(with_spec(expose=more)) == [
        ("spec.expose[53/UDP]", ABSENT, {"port": 53, "protocol": "UDP"})
    ]
    moved = [{"port": 3000, "protocol": "TCP", "hostPort": 8080}]
    assert summary(with_spec(expose=moved)) == [("spec.expose[3000/TCP].hostPort", 3000, 8080)]


def test_the_order_of_such_a_list_does_not_matter() -> None:
    ports = [{"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "TCP"}]
    assert changes(with_spec(expose=ports), with_spec(expose=ports[::-1]), Stack) == []


def test_free_values_are_compared_key_by_key() -> None:
    template = {"name": "node-postgres", "values": {"env": "prod", "title": "Shop"}}
    assert summary(with_spec(template=template)) == [
        ("spec.template.values.env", "dev", "prod"),
        ("spec.template.values.title", ABSENT, "Shop"),
    ]


def test_a_long_text_shows_as_a_diff() -> None:
    before = with_spec(template=None, compose={"inline": "services:\n  web:\n    image: node:18\n"})
    after = with_spec(template=None, compose={"inline": "services:\n  web:\n    image: node:20\n"})
    lines = [line.plain for line in change_lines(changes(before, after, Stack))]
    assert lines[0].startswith("  ~ spec.compose.inline")
    assert [line.strip() for line in lines[2:]] == [
        "services:",
        "web:",
        "-    image: node:18",
        "+    image: node:20",
    ]


def test_values_of_a_secret_are_not_shown() -> None:
    [line] = change_lines(changes({"data": {"a": "b25l"}}, {"data": {"a": "dHdv"}}, None), hide_values=True)
    assert "data.a" in line.plain
    assert "dHdv" not in line.plain
    assert "b25l" not in line.plain


def test_what_kubectl_applied_the_last_time() -> None:
    assert last_applied({"metadata": {}}) is None
    assert last_applied({"metadata": {"annotations": {LAST_APPLIED: "{"}}}) is None
    assert last_applied({"metadata": {"annotations": {LAST_APPLIED: json.dumps({"spec": 1})}}}) == {"spec": 1}


def test_a_merge_takes_away_what_was_applied_and_is_no_longer_wanted() -> None:
    previous = {"spec": {"a": 1, "b": {"x": 1, "y": 2}}}
    live = {"spec": {"a": 1, "b": {"x": 1, "y": 2, "by-another": 3}}}
    assert three_way(previous, {"spec": {"b": {"x": 5}}}, live) == {
        "spec": {"a": None, "b": {"y": None, "x": 5}}
    }


def test_a_merge_leaves_alone_what_nobody_applied() -> None:
    assert three_way({}, {"spec": {"a": 1}}, {"spec": {"a": 1, "b": 2}}) == {}


TREE = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_size=3,
)


def merged(live: Any, patch: Any) -> Any:
    """RFC 7386, its own pseudo code."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(TREE, TREE)
def test_a_merge_over_what_was_applied_gives_what_is_wanted(previous: Any, wanted: Any) -> None:
    assert merged(previous, three_way(previous, wanted, previous)) == wanted


@given(TREE, TREE)
def test_nothing_is_left_to_change_after_a_merge(live: Any, wanted: Any) -> None:
    after = merged(live, three_way(live, wanted, live))
    assert three_way(wanted, wanted, after) == {}
