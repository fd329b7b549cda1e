"""What is written, and where: results to standard output, everything else to standard error.

Whatever comes from the cluster is data: control characters are taken out before they reach a terminal, and
rich's markup is never read from it. Colour only on a terminal, and not with NO_COLOR (https://no-color.org).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import yaml
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dsecos_cli.errors import CliError, RefusedError

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
"""Control sequences, such as those for colours, and operating system commands (ECMA-48, 5.4 and 5.6)."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
PLAIN_WIDTH = 10_000
"""Columns where nobody looks at a terminal: lines are not wrapped for programs."""


class Output(StrEnum):
    """How a result is written."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

    @property
    def structured(self) -> bool:
        """Whether a program reads it."""
        return self in (Output.JSON, Output.YAML)


def clean(text: str) -> str:
    """Text from elsewhere without control sequences and characters, and without marks that change the reading
    direction.
    """
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


def styled(text: object, style: str = "") -> Text:
    """Text from elsewhere, to be shown as it is."""
    return Text(clean(str(text)), style=style)


def stdout() -> Console:
    """Where results go."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def stderr() -> Console:
    """Where progress and errors go."""
    return Console(
        stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else PLAIN_WIDTH
    )


def print_structured(value: Any, output: Output) -> None:
    """Write JSON or YAML for programs."""
    if output is Output.JSON:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(to_yaml(value))


def to_yaml(*documents: Any) -> str:
    """YAML in the order of the keys given, several documents separated by `---`."""
    return yaml.safe_dump_all(
        documents, sort_keys=False, allow_unicode=True, explicit_start=len(documents) > 1
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A plain table as kubectl writes it: columns with two blanks between, no lines."""
    grid = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for header in headers:
        grid.add_column(header, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else styled(cell) for cell in row))
    return grid


def show(what: RenderableType) -> None:
    """Write tables to standard output, without the blanks that fill their last column."""
    console = stdout()
    with console.capture() as capture:
        console.print(what)
    for line in capture.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def print_error(error: CliError) -> None:
    """One line that says what is wrong, the fields that the server named, then the way out."""
    console = stderr()
    console.print(Text("error: ", "bold red").append_text(styled(error.message)))
    if isinstance(error, RefusedError):
        for field, why in error.causes:
            console.print(styled(f"  {field}: {why}" if field else f"  {why}"))
    if error.hint:
        console.print(styled(error.hint))


def note(text: str) -> None:
    """Something worth knowing that is not the result."""
    stderr().print(styled(text))
