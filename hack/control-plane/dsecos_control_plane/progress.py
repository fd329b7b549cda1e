"""Tell whoever waits what is being done, how far it is, and how long it took.

On a terminal, running steps are lines that move; elsewhere each step gets a line at its end, and a long one a
line now and then.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL = 15.0
"""Seconds between two lines of one step where the output is not a terminal."""

Say = Callable[[str], None]


def duration(seconds: float) -> str:
    """Return a time as people say it: `0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Steps:
    """The steps of one command; a context manager. Steps may run in several threads at once."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._lock = threading.Lock()
        self._live = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            TextColumn("[dim]{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._begin = time.monotonic()

    def __enter__(self) -> "Steps":
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what was done on the screen."""
        self._live.stop()

    @property
    def elapsed(self) -> str:
        """Time since the first step."""
        return duration(time.monotonic() - self._begin)

    @contextmanager
    def step(self, title: str) -> Iterator[Say]:
        """Show a step while the block runs; what is yielded tells how far it is.

        The last thing that was told stays beside the step when it is done.
        """
        task = self._live.add_task(escape(title), total=1, detail="")
        reporter = _Reporter(self, title, task)
        begin = time.monotonic()
        try:
            yield reporter.say
        except BaseException:
            self._finish(task, "[red]✗[/]", title, reporter.detail, time.monotonic() - begin)
            raise
        self._finish(task, "[green]✓[/]", title, reporter.detail, time.monotonic() - begin)

    def note(self, text: str) -> None:
        """Print a line beside the steps."""
        self.console.print(text, soft_wrap=True)

    def detail(self, title: str, task: TaskID, text: str, *, line: bool) -> None:
        """Show how far a step is, as a line of its own where `line` says so and nothing moves."""
        self._live.update(task, detail=escape(text))
        if line and not self.console.is_terminal:
            self.note(f"… {escape(title)}: {escape(text)}")

    def _finish(self, task: TaskID, sign: str, title: str, detail: str, seconds: float) -> None:
        with self._lock:
            self._live.remove_task(task)
            told = f" [dim]({escape(detail)})[/]" if detail else ""
            self.note(f"{sign} {escape(title)}{told} [cyan]{duration(seconds)}[/]")


class _Reporter:
    """How far one step is."""

    def __init__(self, steps: Steps, title: str, task: TaskID) -> None:
        self.detail = ""
        self._steps, self._title, self._task = steps, title, task
        self._last = time.monotonic()
        self._printed = ""

    def say(self, text: str) -> None:
        """Take note of how far the step is; an empty text forgets what was told before."""
        self.detail = text
        due = text not in ("", self._printed) and time.monotonic() - self._last > PLAIN_INTERVAL
        if due:
            self._last, self._printed = time.monotonic(), text
        self._steps.detail(self._title, self._task, text, line=due)
