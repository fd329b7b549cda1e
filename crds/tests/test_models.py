"""The models read and write what users, controllers and the API server exchange."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dsecos_api import KINDS, Condition, Guest, KubeObject, NetworkZone, Stack
from dsecos_api.structural import Schema, structural
from pydantic import ValidationError

Object = dict[str, Any]
BY_NAME: dict[str, type[KubeObject]] = {kind.__name__: kind for kind in KINDS}
RESOURCES = {"cpu": "1", "memory": "1Gi", "disk": "1Gi"}


def test_what_is_read_is_written_again(raw: Object) -> None:
    assert BY_NAME[raw["kind"]].parse(raw).to_dict() == raw


def test_the_example_objects_use_every_field_of_every_kind(raw_objects: list[Object]) -> None:
    used = {path for raw in raw_objects for path in _paths(raw, raw["kind"])}
    known = {
        path
        for kind in KINDS
        for name in ("spec", "status")
        for path in _fields(structural(kind.part(name)), f"{kind.__name__}.{name}")
    }
    assert known - used == set()


def test_names_are_snake_case_in_python_and_camel_case_on_the_wire(raw_objects: list[Object]) -> None:
    guest = Guest.parse(next(raw for raw in raw_objects if raw["kind"] == "Guest"))
    assert guest.spec.id_map.base == guest.to_dict()["spec"]["idMap"]["base"]
    assert guest.spec.network.ports[0].from_ == ["0.0.0.0/0"]
    assert guest.to_dict()["spec"]["network"]["ports"][0]["from"] == ["0.0.0.0/0"]


def test_a_field_of_a_later_version_is_ignored() -> None:
    raw = {"metadata": {"name": "shop"}, "spec": {"zone": "z", "resources": RESOURCES, "fromTheFuture": 1}}
    assert "fromTheFuture" not in Stack.parse(raw).to_dict()["spec"]


def test_what_is_unset_is_not_written() -> None:
    stack = Stack.parse({"metadata": {"name": "shop"}, "spec": {"zone": "backend", "resources": RESOURCES}})
    assert stack.to_dict() == {
        "apiVersion": "dsecos.io/v1alpha1",
        "kind": "Stack",
        "metadata": {"name": "shop"},
        "spec": {"zone": "backend", "resources": RESOURCES},
    }


def test_empty_values_within_a_template_are_the_users_and_stay() -> None:
    template = {"name": "t", "values": {"hosts": [], "limits": {}, "note": None}}
    raw = {"metadata": {"name": "s"}, "spec": {"zone": "z", "resources": RESOURCES, "template": template}}
    assert Stack.parse(raw).to_dict()["spec"]["template"] == template


def test_zero_and_false_are_values() -> None:
    raw = {"metadata": {"name": "z"}, "spec": {"cidrs": ["10.0.0.0/24"], "paused": False}}
    zone = NetworkZone.parse({**raw, "status": {"addresses": {"allocated": 0, "available": 0}}})
    assert zone.to_dict()["spec"]["paused"] is False
    assert zone.to_dict()["status"] == {"addresses": {"allocated": 0, "available": 0}}


def test_a_model_cannot_be_changed() -> None:
    condition = Condition(type="Ready", status="True", reason="Serving")
    with pytest.raises(ValidationError, match="frozen"):
        condition.reason = "Other"  # type: ignore[misc]


@pytest.mark.parametrize("memory", ["2 GiB", "-1", "lots", "1e9"])
def test_a_quantity_that_cannot_be_read_is_refused_early(memory: str) -> None:
    with pytest.raises(ValidationError, match="is not a quantity"):
        Stack.parse({"spec": {"zone": "z", "resources": {**RESOURCES, "memory": memory}}})


def test_a_quantity_may_be_written_as_a_number() -> None:
    stack = Stack.parse({"spec": {"zone": "z", "resources": {**RESOURCES, "cpu": 2}}})
    assert stack.spec.resources.cpu == "2"


def test_an_object_tells_who_it_is_and_whether_it_goes() -> None:
    metadata = {"name": "shop", "namespace": "acme", "uid": "1", "deletionTimestamp": "2026-11-20T02:00:41Z"}
    stack = Stack.parse({"metadata": metadata, "spec": {"zone": "z", "resources": RESOURCES}})
    assert (stack.namespace, stack.name, stack.uid, stack.deleting) == ("acme", "shop", "1", True)


def _fields(schema: Schema, prefix: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield f"{prefix}.{name}"
        yield from _fields(field, f"{prefix}.{name}")
        yield from _fields(field.get("items", {}), f"{prefix}.{name}[]")


def _paths(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield f"{prefix}.{name}"
            yield from _paths(entry, f"{prefix}.{name}")
    if isinstance(value, list):
        for entry in value:
            yield from _paths(entry, f"{prefix}[]")
