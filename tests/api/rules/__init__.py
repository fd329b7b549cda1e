"""For every rule of the schemas a value that it accepts and one that it refuses, written by hand.

A table names an example object and, by the path of a field, the rules that hold there. `test_rules` puts
each value into the object and sends it to the API server; it fails if the generated YAML has a rule that no
table has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.api.objects import ABSENT

UNCHANGED = object()
"""In place of a value: the example object as it is."""


@dataclass(frozen=True)
class Pair:
    """One rule: its keyword (a CEL rule's message), values it takes and refuses, and what it says then."""

    keyword: str
    accepts: tuple[Any, ...]
    refuses: tuple[Any, ...]
    says: str
    field: str = ""
    """Field below the path that is changed, where it is not the one that has the rule."""
    update: bool = False
    """Whether the rule compares with the object as it was."""


Rules = Mapping[str, tuple[Pair, ...]]


@dataclass(frozen=True)
class Table:
    """Rules of one kind, tried on one example object."""

    kind: str
    example: str
    rules: Rules


def below(prefix: str, rules: Rules) -> dict[str, tuple[Pair, ...]]:
    """The rules of a part, at the place where a kind has that part."""
    return {f"{prefix}{path}": pairs for path, pairs in rules.items()}


def pattern(accepts: Iterable[Any], refuses: Iterable[Any]) -> Pair:
    return Pair("pattern", tuple(accepts), tuple(refuses), "should match")


def max_length(most: int, prefix: str = "", suffix: str = "") -> Pair:
    longest = prefix + "a" * (most - len(prefix + suffix)) + suffix
    return Pair("maxLength", (longest,), (f"{prefix}a{longest.removeprefix(prefix)}",), "Too long")


def min_length(accept: str, refuse: str) -> Pair:
    return Pair("minLength", (accept,), (refuse,), "chars long")


def minimum(least: int, accept: Any = None) -> Pair:
    return Pair("minimum", (least if accept is None else accept,), (least - 1,), "greater than or equal to")


def maximum(most: int) -> Pair:
    return Pair("maximum", (most,), (most + 1,), "less than or equal to")


def between(least: int, most: int) -> tuple[Pair, Pair]:
    return minimum(least), maximum(most)


def enum(*values: str) -> Pair:
    return Pair("enum", values, (values[0].swapcase(), "", "Nonsense"), "Unsupported value")


def required(*names: str) -> tuple[Pair, ...]:
    return tuple(Pair(f"required {name}", (UNCHANGED,), (ABSENT,), "Required value", name) for name in names)


def max_items(entries: list[Any], most: int) -> Pair:
    """`entries` has one entry more than the list may have."""
    assert len(entries) == most + 1
    return Pair("maxItems", (entries[:-1],), (entries,), "Too many")


def unique(accept: list[Any], refuse: list[Any]) -> Pair:
    return Pair("unique", (accept,), (refuse,), "Duplicate value")


def cel(message: str, accepts: Iterable[Any], refuses: Iterable[Any], field: str = "") -> Pair:
    return Pair(message, tuple(accepts), tuple(refuses), message, field)


def fixed(message: str, accepts: Iterable[Any], refuses: Iterable[Any], field: str = "") -> Pair:
    """A rule against change: values that may, and may not, follow on the example's."""
    return replace(cel(message, accepts, refuses, field), update=True)
