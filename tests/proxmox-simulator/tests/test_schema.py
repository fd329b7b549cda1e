"""What the simulator declares is what the real API's schema says, in both versions.

The schema is no part of the repository; where its files are not at hand these tests say so and do not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from dsecos_proxmox_simulator.api import ENDPOINTS
from dsecos_proxmox_simulator.parameters import Parameter
from dsecos_proxmox_simulator.privileges import privileges_of
from dsecos_proxmox_simulator.routing import Endpoint
from dsecos_proxmox_simulator.schema import Schema, declared, schema_file

VERSIONS = ("8.4", "9.1")
TAKEN_OVER = {("POST", "/nodes/{node}/storage/{storage}/upload", "tmpfilename")}
"""Declared otherwise on purpose: the server hands the size of an upload on by it."""


def schema_of(version: str) -> Schema:
    found = Schema.find(version)
    if found is None:
        pytest.skip(f"the schema was not checked: {schema_file(version).name} is not there")
    return found


def methods(version: str) -> Iterator[Endpoint]:
    return (endpoint for endpoint in ENDPOINTS if not endpoint.since or version >= endpoint.since)


def differences(name: str, ours: Parameter, real: Mapping[str, Any], version: str) -> Iterator[str]:
    if ours.type != real.get("type", "string"):
        yield f"{name}: type {ours.type}, really {real.get('type')}"
    for mine, key in ((ours.minimum, "minimum"), (ours.maximum, "maximum")):
        theirs = real.get(key)
        if (None if theirs is None else float(theirs)) != mine:
            yield f"{name}: {key} {mine}, really {theirs}"
    if real.get("enum") and set(ours.enum) != set(map(str, real["enum"])):
        yield f"{name}: enumeration {sorted(ours.enum)}, really {sorted(map(str, real['enum']))}"
    if (ours.max_length or None) != real.get("maxLength"):
        yield f"{name}: maxLength {ours.max_length}, really {real.get('maxLength')}"
    if (ours.min_length or None) != real.get("minLength"):
        yield f"{name}: minLength {ours.min_length}, really {real.get('minLength')}"
    if ours.requires != real.get("requires", ""):
        yield f"{name}: requires {ours.requires!r}, really {real.get('requires')!r}"
    if real.get("pattern") and not (ours.pattern or ours.enum):
        yield f"{name}: no pattern, really {real['pattern']}"
    if ours.properties:
        yield from property_differences(name, ours, real, version)


def property_differences(name: str, ours: Parameter, real: Mapping[str, Any], version: str) -> Iterator[str]:
    keys = real["format"]
    for key, mine in ours.properties.items():
        if not mine.in_version(version):
            continue
        if key not in keys:
            yield f"{name}.{key}: really unknown"
        elif "alias" in keys[key]:
            if not mine.alias:
                yield f"{name}.{key}: really another spelling of {keys[key]['alias']}"
        else:
            if mine.required == bool(keys[key].get("optional")):
                yield f"{name}.{key}: required {mine.required}, really the opposite"
            yield from differences(f"{name}.{key}", mine, keys[key], version)
    for key, theirs in keys.items():
        if theirs.get("default_key") and ours.default_key != key:
            yield f"{name}: default key {ours.default_key!r}, really {key}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_method_and_parameter_exists_and_is_the_same(version: str) -> None:
    schema = schema_of(version)
    problems: list[str] = []
    for endpoint in methods(version):
        where = f"{endpoint.method} {endpoint.template}"
        if schema.method(endpoint.method, endpoint.template) is None:
            problems.append(f"{where}: really not there")
            continue
        properties = schema.properties(endpoint.method, endpoint.template)
        for name, ours in endpoint.table(version).items():
            if (endpoint.method, endpoint.template, name) in TAKEN_OVER or not ours.in_version(version):
                continue
            real = properties.get(name) or declared(properties, name)
            if real is None:
                problems.append(f"{where} {name}: really unknown")
                continue
            if ours.required == bool(real.get("optional")) and f"{{{name}}}" not in endpoint.template:
                problems.append(f"{where} {name}: required {ours.required}, really the opposite")
            problems += [f"{where} {text}" for text in differences(name, ours, real, version)]
        problems += [
            f"{where} {name}: must be there, and is not declared"
            for name, real in properties.items()
            if not real.get("optional") and name not in endpoint.parameters
        ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_method_asks_for_the_same_privileges(version: str) -> None:
    schema = schema_of(version)
    problems = []
    for endpoint in methods(version):
        real = (schema.method(endpoint.method, endpoint.template) or {}).get("permissions")
        ours = endpoint.permission(version)
        told = {"check": ours} if isinstance(ours, list) else ours
        if real != told:
            problems.append(f"{endpoint.method} {endpoint.template}: {told}, really {real}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_privileges_are_those_of_the_version(version: str) -> None:
    real = schema_of(version).method("GET", "/access/roles/{roleid}")
    assert real is not None
    assert privileges_of(version) == set(real["returns"]["properties"])


def test_every_template_names_its_parameters() -> None:
    for endpoint in ENDPOINTS:
        assert set(re.findall(r"\{(\w+)\}", endpoint.template)) <= set(endpoint.parameters)
