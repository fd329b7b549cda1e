"""From pydantic's JSON schema to a structural schema, the subset that a CustomResourceDefinition may carry.

pydantic writes JSON schema 2020-12: parts behind `$ref`, optional fields as `anyOf` with null, a title on
everything. A structural schema has every part in place, one type for each value, and no null. All of this is
pure.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions", section
"Specifying a structural schema".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

RULES = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"
EFFECT = "effect"
"""What a change of the field does to a running application, for `dsecos diff` and the reference pages."""

ORDER = (
    "description",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "format",
    "enum",
    "default",
    "minLength",
    "maxLength",
    "pattern",
    "anyOf",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    LIST_TYPE,
    LIST_KEYS,
    "minProperties",
    "maxProperties",
    RULES,
    "required",
    "properties",
    "items",
    "additionalProperties",
    EFFECT,
)
"""The keywords that we write, in the order that reads best."""

DROPPED = {"$defs", "title"}


class UnsupportedSchemaError(Exception):
    """A model uses something that has no structural form; the message says what and where."""


def structural(model: type[BaseModel], *, effects: bool = False) -> Schema:
    """The structural schema of a model; with `effects` each field keeps its effect, which is for people only.

    Raises UnsupportedSchemaError.
    """
    raw = model.model_json_schema()
    dropped = DROPPED if effects else DROPPED | {EFFECT}
    return _Converter(raw.get("$defs", {}), dropped).convert(raw, model.__name__)


class _Converter:
    """Converts one document; `parts` are its `$defs`, `dropped` the keywords to leave out."""

    def __init__(self, parts: Mapping[str, Schema], dropped: Collection[str]) -> None:
        self._parts = parts
        self._dropped = {*dropped, "default"}

    def convert(self, raw: Schema, where: str, defaults: Collection[str] = ()) -> Schema:
        """Convert the value at `where`. Of its properties only those named in `defaults` keep their default.

        The API server writes a default into objects that lack the field, and a GitOps diff shows it. Only
        the keys of a list map need one: the API server takes no list map whose key may be absent.
        """
        raw = self._in_place(raw)
        if unknown := sorted(raw.keys() - set(ORDER) - self._dropped):
            raise UnsupportedSchemaError(f"{where}: {', '.join(unknown)} has no structural form")
        schema = {key: value for key, value in raw.items() if key not in self._dropped}
        if "description" in raw:
            schema["description"] = " ".join(raw["description"].split())
        if "properties" in raw:
            schema["properties"] = {
                name: self._property(value, f"{where}.{name}", keep_default=name in defaults)
                for name, value in raw["properties"].items()
            }
        if "items" in raw:
            schema["items"] = self.convert(raw["items"], f"{where}[]", defaults=raw.get(LIST_KEYS, ()))
            schema.setdefault(LIST_TYPE, "atomic")
        if isinstance(raw.get("additionalProperties"), Mapping):
            schema["additionalProperties"] = self.convert(raw["additionalProperties"], f"{where}.*")
        else:  # `true` of a free-form map: x-kubernetes-preserve-unknown-fields says it
            schema.pop("additionalProperties", None)
        return _ordered(schema)

    def _property(self, raw: Schema, where: str, *, keep_default: bool) -> Schema:
        schema = self.convert(raw, where)
        if keep_default and "default" in raw:
            schema["default"] = raw["default"]
        return _ordered(schema)

    def _in_place(self, raw: Schema) -> Schema:
        """Replace a reference, or an alternative to null, by what it means; what stands beside it wins."""
        while True:
            if "$ref" in raw:
                key, stands_for = "$ref", deepcopy(self._parts[raw["$ref"].removeprefix("#/$defs/")])
            elif {"type": "null"} in raw.get("anyOf", ()):
                key, (stands_for,) = "anyOf", [each for each in raw["anyOf"] if each != {"type": "null"}]
            else:
                return raw
            beside = {name: value for name, value in raw.items() if name != key}
            rules = [*stands_for.get(RULES, ()), *beside.get(RULES, ())]
            raw = {**stands_for, **beside, **({RULES: rules} if rules else {})}


def _ordered(schema: Schema) -> Schema:
    return {key: schema[key] for key in ORDER if key in schema}
