"""Parameters as tables, and the strict check that Proxmox makes of them.

A table has a parameter a line: name (`!` behind it if it must be there), type, and constraints: `1..8192`
range, `=a|b` enumeration, `format:pve-node`, `len:5..40`, `requires:name`, `props:NAME` for a property
string, `alias:key` for another spelling of a key, `since:9.1`, `until:8.4`, and `/pattern/` as the last
word. A name with `[n]` stands for name0, name1 and so on.
The words of the errors are those of PVE::JSONSchema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from dsecos_proxmox_simulator.errors import bad_parameters
from dsecos_proxmox_simulator.formats import check_format

Value = str | int | float | list[str]

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method, or one key of a property string."""

    type: str
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[str, ...] = ()
    pattern: str = ""
    format: str = ""
    min_length: int = 0
    max_length: int = 0
    requires: str = ""
    alias: str = ""
    since: str = ""
    until: str = ""
    properties: Mapping[str, Parameter] = field(default_factory=dict)
    default_key: str = ""

    def in_version(self, version: str) -> bool:
        """Whether this version of Proxmox VE knows the parameter."""
        return (not self.since or version >= self.since) and (not self.until or version <= self.until)


Table = Mapping[str, Parameter]


def table(text: str, **named: tuple[Table, str]) -> dict[str, Parameter]:
    """The parameters of a table.

    `named` gives the property strings that it refers to, each with its default key.
    """
    found = {}
    for line in filter(str.strip, text.splitlines()):
        name, *words = line.split()
        found[name.rstrip("!")] = _parameter(name.endswith("!"), words, named)
    return found


def _parameter(required: bool, words: list[str], named: Mapping[str, tuple[Table, str]]) -> Parameter:
    given: dict[str, object] = {"type": words[0], "required": required}
    for word in words[1:]:
        key, _, value = word.partition(":")
        if word.startswith("/"):
            given["pattern"] = word[1:-1]
        elif word.startswith("="):
            given["enum"] = tuple(word[1:].split("|"))
        elif key == "len":
            low, _, high = value.partition("..")
            given |= {"min_length": int(low or 0), "max_length": int(high or 0)}
        elif key == "props":
            given["properties"], given["default_key"] = named[value]
        elif key in ("format", "requires", "alias", "since", "until"):
            given[key] = value
        else:
            low, _, high = word.partition("..")
            given |= {
                "minimum": float(low) if low else None,
                "maximum": float(high) if high else None,
            }
    return Parameter(**given)  # type: ignore[arg-type]  # the words above are the fields


@lru_cache(maxsize=4096)
def _index_pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\[n\]", r"(0|[1-9]\d{0,2})") + "$")


def find(parameters: Table, name: str) -> Parameter | None:
    """The declaration of a parameter; `net0` is declared as `net[n]`."""
    if name in parameters:
        return parameters[name] if "[n]" not in name else None
    if not name[-1:].isdigit():
        return None
    for declared, parameter in parameters.items():
        if "[n]" in declared and _index_pattern(declared).match(name):
            return parameter
    return None


def check(parameters: Table, given: Mapping[str, object], version: str) -> dict[str, Value]:
    """The values as their types. Raises ApiError 400 that names every wrong parameter."""
    errors: dict[str, str] = {}
    values: dict[str, Value] = {}
    for name, raw in given.items():
        parameter = find(parameters, name)
        if parameter is None or not parameter.in_version(version):
            errors[name] = UNKNOWN
            continue
        try:
            values[name] = convert(parameter, raw, name, version)
        except ValueError as error:
            errors[name] = str(error)
            continue
        if parameter.requires and parameter.requires not in given:
            errors[parameter.requires] = f"missing property - '{name}' requires this property"
    for name, parameter in parameters.items():
        if parameter.required and name not in given and parameter.in_version(version):
            errors[name] = MISSING
    if errors:
        raise bad_parameters(errors)
    return values


def convert(parameter: Parameter, raw: object, name: str, version: str) -> Value:
    """One value as its type. Raises ValueError with Proxmox's words."""
    if parameter.type == "array":
        return [str(item) for item in raw] if isinstance(raw, list) else [str(raw)]
    if isinstance(raw, list | dict):
        raise ValueError(f"type check ('{parameter.type}') failed - got {type(raw).__name__.upper()}")
    text = _text(raw)
    value: Value = text
    if parameter.type == "boolean":
        value = _boolean(text)
    elif parameter.type in ("integer", "number"):
        pattern = r"[+-]?\d+" if parameter.type == "integer" else r"[+-]?\d+(\.\d+)?"
        if not re.fullmatch(pattern, text):
            raise ValueError(f"type check ('{parameter.type}') failed - got '{text}'")
        value = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        if parameter.minimum is not None and value < parameter.minimum:
            raise ValueError(f"value must have a minimum value of {parameter.minimum:g}")
        if parameter.maximum is not None and value > parameter.maximum:
            raise ValueError(f"value must have a maximum value of {parameter.maximum:.0f}")
    _check_text(parameter, text, name, version)
    return value


def _check_text(parameter: Parameter, text: str, name: str, version: str) -> None:
    if parameter.max_length and len(text) > parameter.max_length:
        raise ValueError(f"value may only be {parameter.max_length} characters long")
    if len(text) < parameter.min_length:
        raise ValueError(f"value must be at least {parameter.min_length} characters long")
    if parameter.enum and text not in parameter.enum:
        raise ValueError(
            f"value '{text}' does not have a value in the enumeration '{', '.join(parameter.enum)}'"
        )
    if parameter.pattern and not re.fullmatch(parameter.pattern, text):
        raise ValueError("value does not match the regex pattern")
    if parameter.format:
        check_format(parameter.format, text)
    if parameter.properties:
        parse_properties(text, parameter, name, version)


def parse_properties(text: str, parameter: Parameter, name: str, version: str) -> dict[str, str]:
    """The keys and values of a property string. Raises ValueError in Proxmox's words."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            if not parameter.default_key:
                raise ValueError(
                    "invalid format - value without key, but schema does not define a default key\n"
                )
            key, value = parameter.default_key, part
        if key in found:
            raise ValueError(f"invalid format - duplicate key in comma-separated list property: {key}\n")
        found[key] = value
        declared = parameter.properties.get(key)
        if declared is None or not declared.in_version(version):
            problems.append(f"{name}.{key}: {UNKNOWN}")
            continue
        try:
            convert(declared, value, f"{name}.{key}", version)
        except ValueError as error:
            problems.append(f"{name}.{key}: {str(error).strip()}")
    present = {*found, *(parameter.properties[key].alias for key in found if key in parameter.properties)}
    problems += [
        f"{name}.{key}: {MISSING}"
        for key, declared in parameter.properties.items()
        if declared.required and key not in present
    ]
    if problems:
        raise ValueError("invalid format - format error\n" + "\n".join(problems) + "\n")
    return found


def _text(raw: object) -> str:
    if isinstance(raw, bool):
        return "1" if raw else "0"
    return str(raw)


def _boolean(text: str) -> int:
    if re.fullmatch(r"1|on|yes|true", text, re.IGNORECASE):
        return 1
    if re.fullmatch(r"0|off|no|false", text, re.IGNORECASE):
        return 0
    raise ValueError(f"type check ('boolean') failed - got '{text}'")
