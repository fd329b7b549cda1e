"""Values against the schema of their template (JSON Schema 2020-12). Runs inside the sandbox of `zygote`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import referencing.exceptions
from dsecos_api import Reason
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from dsecos_operator.rendering.refused import Refused, shown

FILE = "values.schema.json"


def complete(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the schema's defaults. Raises Refused (TemplateBroken, ValuesInvalid)."""
    try:
        Draft202012Validator.check_schema(schema)
        full: dict[str, Any] = _with_defaults(schema, dict(values))
        errors = sorted(
            Draft202012Validator(schema).iter_errors(full), key=lambda error: list(map(str, error.path))
        )
    except SchemaError as error:
        raise Refused(Reason.TEMPLATE_BROKEN, f"{FILE}: {shown(error.message)}") from error
    except referencing.exceptions.Unresolvable as error:
        raise Refused(Reason.TEMPLATE_BROKEN, f"{FILE}: {shown(error)} cannot be resolved") from error
    if errors:
        raise Refused(Reason.VALUES_INVALID, "; ".join(_explain(error) for error in errors[:5]))
    return full


def _with_defaults(schema: Any, values: Any) -> Any:
    if not isinstance(schema, Mapping) or not isinstance(values, dict):
        return values
    result = dict(values)
    for name, entry in schema.get("properties", {}).items():
        if name not in result and isinstance(entry, Mapping) and "default" in entry:
            result[name] = entry["default"]
        if name in result:
            result[name] = _with_defaults(entry, result[name])
    return result


def _explain(error: ValidationError) -> str:
    """Field, value and expectation; jsonschema's own message holds the last two."""
    return (
        ".".join(["spec.template.values", *map(str, error.absolute_path)]) + f": {shown(error.message, 300)}"
    )
