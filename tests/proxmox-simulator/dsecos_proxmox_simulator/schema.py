"""The real API's schema, where its file is at hand: what the simulator takes and gives is held against it.

The files are named proxmox-api-<version>.json and hold `{path: {METHOD: {parameters, returns,
permissions}}}`. They are looked for in the folder that DSECOS_PROXMOX_SCHEMA names, else in
`../shared/notes` beside the checkout.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dsecos_proxmox_simulator.errors import bad_parameters
from dsecos_proxmox_simulator.parameters import MISSING, UNKNOWN

CHECKOUT = Path(__file__).resolve().parents[3]


def schema_file(version: str) -> Path:
    """Where the schema of this version would be."""
    folder = os.environ.get("DSECOS_PROXMOX_SCHEMA")
    return (Path(folder) if folder else CHECKOUT.parent / "shared" / "notes") / f"proxmox-api-{version}.json"


@lru_cache(maxsize=4)
def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


class Schema:
    """The methods of one version of the real API."""

    def __init__(self, paths: Mapping[str, Any]) -> None:
        self._paths = paths

    @staticmethod
    def find(version: str) -> Schema | None:
        """The schema, or None where its file is absent."""
        path = schema_file(version)
        return Schema(_load(path)) if path.is_file() else None

    def method(self, method: str, template: str) -> dict[str, Any] | None:
        """What the schema says of a method, None if it has no such method."""
        found: dict[str, Any] | None = self._paths.get(template, {}).get(method)
        return found

    def knows(self, method: str, path: str) -> bool:
        """Whether the real API has this method of a concrete path."""
        return any(
            method in methods and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path)
            for template, methods in self._paths.items()
        )

    def properties(self, method: str, template: str) -> dict[str, Any]:
        """The parameters of a method."""
        found = self.method(method, template)
        return dict(found["parameters"].get("properties") or {}) if found else {}

    def check_parameters(self, method: str, template: str, given: Mapping[str, object]) -> None:
        """Raises ApiError 400 where the real API would refuse these parameters by their schema."""
        properties = self.properties(method, template)
        errors = {name: UNKNOWN for name in given if declared(properties, name) is None}
        errors |= {
            name: MISSING for name, p in properties.items() if not p.get("optional") and name not in given
        }
        for name, value in given.items():
            rule = declared(properties, name)
            if rule and (problem := _problem(rule, value)):
                errors[name] = problem
        if errors:
            raise bad_parameters(errors)

    def errors_of_answer(self, method: str, template: str, data: object) -> list[str]:
        """How an answer differs from what the schema says that the method returns."""
        found = self.method(method, template)
        if found is None:
            return [f"{method} {template}: the real API has no such method"]
        return [
            f"{method} {template}: {problem}"
            for problem in _problems(found.get("returns") or {}, data, "data")
            if not (template == "/cluster/sdn/zones" and PENDING.search(problem))
        ]


PENDING = re.compile(r"\.pending is \{.*\}, not boolean")
"""8.4 calls `pending` of a zone a boolean; it is an object, as of vnets, and of zones in 9.1."""


def declared(properties: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The declaration of a parameter; `net0` is declared as `net[n]`."""
    found: dict[str, Any] | None = properties.get(name) or properties.get(re.sub(r"\d+$", "[n]", name))
    return found


def _problem(rule: Mapping[str, Any], value: object) -> str:
    """The type, range and enumeration of one parameter."""
    kind = rule.get("type")
    if kind == "array" or isinstance(value, list):
        return "" if kind == "array" else "type check failed - got ARRAY"
    text = {True: "1", False: "0"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    if kind == "integer" and not re.fullmatch(r"[+-]?\d+", text):
        return f"type check ('integer') failed - got '{text}'"
    if kind in ("integer", "number") and re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        if rule.get("minimum") is not None and float(text) < float(rule["minimum"]):
            return f"value must have a minimum value of {rule['minimum']}"
        if rule.get("maximum") is not None and float(text) > float(rule["maximum"]):
            return f"value must have a maximum value of {rule['maximum']}"
    if rule.get("enum") and text not in map(str, rule["enum"]):
        return f"value '{text}' does not have a value in the enumeration"
    if rule.get("maxLength") and len(text) > rule["maxLength"]:
        return f"value may only be {rule['maxLength']} characters long"
    return ""


_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def _problems(rule: Mapping[str, Any], data: object, where: str) -> list[str]:
    kind = rule.get("type")
    if data is None:
        return [] if kind in (None, "null") or rule.get("optional") else [f"{where} is null, not {kind}"]
    if kind == "array":
        if not isinstance(data, list):
            return [f"{where} is no array"]
        return [
            p
            for i, item in enumerate(data)
            for p in _problems(rule.get("items") or {}, item, f"{where}[{i}]")
        ]
    if kind == "object" or "properties" in rule:
        return _object_problems(rule, data, where)
    if kind == "null":
        return [f"{where} is {data!r}, not null"]
    if kind in ("integer", "number", "boolean"):
        # Perl tells numbers and their texts not apart, and neither do its answers; a template may
        # be the empty text.
        if isinstance(data, dict | list) or not (data == "" or _NUMBER.fullmatch(str(data))):
            return [f"{where} is {data!r}, not {kind}"]
        return []
    if kind == "string":
        if isinstance(data, dict | list):
            return [f"{where} is {data!r}, not a string"]
        if rule.get("enum") and str(data) not in map(str, rule["enum"]):
            return [f"{where} is {data!r}, not one of {rule['enum']}"]
    return []


def _object_problems(rule: Mapping[str, Any], data: object, where: str) -> list[str]:
    if not isinstance(data, dict):
        return [f"{where} is no object"]
    properties = rule.get("properties") or {}
    found = [
        f"{where}.{name} is missing"
        for name, p in properties.items()
        if not p.get("optional") and name not in data
    ]
    for name, value in data.items():
        inner = declared(properties, name)
        if inner is not None and value is not None:
            found += _problems(inner, value, f"{where}.{name}")
        elif inner is None and rule.get("additionalProperties") == 0:
            found.append(f"{where}.{name} is not in the schema")
    return found
