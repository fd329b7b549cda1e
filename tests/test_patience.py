"""A machine that gets a fifth of its cores has five times as long; one that wants nothing loses nothing."""

from __future__ import annotations

import pytest

from tests.patience import Clock, jiffies, share


@pytest.mark.parametrize(
    ("ran", "stolen", "part"), [(100, 0, 1.0), (20, 80, 0.2), (0, 0, 1.0), (0, 100, 0.05), (1, 1, 0.5)]
)
def test_the_part_that_was_had(ran: int, stolen: int, part: float) -> None:
    assert share(ran, stolen) == part


def test_the_first_line_of_proc_stat_is_read() -> None:
    text = "cpu  10 1 20 9999 500 3 4 50 7 0\ncpu0 5 1 10 4999 250 1 2 25 3 0\n"
    assert jiffies(text) == (38, 50)


def test_the_clock_never_goes_back() -> None:
    clock = Clock()
    told = [clock.now() for _ in range(1000)]
    assert told == sorted(told)
    assert told[0] >= 0
