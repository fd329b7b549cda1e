"""Every rule of every schema accepts what it should and refuses what it should, on a real API server."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from dsecos_api import KINDS
from dsecos_api.generate import CHECKOUT
from dsecos_api.structural import LIST_TYPE, RULES, Schema

from tests.api.client import Api, Object, RefusedError
from tests.api.objects import changed, example, located
from tests.api.rules import UNCHANGED, Pair, Table

TABLES: list[Table] = [
    table
    for kind in KINDS
    for table in importlib.import_module(f"tests.api.rules.{kind.info.singular}").TABLES
]
BY_NAME = {kind.__name__: kind for kind in KINDS}

BOUNDS = (
    "pattern",
    "format",
    "enum",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)


@dataclass(frozen=True)
class Case:
    """One rule, at its place in one kind."""

    table: Table
    path: str
    pair: Pair

    @property
    def field(self) -> str:
        """The field that gets the values."""
        return ".".join(part for part in (self.path, self.pair.field) if part)

    def __str__(self) -> str:
        return f"{self.table.kind} {self.table.example} {self.path or 'object'}: {self.pair.keyword}"

    def send(self, value: Any, api: Api, live: Object) -> Object:
        """Ask the API server what it thinks of the example object with this value."""
        is_status = self.path.startswith("status")
        fresh = not (is_status or self.pair.update)
        before = example(self.table.example, "example") if fresh else live
        obj = before if value is UNCHANGED else changed(before, self.field, value)
        if fresh:
            return api.create(obj, dry_run=True)
        return api.replace(obj, "status" if is_status else "", dry_run=True)


CASES = [Case(table, path, pair) for table in TABLES for path, pairs in table.rules.items() for pair in pairs]
EVERY_RULE = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="module")
def live(api: Api) -> dict[str, Object]:
    """The example objects as they are in the API server, by the name of the example."""
    found = {}
    for name in dict.fromkeys(table.example for table in TABLES):
        obj = example(name, f"live-{name}")
        created = api.create(obj)
        found[name] = api.replace({**created, "status": obj.get("status", {})}, "status")
    return found


@EVERY_RULE
def test_accepts(case: Case, api: Api, live: dict[str, Object]) -> None:
    for value in case.pair.accepts:
        answer = case.send(value, api, live[case.table.example])
        assert BY_NAME[case.table.kind].parse(answer), "what the API server accepts, controllers can read"


@EVERY_RULE
def test_refuses(case: Case, api: Api, live: dict[str, Object]) -> None:
    place = located(live[case.table.example], case.path)
    for value in case.pair.refuses:
        with pytest.raises(RefusedError) as refusal:
            case.send(value, api, live[case.table.example])
        assert refusal.value.code == 422
        said = [message for field, message in refusal.value.causes if field.startswith(place)]
        assert any(case.pair.says in message for message in said), (value, refusal.value.causes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_rule_of_the_generated_schema_is_in_a_table(kind: Any) -> None:
    crd = yaml.safe_load((CHECKOUT / f"crds/yaml/dsecos.io_{kind.info.plural}.yaml").read_text())
    generated = set(_rules(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], ""))
    tables = [table for table in TABLES if table.kind == kind.__name__]
    tried = {
        (path, pair.keyword) for table in tables for path, pairs in table.rules.items() for pair in pairs
    }
    assert sorted(generated - tried) == [], "rules without a test"
    assert sorted(tried - generated) == [], "tests without a rule"


def test_every_rule_has_values_of_both_sorts() -> None:
    pairs = [pair for table in TABLES for pairs in table.rules.values() for pair in pairs]
    assert all(pair.accepts and pair.refuses for pair in pairs)


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    """Every rule of a schema, as the path of the field and the keyword that a table uses."""
    yield from ((path, keyword) for keyword in BOUNDS if keyword in schema)
    yield from ((path, f"required {name}") for name in schema.get("required", ()))
    yield from ((path, entry["message"]) for entry in schema.get(RULES, ()))
    if schema.get(LIST_TYPE) in ("map", "set"):
        yield path, "unique"
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from _rules(schema["additionalProperties"], f"{path}.*")
