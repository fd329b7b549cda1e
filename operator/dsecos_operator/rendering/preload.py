"""What a compose document may not say before it is even loaded.

Docker Compose's loader reads files, environment and, for remote resources, the network of whoever runs it.
Everything that makes it do so is refused here, on the parsed tree. Variables are judged here as well, because
loading replaces them: `${name}` stands for a secret, and only in the values of a service's `environment`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dsecos_api import Reason

from dsecos_operator.rendering.refused import Refused, shown

_FILE = "it would read a file of the machine that renders; "
_ENVIRONMENT = "it would read the environment of the machine that renders; "

SERVICE_READS: Mapping[str, str] = {
    "build": "images are not built on nodes; name a finished image",
    "env_file": _FILE + "write the values under `environment`",
    "label_file": _FILE + "write the labels under `labels`",
    "develop": "it is for development machines",
    "credential_spec": "it would read a file of the machine that renders",
    "provider": "it would run a program of the machine that renders",
    "use_api_socket": "it would hand out the Docker socket",
    "models": "they are not supported",
}
"""Keys of a service that make the loader, or whoever runs it, read or run something; with the way out."""

_DEFINITION_READS: Mapping[str, Mapping[str, str]] = {
    "configs": {
        "file": _FILE + "write it as `content`",
        "environment": _ENVIRONMENT + "write it as `content`",
        "external": "nothing outside of the document exists for it",
    },
    "secrets": {
        "file": _FILE + "use secretValues and `environment`",
        "environment": _ENVIRONMENT + "use secretValues and `environment`",
        "external": "nothing outside of the document exists for it; use secretValues and `environment`",
    },
    "networks": {"external": "nothing outside of the document exists for it"},
    "volumes": {"external": "nothing outside of the document exists for it"},
}

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<other>\{[^}]*\}?|\w+)?)"
)


def check(tree: Mapping[str, Any], declared: frozenset[str]) -> None:
    """Raises Refused (ComposeForbidden, UndefinedVariable). `declared`: names of the Stack's secretValues."""
    refusals = list(_reads(tree))
    if refusals:
        raise Refused(Reason.COMPOSE_FORBIDDEN, "; ".join(refusals[:10]))
    for key, value in tree.items():
        if not key.startswith("x-"):
            _check_variables(value, (key,), declared)


def _reads(tree: Mapping[str, Any]) -> Iterator[str]:
    if "include" in tree:
        yield f"include is refused: {_FILE}put everything in one document"
    for name, service in _entries(tree, "services"):
        for key, why in SERVICE_READS.items():
            if key in service:
                yield f"services.{name}.{key} is refused: {why}"
        extends = service.get("extends")
        if isinstance(extends, dict) and "file" in extends:
            yield f"services.{name}.extends.file is refused: {_FILE}put both services in one document"
    for section, keys in _DEFINITION_READS.items():
        for name, definition in _entries(tree, section):
            for key, why in keys.items():
                if definition.get(key):
                    yield f"{section}.{name}.{key} is refused: {why}"


def _entries(tree: Mapping[str, Any], section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    entries = tree.get(section)
    if isinstance(entries, dict):
        yield from ((name, entry) for name, entry in entries.items() if isinstance(entry, dict))


def _check_variables(value: Any, path: tuple[str, ...], declared: frozenset[str]) -> None:
    if isinstance(value, dict):
        for key, child in value.items():
            if "$" in key:
                raise _undefined(path, f"a key cannot hold a variable: {shown(key)}")
            _check_variables(child, (*path, key), declared)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _check_variables(child, (*path, str(index)), declared)
    elif isinstance(value, str):
        _check_text(value, path, declared)


def _check_text(text: str, path: tuple[str, ...], declared: frozenset[str]) -> None:
    in_environment = len(path) == 4 and path[0] == "services" and path[2] == "environment"
    if in_environment and path[3].isdecimal():
        name, _, text = text.partition("=")
        if "$" in name:
            raise _undefined(path, f"a variable can stand behind the = only: {shown(name)}")
    for match in _VARIABLE.finditer(text):
        if match["escaped"]:
            continue
        if match["name"] is None:
            raise _undefined(
                path,
                f"{shown(match[0])} cannot be read; write ${{name}} for a secret and $$ for a dollar sign",
            )
        if not in_environment:
            raise _undefined(
                path,
                f"{match[0]}: a variable stands in values of `environment` only; write $$ for a dollar sign",
            )
        if match["name"] not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise _undefined(path, f"{match[0]} is not among the Stack's secretValues ({known})")


def _undefined(path: tuple[str, ...], message: str) -> Refused:
    return Refused(Reason.UNDEFINED_VARIABLE, f"{'.'.join(path)}: {message}")
