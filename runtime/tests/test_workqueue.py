"""The queue: no key twice, no key with two workers, nothing lost."""

from __future__ import annotations

from dsecos_runtime.workqueue import WorkQueue
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

KEYS = st.sampled_from("abcd")


def test_a_key_that_is_woken_often_is_looked_at_once() -> None:
    queue = WorkQueue[str]()
    for _ in range(3):
        queue.add("a")
    assert queue.take(0.0) == "a"
    assert queue.take(0.0) is None


def test_a_wake_up_while_the_key_is_out_brings_it_back_exactly_once() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.take(0.0)
    queue.add("a")
    queue.add("a")
    assert queue.take(0.0) is None
    queue.done("a")
    assert queue.take(0.0) == "a"
    queue.done("a")
    assert queue.take(0.0) is None


def test_keys_come_in_the_order_in_which_they_became_ready() -> None:
    queue = WorkQueue[str]()
    queue.add_at("late", 2.0)
    queue.add_at("early", 1.0)
    assert (queue.take(0.5), queue.next_due()) == (None, 1.0)
    assert [queue.take(3.0), queue.take(3.0)] == ["early", "late"]


def test_the_earlier_of_two_times_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_at("a", 5.0)
    queue.add_at("a", 1.0)
    queue.add_at("a", 3.0)
    assert queue.take(1.0) == "a"
    queue.done("a")
    assert queue.next_due() is None


def test_being_looked_at_now_replaces_a_later_time() -> None:
    queue = WorkQueue[str]()
    queue.add_at("a", 5.0)
    queue.add("a")
    queue.take(0.0)
    queue.done("a")
    assert queue.take(10.0) is None


def test_a_time_given_while_the_key_is_out_is_kept() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.take(0.0)
    queue.add_at("a", 5.0)
    queue.done("a")
    assert (queue.take(4.0), queue.take(5.0)) == (None, "a")


class QueueMachine(RuleBasedStateMachine):
    """Any order of wake-ups, times, and workers."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = WorkQueue[str]()
        self.now = 0.0
        self.out: set[str] = set()
        self.owed: set[str] = set()
        self.due: dict[str, float] = {}

    @rule(key=KEYS)
    def wake(self, key: str) -> None:
        self.queue.add(key)
        self.owed.add(key)

    @rule(key=KEYS, after=st.floats(0.1, 10))
    def wake_later(self, key: str, after: float) -> None:
        self.queue.add_at(key, self.now + after)
        self.due[key] = min(self.due.get(key, float("inf")), self.now + after)

    @rule(seconds=st.floats(0.1, 5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        for key, due in list(self.due.items()):
            if due <= self.now:
                self.owed.add(key)
                del self.due[key]
        taken = self.queue.take(self.now)
        if taken is None:
            assert self.owed <= self.out, "a key was lost"
            return
        assert taken not in self.out, "two workers have one key"
        assert taken in self.owed, "a key came without reason"
        self.out.add(taken)
        self.owed.discard(taken)
        self.due.pop(taken, None)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.out)))
        self.queue.done(key)
        self.out.remove(key)

    @invariant()
    def the_next_time_is_known(self) -> None:
        assert self.queue.next_due() == min(self.due.values(), default=None)
        assert self.queue.out == self.out


TestQueueMachine = QueueMachine.TestCase
