"""Whose turn it is after a start of the host."""

from dsecos_agent.guests.startorder import Candidate, StartOrder

FIRST, SECOND, THIRD = Candidate("a", 1, 5), Candidate("b", 2, 0), Candidate("c", 2, 0)
ALL = [FIRST, SECOND, THIRD]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lower_numbers_go_first_and_their_delay_is_waited_for() -> None:
    clock = Clock()
    order = StartOrder(patience=60, clock=clock)
    assert order.wait(FIRST, ALL) is None
    assert order.wait(SECOND, ALL) == 60
    order.settled(FIRST, started=True)
    assert order.wait(SECOND, ALL) == 5
    clock.now += 5
    assert order.wait(SECOND, ALL) is None


def test_those_of_one_order_go_side_by_side() -> None:
    order = StartOrder(clock=Clock())
    order.settled(FIRST, started=False)
    assert order.wait(SECOND, ALL) is None
    assert order.wait(THIRD, ALL) is None


def test_one_that_ran_already_holds_nobody_up() -> None:
    order = StartOrder(clock=Clock())
    assert order.settled(FIRST, started=False)
    assert not order.settled(FIRST, started=True), "once"
    assert order.wait(SECOND, ALL) is None


def test_patience_ends() -> None:
    clock = Clock()
    order = StartOrder(patience=60, clock=clock)
    clock.now += 60
    assert order.wait(SECOND, ALL) is None
