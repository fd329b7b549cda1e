"""The store: whatever the order in which versions arrive, the newest is known, and no ghost stays."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from dsecos_api import NetworkZone
from dsecos_runtime import CONFIG_MAP, NETWORK_ZONE, Key, Object
from dsecos_runtime.store import Change, Store
from hypothesis import given
from hypothesis import strategies as st


def cm(version: int, name: str = "a", namespace: str = "ns", **labels: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "data": {"version": str(version)}}


A = Key("ns", "a")


def version(store: Store[Object], key: Key = A) -> int | None:
    found = store.get(key)
    return int(found["metadata"]["resourceVersion"]) if found else None


@pytest.fixture
def store() -> Store[Object]:
    return Store(CONFIG_MAP)


def test_a_change_says_what_was_and_what_is(store: Store[Object]) -> None:
    first = store.put(cm(1))
    assert first is not None
    assert (first.key, first.old) == (A, None)
    second = store.put(cm(2))
    assert second is not None
    assert second.old == first.new
    gone = store.remove(cm(3))
    assert gone == Change(A, second.new, None)


def test_an_older_version_is_no_news(store: Store[Object]) -> None:
    store.put(cm(5))
    assert store.put(cm(4)) is None
    assert store.put(cm(5)) is None
    assert version(store) == 5


def test_what_was_deleted_is_not_brought_back_by_an_older_version(store: Store[Object]) -> None:
    store.put(cm(1))
    store.remove(cm(3))
    assert store.put(cm(2)) is None
    assert version(store) is None


def test_what_was_made_anew_survives_the_deletion_of_its_namesake(store: Store[Object]) -> None:
    store.put(cm(5))
    assert store.remove(cm(3)) is None
    assert version(store) == 5


def test_a_list_removes_ghosts_and_keeps_what_is_newer(store: Store[Object]) -> None:
    store.put(cm(1, "ghost"))
    store.put(cm(9, "newer"))
    changes = store.replace([cm(2)], version=5)
    assert {(change.key.name, change.new is None) for change in changes} == {("a", False), ("ghost", True)}
    assert [key.name for key in store.keys("")] == ["a", "newer"]


def test_a_list_keeps_ghosts_from_coming_back(store: Store[Object]) -> None:
    store.replace([], version=5)
    assert store.put(cm(4)) is None
    assert store.put(cm(6)) is not None


def test_a_list_of_one_namespace_leaves_the_others(store: Store[Object]) -> None:
    store.put(cm(1, namespace="other"))
    store.replace([], version=5, namespace="ns")
    assert store.keys() == [Key("other", "a")]
    assert store.put(cm(2, namespace="other")) is not None


def test_labels_are_an_index(store: Store[Object]) -> None:
    store.put(cm(1, "a", stack="x"))
    store.put(cm(2, "b", stack="x"))
    store.put(cm(3, "b", stack="y"))
    assert [key.name for key in store.keys(label=("stack", "x"))] == ["a"]
    store.remove(cm(4, "a"))
    assert store.keys(label=("stack", "x")) == []
    assert [key.name for key in store.keys("ns", label=("stack", "y"))] == ["b"]


def test_an_object_that_cannot_be_read_stays_as_it_was_last_read() -> None:
    zones = Store[NetworkZone](NETWORK_ZONE)
    zones.put({**cm(1), "spec": {"cidrs": ["10.0.0.0/24"]}})
    zones.put({**cm(2), "spec": {"cidrs": 7}})
    found = zones.get(A)
    assert found is not None
    assert found.spec.cidrs == ["10.0.0.0/24"]
    assert "cidrs" in zones.errors[A]
    zones.put({**cm(3), "spec": {"cidrs": ["10.1.0.0/24"]}})
    assert not zones.errors


def test_of_the_managed_fields_what_was_applied_is_kept(store: Store[Object]) -> None:
    raw = cm(1)
    raw["metadata"]["managedFields"] = [
        {"manager": "us", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "us", "operation": "Apply", "fieldsV1": {"f:data": {}}},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:status": {"f:x": {}}}},
    ]
    store.put(raw)
    entry = store.entry(A)
    assert entry is not None
    assert entry.applied == {("us", "status"): b'{"f:status":{}}', ("us", ""): b'{"f:data":{}}'}
    assert "managedFields" not in store.get(A)["metadata"]  # type: ignore[index]
    assert "managedFields" in raw["metadata"], "what was given is not changed"


class Arrival(NamedTuple):
    """Something that reaches the store: a version, a deletion, or a list."""

    kind: str
    version: int
    names: tuple[str, ...]


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, int], list[Arrival]]:
    """What the server went through, and all that may be heard of it in any order; a list comes last."""
    alive: dict[str, int] = {}
    arrivals: list[Arrival] = []
    for revision in range(1, draw(st.integers(1, 12)) + 1):
        name = draw(st.sampled_from("abc"))
        if name in alive and draw(st.booleans()):
            del alive[name]
            arrivals.append(Arrival("delete", revision, (name,)))
        else:
            alive[name] = revision
            arrivals.append(Arrival("put", revision, (name,)))
        if draw(st.booleans()):
            arrivals.append(Arrival("list", revision, tuple(f"{n}:{v}" for n, v in alive.items())))
    last = Arrival("list", len(arrivals) + 1, tuple(f"{n}:{v}" for n, v in alive.items()))
    heard = draw(st.lists(st.sampled_from(arrivals))) + draw(st.permutations(arrivals))
    return alive, [*heard, last]


@given(histories())
def test_any_order_of_events_and_lists_ends_the_same(history: tuple[dict[str, int], list[Arrival]]) -> None:
    alive, arrivals = history
    store = Store[Object](CONFIG_MAP)
    seen: dict[str, int] = {}
    for arrival in arrivals:
        match arrival.kind:
            case "put":
                store.put(cm(arrival.version, arrival.names[0]))
            case "delete":
                store.remove(cm(arrival.version, arrival.names[0]))
            case _:
                items = [cm(int(v), n) for n, v in (name.split(":") for name in arrival.names)]
                store.replace(items, arrival.version)
        for key in store.keys(""):
            known = version(store, key) or 0
            assert known >= seen.get(key.name, 0), "it went back"
            seen[key.name] = known
    assert {key.name: version(store, key) for key in store.keys("")} == alive


@given(histories())
def test_without_a_list_nothing_that_was_deleted_comes_back(
    history: tuple[dict[str, int], list[Arrival]],
) -> None:
    alive, arrivals = history
    store = Store[Object](CONFIG_MAP)
    for arrival in arrivals:
        if arrival.kind == "put":
            store.put(cm(arrival.version, arrival.names[0]))
        elif arrival.kind == "delete":
            store.remove(cm(arrival.version, arrival.names[0]))
    assert {key.name: version(store, key) for key in store.keys("")} == alive
