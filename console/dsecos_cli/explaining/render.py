"""An answer as text, and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dsecos_cli.explaining.model import Judgement, Verdict
from dsecos_cli.terminal import styled, table


def render(verdict: Verdict, *, wide: bool) -> RenderableType:
    """The answer, then the steps, then what to change. Families that fare the same are told once, unless
    `wide` is asked for.
    """
    judgements = verdict.judgements
    parts: list[RenderableType] = []
    if verdict.united:
        parts.append(_headline(judgements[0], ""))
    else:
        parts += [_headline(each, f"IPv{each.version}: ") for each in judgements]
    apart = wide or not verdict.united
    for each in judgements if apart else judgements[:1]:
        parts += [Text(), _steps(each, named=apart and len(judgements) > 1)]
    for line in _changes(judgements):
        parts.append(styled(line))
    if verdict.notes:
        parts += [Text(), *(styled(f"Note: {note}", "yellow") for note in verdict.notes)]
    return Group(*parts)


def _headline(judgement: Judgement, family: str) -> Text:
    word, style = ("Allowed", "bold green") if judgement.allowed else ("Denied", "bold red")
    return Text.assemble(family, (word, style), ": ", styled(judgement.decides))


def _steps(judgement: Judgement, *, named: bool) -> RenderableType:
    headers = ["", "OBJECT", "FIELD", "SAYS"]
    grid = table(
        headers,
        [
            [Text("+", "green") if step.passes else Text("-", "red"), step.subject, step.field, step.says]
            for step in judgement.steps
        ],
    )
    title = f"IPv{judgement.version}: {judgement.source} -> {judgement.destination}"
    return Group(Text(title), grid) if named else grid


def _changes(judgements: tuple[Judgement, ...]) -> Iterator[str]:
    """Each change once; families of one zone mostly need the same."""
    for number, change in enumerate(dict.fromkeys(change for each in judgements for change in each.changes)):
        if number == 0:
            yield ""
            yield "To let it pass:"
        if not change.subject:
            yield f"  {change.text}"
            continue
        verb = "add to" if change.text.startswith("- ") else "set"
        yield f"  {change.subject}: {verb} {change.field}"
        yield from (f"    {line}" for line in change.text.splitlines())


def to_dict(verdict: Verdict) -> dict[str, Any]:
    """For programs. `allowed` is true if the packet passes in any family."""
    return {
        "allowed": verdict.allowed,
        "families": [_family(each) for each in verdict.judgements],
        "notes": list(verdict.notes),
    }


def _family(judgement: Judgement) -> dict[str, Any]:
    return {
        "family": f"IPv{judgement.version}" if judgement.version else "",
        "allowed": judgement.allowed,
        "from": judgement.source,
        "to": judgement.destination,
        "rule": str(judgement.decides),
        "steps": [
            {"object": step.subject, "field": step.field, "says": step.says, "passes": step.passes}
            for step in judgement.steps
        ],
        "changes": [
            {"object": change.subject, "field": change.field, "text": change.text}
            for change in judgement.changes
        ],
    }
