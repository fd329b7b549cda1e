"""What comes from elsewhere cannot take over the terminal, and programs get plain text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from dsecos_api import Stack
from dsecos_cli.ages import age
from dsecos_cli.overview import Overview, render_overview, render_stack
from dsecos_cli.terminal import clean, stdout

from console.tests.objects import condition, stack_object

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_control_characters_are_taken_out() -> None:
    assert clean("a\x1b[31mred\x1b[0m\r\nb\tc\x07\u202ed") == "a[31mred[0m\nb\tcd"


def test_markup_in_a_message_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    raw = stack_object()
    raw["metadata"] |= {"namespace": "demo", "generation": 1}
    raw["status"] = {"conditions": [condition("Ready", "False", "Failed", "[bold]no[/bold] \x1b[2J")]}
    stdout().print(render_stack(Stack.parse(raw), [], NOW))
    written = capsys.readouterr().out
    assert "[bold]no[/bold]" in written
    assert "\x1b" not in written


def test_an_empty_cluster_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print(render_overview(Overview([], [], []), NOW, namespaces=True, wide=True))
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
