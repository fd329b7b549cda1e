"""Shows how several things go on at once: a live table on a terminal, one plain line a change elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dsecos_cli.terminal import styled, table


class Board(Protocol):
    """Told of each look at a thing; `elapsed` is in seconds since the begin."""

    def tell(self, name: str, text: str, elapsed: float, *, done: bool = False) -> None:
        """Show what this look found."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; what was shown stays."""


def board_on(console: Console) -> Board:
    """The form that suits where the progress goes."""
    return LiveBoard(console) if console.is_terminal else PlainBoard(console)


class PlainBoard:
    """One line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def tell(self, name: str, text: str, elapsed: float, *, done: bool = False) -> None:
        """Write what is other than before."""
        if self._said.get(name) != (text, done):
            self._said[name] = (text, done)
            self._console.print(styled(f"{elapsed:6.1f}s  {'done' if done else 'busy'}  {name}  {text}"))


class LiveBoard:
    """One row for each thing, with a spinner while it is under way."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8)
        self._rows: dict[str, tuple[str, float, bool]] = {}
        self._spinner = Spinner("dots", style="yellow")

    def __enter__(self) -> Self:
        """Begin."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._live.stop()

    def tell(self, name: str, text: str, elapsed: float, *, done: bool = False) -> None:
        """Draw the table anew."""
        self._rows[name] = (text, elapsed, done)
        self._live.update(self._table())

    def _table(self) -> Table:
        grid = table(["", "", "", ""], [])
        grid.show_header = False
        for name, (text, elapsed, done) in self._rows.items():
            mark = Text("✓", "green") if done else self._spinner
            grid.add_row(mark, styled(name), styled(f"{elapsed:.1f}s", "dim"), styled(text))
        return grid
