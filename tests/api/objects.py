"""The example objects of crds/tests/objects, and how to change one field of them."""

from __future__ import annotations

import copy
import re
from typing import Any, cast

import yaml
from dsecos_api.generate import CHECKOUT

from tests.api.client import Object

ABSENT = object()
"""In place of a value: the field is removed."""


def _examples() -> list[Object]:
    paths = sorted((CHECKOUT / "crds/tests/objects").glob("*.yaml"))
    return [each for path in paths for each in yaml.safe_load_all(path.read_text())]


EXAMPLES = _examples()


def example(name: str, new_name: str | None = None) -> Object:
    """A copy of an example object, under another name if one is given."""
    (found,) = [each for each in EXAMPLES if each["metadata"]["name"] == name]
    obj = copy.deepcopy(found)
    obj["metadata"]["name"] = new_name or name
    return obj


def located(obj: Object, where: str) -> str:
    """The path of one value as the API server names it: `spec.expose[].port` is `spec.expose[0].port`.

    `[]` stands for the first entry of a list, `.*` for the first entry of a map.
    """
    path, value = "", cast(Any, obj)
    for step in _steps(where):
        key = _key(value, step)
        path += f"[{key}]" if step == "[]" else f".{key}"
        value = {} if isinstance(value, dict) and key not in value else value[key]
    return path.removeprefix(".")


def changed(obj: Object, where: str, value: Any) -> Object:
    """A copy of an object with another value at a path, or without one if it is ABSENT."""
    result = copy.deepcopy(obj)
    parent: Any = {"": result}
    key: Any = ""
    for step in _steps(where):
        parent = parent[key]
        key = _key(parent, step)
    if value is ABSENT:
        parent.pop(key, None)
    else:
        parent[key] = value
    return result


def _key(parent: Any, step: str) -> Any:
    if step == "[]":
        return 0
    return next(iter(parent)) if step == "*" else step


def _steps(where: str) -> list[str]:
    return re.findall(r"\[\]|[^.\[]+", where)
