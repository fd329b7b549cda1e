"""Shows how a deployment goes: a live list of steps on a terminal, one plain line a change elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from dsecos_api import Stack
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from dsecos_cli.overview import MARKS
from dsecos_cli.steps import Step, StepState, steps
from dsecos_cli.terminal import styled, table


class Progress(Protocol):
    """Told of each look at the Stack; `elapsed` is in seconds since the apply."""

    def update(self, stack: Stack, elapsed: float) -> None:
        """Show what this look found."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; what was shown stays."""


def progress_on(console: Console) -> Progress:
    """The form that suits where the progress goes."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class PlainProgress:
    """One line for each step that changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, tuple[StepState, str]] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def update(self, stack: Stack, elapsed: float) -> None:
        """Write the steps that are done, busy or failed in another way than before."""
        for step in steps(stack):
            now = (step.state, step.reason)
            if step.state not in (StepState.WAITING, StepState.UNUSED) and self._seen.get(step.type) != now:
                self._seen[step.type] = now
                self._console.print(styled(_line(step, elapsed)))


def _line(step: Step, elapsed: float) -> str:
    detail = f"{step.reason}: {step.message}" if step.message else step.reason
    return f"{elapsed:6.1f}s  {step.state:<6}  {step.name}  {detail}".rstrip()


class LiveProgress:
    """All steps, each with its mark and the time at which it was done; a spinner at the one that is under
    way.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8)
        self._done: dict[str, float] = {}
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

    def update(self, stack: Stack, elapsed: float) -> None:
        """Draw the list anew."""
        found = steps(stack)
        for step in found:
            if step.state is StepState.DONE:
                self._done.setdefault(step.type, elapsed)
            else:
                self._done.pop(step.type, None)
        self._live.update(Group(*(self._row(step) for step in found)))

    def _row(self, step: Step) -> RenderableType:
        mark, style = MARKS[step.state]
        busy = step.state is StepState.BUSY
        when = f"{self._done[step.type]:.1f}s" if step.type in self._done else ""
        detail = step.message or step.reason if step.state is not StepState.DONE else step.message
        grid = table(["", "", "", ""], [])
        grid.show_header = False
        grid.columns[1].width, grid.columns[2].width = 32, 6
        grid.add_row(
            self._spinner if busy else Text(mark, style),
            step.name,
            styled(when, "dim"),
            styled(detail, "dim"),
        )
        return grid
