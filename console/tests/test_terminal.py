"""What comes from elsewhere cannot take over the terminal, and programs get plain text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from io import StringIO

import pytest
from dsecos_api import Stack
from dsecos_cli.ages import age
from dsecos_cli.board import LiveBoard, board_on
from dsecos_cli.overview import Overview, render_overview, render_stack
from dsecos_cli.progress import LiveProgress, progress_on
from dsecos_cli.terminal import clean, show
from rich.console import Console

from console.tests.objects import condition, stack_object

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_control_characters_are_taken_out() -> None:
    assert clean("a\x1b[31mred\x1b[0m\r\nb\tc\x07\u202ed\x1b]0;title\x07e\x1bcf") == "ared\nb\tcdecf"


def test_markup_in_a_message_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    raw = stack_object()
    raw["metadata"] |= {"namespace": "demo", "generation": 1}
    raw["status"] = {"conditions": [condition("Ready", "False", "Failed", "[bold]no[/bold] \x1b[2J")]}
    show(render_stack(Stack.parse(raw), [], NOW))
    written = capsys.readouterr().out
    assert "[bold]no[/bold]" in written
    assert "\x1b" not in written


def test_an_empty_cluster_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show(render_overview(Overview([], [], []), NOW, namespaces=True, wide=True))
    assert "`dsecos deploy`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-11-20T11:59:15Z", "45s"),
        ("2026-11-20T11:48:00Z", "12m"),
        ("2026-11-20T09:00:00Z", "3h"),
        ("2026-11-16T12:00:00Z", "4d"),
        ("2026-11-20T12:00:05Z", "0s"),
        (None, ""),
        ("yesterday", ""),
    ],
)
def test_ages(time: str | None, text: str) -> None:
    assert age(time, NOW) == text


def test_on_a_terminal_all_steps_are_drawn_and_the_last_picture_stays() -> None:
    raw = stack_object()
    raw["metadata"] |= {"namespace": "demo", "generation": 1}
    raw["status"] = {
        "observedGeneration": 1,
        "conditions": [
            condition("Licensed", "True", "DevelopmentLicense"),
            condition("Rendered", "False", "Progressing", "asks the loader"),
            condition("Ready", "False", "Progressing"),
        ],
    }
    written = StringIO()
    with LiveProgress(Console(file=written, force_terminal=True, width=100, color_system=None)) as progress:
        progress.update(Stack.parse(raw), 0.4)
    picture = written.getvalue()
    assert re.search(r"✓\s+License checked\s+0\.4s", picture)
    assert re.search(r"Compose rendered and validated\s+asks the loader", picture)
    assert "Services healthy" in picture


def test_elsewhere_only_changes_are_written() -> None:
    raw = stack_object()
    raw["metadata"] |= {"namespace": "demo", "generation": 1}
    raw["status"] = {"observedGeneration": 1, "conditions": [condition("Licensed", "True", "LicenseValid")]}
    written = StringIO()
    progress = progress_on(Console(file=written, width=100))
    progress.update(Stack.parse(raw), 0.4)
    progress.update(Stack.parse(raw), 0.9)
    lines = [line.split() for line in written.getvalue().splitlines()]
    assert lines == [
        ["0.4s", "done", "License", "checked", "LicenseValid"],
        ["0.4s", "busy", "Compose", "rendered", "and", "validated"],
    ]


def test_on_a_terminal_each_thing_that_goes_on_has_one_row() -> None:
    written = StringIO()
    with LiveBoard(Console(file=written, force_terminal=True, width=100, color_system=None)) as board:
        board.tell("shop", "Stopping  Progressing: asks init", 0.4)
        board.tell("blog", "Running", 0.4)
        board.tell("shop", "Stopped [bold]\x1b[2J", 1.2, done=True)
    picture = written.getvalue()
    assert re.search(r"✓\s+shop\s+1\.2s\s+Stopped \[bold\]", picture)
    assert re.search(r"blog\s+0\.4s\s+Running", picture)
    assert "[2J" not in picture.split("Stopped [bold]")[1][:5]


def test_elsewhere_each_change_is_one_line() -> None:
    written = StringIO()
    with board_on(Console(file=written, width=100)) as board:
        board.tell("shop", "Stopping", 0.4)
        board.tell("shop", "Stopping", 0.9)
        board.tell("shop", "Stopped", 1.2, done=True)
    lines = [line.split() for line in written.getvalue().splitlines()]
    assert lines == [["0.4s", "busy", "shop", "Stopping"], ["1.2s", "done", "shop", "Stopped"]]
