"""What users see with kubectl."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from dsecos_api import KINDS, KubeObject
from dsecos_api.structural import Schema, structural
from dsecos_control_plane.testing import ControlPlane

from tests.api.client import Api, Object
from tests.api.objects import example

EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)

SHOWN = {
    "shop": ["True", "Serving", "rack1-a", "10.20.0.5", "http://10.0.0.5:8080", "Running", "rack1-b"],
    "backend": [
        "True",
        "InForce",
        "10.20.0.0/24",
        "10.20.0.1",
        "NAT",
        "1",
        "252",
        "in force on 1 of 1 nodes",
    ],
    "rack1-a": [
        "True",
        "AgentReporting",
        "lxc 6.0.4",
        "7500m",
        "31Gi",
        "10.0.0.5",
        "Draining",
        "2",
        "6.12.107-dsecos",
        "0.1.0",
    ],
    "dsecos": ["True", "LicenseValid", "Acme GmbH", "enterprise", "50"],
    "nightly": ["Unknown", "ControllerNotAvailable", "0 2 * * *"],
    "shop-1a2b3c4d": ["False", "Unhealthy", "shop", "acme", "10.20.0.5", "0 of 1 services healthy"],
    "backend-9f8e7d6c": ["True", "InForce", "backend", "acme", "10.20.0.0/24", "dsz1a2b3c4d"],
}
"""What `kubectl get -o wide` shows of an example object beside its name and times."""


@pytest.fixture(scope="module")
def seen(api: Api) -> dict[str, Object]:
    """An object of every kind with its status, by the name of the example."""
    found = {}
    for name in SHOWN:
        created = api.create(example(name, f"seen-{name}"))
        found[name] = api.replace({**created, "status": example(name)["status"]}, "status")
    return found


@pytest.mark.parametrize("name", SHOWN)
def test_columns_answer_whether_where_since_when_and_why(
    name: str, seen: dict[str, Object], plane: ControlPlane
) -> None:
    kind = _kind(seen[name])
    header, row = _get(plane, seen[name], "-o", "wide")
    columns = [column.name.upper() for column in kind.info.columns]
    assert header == ["NAME", *columns]
    assert [cell for cell in SHOWN[name] if cell not in row] == []
    assert re.fullmatch(r"\d+[smh]", row[header.index("AGE")])


@pytest.mark.parametrize("name", SHOWN)
def test_a_line_without_wide_has_only_the_columns_that_matter_most(
    name: str, seen: dict[str, Object], plane: ControlPlane
) -> None:
    header, _ = _get(plane, seen[name])
    wanted = [column.name.upper() for column in _kind(seen[name]).info.columns if column.priority == 0]
    assert header == ["NAME", *wanted]


def test_since_tells_when_a_stack_became_what_it_is(seen: dict[str, Object], plane: ControlPlane) -> None:
    header, row = _get(plane, seen["shop"])
    assert re.fullmatch(r"\d+[dhms]\S*", row[header.index("SINCE")])


def test_one_word_lists_all_kinds_in_all_namespaces(seen: dict[str, Object], plane: ControlPlane) -> None:
    listed = plane.kubectl("get", "dsecos", "-A", "-o", "name").splitlines()
    assert {
        f"{_kind(obj).info.singular}.dsecos.io/{obj['metadata']['name']}" for obj in seen.values()
    } <= set(listed)


def test_short_names_name_their_kind(seen: dict[str, Object], plane: ControlPlane) -> None:
    listed = plane.kubectl("api-resources", "--categories=dsecos", "--no-headers").splitlines()
    found = {cells[-1]: cells[1].split(",") for cells in map(str.split, listed)}
    assert found == {kind.__name__: list(kind.info.short_names) for kind in KINDS}

    every = ",".join(name for kind in KINDS for name in kind.info.short_names)
    assert set(plane.kubectl("get", every, "-A", "-o", "name").splitlines()) >= {
        f"{_kind(obj).info.singular}.dsecos.io/{obj['metadata']['name']}" for obj in seen.values()
    }


SELECTORS = [
    ("shop", "spec.zone=backend", "spec.zone=frontend"),
    ("shop", "status.node=rack1-a", "status.node=rack1-b"),
    ("shop-1a2b3c4d", "spec.stackRef.name=shop", "spec.stackRef.name=shoe"),
    ("shop-1a2b3c4d", "spec.stackRef.namespace=acme", "spec.stackRef.namespace=umbrella"),
    ("backend-9f8e7d6c", "spec.zoneRef.name=backend", "spec.zoneRef.name=frontend"),
    ("backend-9f8e7d6c", "spec.zoneRef.namespace=acme", "spec.zoneRef.namespace=umbrella"),
]


@pytest.mark.parametrize(("name", "match", "other"), SELECTORS)
def test_field_selectors_find_what_they_should(
    name: str, match: str, other: str, seen: dict[str, Object], api: Api
) -> None:
    def found(selector: str) -> list[str]:
        return [item["metadata"]["name"] for item in api.list(seen[name], fieldSelector=selector)]

    assert f"seen-{name}" in found(match)
    assert found(other) == []


def test_every_selectable_field_is_tried() -> None:
    tried = {selector.partition("=")[0] for _, selector, _ in SELECTORS}
    assert tried == {path.removeprefix(".") for kind in KINDS for path in kind.info.selectable_fields}


def test_explain_tells_what_an_exposed_port_is(plane: ControlPlane) -> None:
    text = " ".join(plane.kubectl("explain", "stack.spec.expose").split())
    assert "Ports that may be reached from outside of the zone." in text
    assert "from <[]string> Networks that may connect. Empty: nobody may." in text
    assert "port <integer> -required- Port in the guest." in text
    assert "protocol <string> enum: TCP, UDP Transport protocol." in text


@EVERY_KIND
def test_explain_tells_every_field(kind: type[KubeObject], plane: ControlPlane) -> None:
    # By short name: a plain `kubectl explain nodes` is about Kubernetes' own Nodes.
    resource = kind.info.short_names[0]
    whole = plane.kubectl("explain", resource, "--recursive")
    assert kind.info.description in " ".join(whole.split())
    for part in ("spec", "status"):
        schema = structural(kind.part(part))
        assert set(_names(schema)) <= set(re.findall(r"^\s+(\w+)\t", whole, re.MULTILINE))
        text = " ".join(plane.kubectl("explain", f"{resource}.{part}").split())
        assert schema["description"] in text
        for name, field in schema["properties"].items():
            assert re.search(rf"\b{name} <\S+>", text)
            assert field["description"] in text


def _kind(obj: Object) -> type[KubeObject]:
    return next(kind for kind in KINDS if kind.__name__ == obj["kind"])


def _get(plane: ControlPlane, obj: Object, *options: str) -> tuple[list[str], list[str]]:
    """The header and the line of one object, as cells. kubectl parts columns by three spaces."""
    namespace = obj["metadata"].get("namespace")
    where = ["-n", namespace] if namespace else []
    resource = f"{_kind(obj).info.plural}.dsecos.io"
    header, row = plane.kubectl("get", resource, obj["metadata"]["name"], *where, *options).splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    ends = [*starts[1:], None]
    return header.split(), [row[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _names(schema: Schema) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield name
        yield from _names(field)
        yield from _names(field.get("items", {}))
