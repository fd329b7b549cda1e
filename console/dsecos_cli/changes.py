"""Changed fields as lines for people."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from rich.text import Text

from dsecos_cli.fields import ABSENT, Change
from dsecos_cli.terminal import clean

HIDDEN = "(not shown)"


def change_lines(found: Iterable[Change], *, hide_values: bool = False) -> Iterator[Text]:
    """One line a field: what it was, what it becomes, what that does; a long text as a unified diff below
    it.
    """
    for change in found:
        if _is_long(change.before) or _is_long(change.after):
            yield _headed(change, "")
            if not hide_values:
                yield from _unified(change)
        else:
            yield _headed(change, _values(change, hide_values=hide_values))


def to_dict(change: Change, *, hide_values: bool = False) -> dict[str, Any]:
    """The form for programs; a field that is not there is left out."""
    entry: dict[str, Any] = {"field": change.where}
    if not hide_values:
        entry |= {k: v for k, v in (("before", change.before), ("after", change.after)) if v is not ABSENT}
    return entry | ({"effect": change.effect} if change.effect else {})


def _headed(change: Change, values: str) -> Text:
    sign, style = _sign(change)
    text = Text.assemble((f"  {sign} ", style), clean(change.where))
    if values:
        text.append(clean(f": {values}"))
    if change.effect:
        text.append(f"   [{change.effect}]", style="dim")
    return text


def _sign(change: Change) -> tuple[str, str]:
    if change.before is ABSENT:
        return "+", "green"
    return ("-", "red") if change.after is ABSENT else ("~", "yellow")


def _values(change: Change, *, hide_values: bool) -> str:
    if hide_values:
        return HIDDEN
    before, after = (_compact(value) for value in (change.before, change.after))
    return " -> ".join(part for part in (before, after) if part)


def _compact(value: Any) -> str:
    return "" if value is ABSENT else json.dumps(value, ensure_ascii=False)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _unified(change: Change) -> Iterator[Text]:
    before, after = ("" if value is ABSENT else str(value) for value in (change.before, change.after))
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))
    for line in lines[2:]:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        yield Text(clean(f"      {line}"), style=style)
