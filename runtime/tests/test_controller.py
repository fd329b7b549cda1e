"""The controller's queue at work: one worker a key, bounded, woken from anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from dsecos_runtime import (
    Backoff,
    Cache,
    Cluster,
    Conflict,
    Controller,
    Key,
    LeadershipLost,
    Requeue,
    Terminal,
    Unavailable,
)

from tests.patience import async_until

KUBECONFIG = """
current-context: none
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {token: none}}]
"""


class Steps(Controller):
    """Does what the test says, and counts."""

    name = "steps"

    def __init__(self, step: Callable[[Key], Any], keys: Iterable[Key] = ()) -> None:
        super().__init__()
        self.step, self.keys = step, list(keys)
        self.passes: Counter[Key] = Counter()
        self.out: set[Key] = set()
        self.most_out = 0

    async def seed(self) -> Iterable[Key]:
        return self.keys

    async def reconcile(self, key: Key) -> Requeue | None:
        assert key not in self.out, "two workers have one key"
        self.out.add(key)
        self.most_out = max(self.most_out, len(self.out))
        self.passes[key] += 1
        try:
            found = self.step(key)
            again: Requeue | None = await found if asyncio.iscoroutine(found) else found
            return again
        finally:
            self.out.remove(key)


A = Key("ns", "a")
Begin = Callable[[Controller], "asyncio.Task[None]"]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """Runs controllers that watch nothing."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    cluster = Cluster.connect(tmp_path / "kubeconfig")
    tasks: list[asyncio.Task[None]] = []

    def start(controller: Controller) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(controller.run(Cache(cluster), grace=lambda: 0.5)))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LeadershipLost):
            await task
    await cluster.close()


async def test_a_storm_of_wake_ups_never_gives_one_key_to_two_workers_and_loses_none(begin: Begin) -> None:
    chance = random.Random(7)

    async def step(key: Key) -> None:
        await asyncio.sleep(chance.uniform(0, 0.002))

    controller = Steps(step)
    begin(controller)
    keys = [Key("ns", str(number)) for number in range(20)]
    for _ in range(300):
        controller.wake(chance.choice(keys))
        if chance.random() < 0.2:
            await asyncio.sleep(chance.uniform(0, 0.002))
    await asyncio.sleep(0.1)
    before = dict(controller.passes)
    for key in keys:
        controller.wake(key)
    await async_until(lambda: all(controller.passes[key] == before.get(key, 0) + 1 for key in keys))
    assert controller.most_out == controller.workers


async def test_wake_ups_during_a_pass_cause_exactly_one_more(begin: Begin) -> None:
    gate = asyncio.Event()

    async def step(key: Key) -> None:
        await gate.wait()

    controller = Steps(step)
    begin(controller)
    controller.wake(A)
    await async_until(lambda: controller.out)
    for _ in range(5):
        controller.wake(A)
    gate.set()
    await async_until(lambda: controller.passes[A] == 2)
    await asyncio.sleep(0.05)
    assert controller.passes[A] == 2


async def test_a_wake_up_from_another_thread_arrives(begin: Begin) -> None:
    controller = Steps(lambda key: None)
    begin(controller)
    await asyncio.sleep(0)
    thread = threading.Thread(target=controller.wake_threadsafe, args=(A,))
    thread.start()
    await async_until(lambda: controller.passes[A] == 1)
    thread.join()


async def test_requeue_looks_again_and_an_earlier_wake_up_takes_its_place(begin: Begin) -> None:
    controller = Steps(lambda key: Requeue(0.1))
    begin(controller)
    controller.wake(A)
    await async_until(lambda: controller.passes[A] == 3)
    controller.step = lambda key: Requeue(3600)
    controller.wake(A)
    await async_until(lambda: controller.passes[A] == 4)
    controller.step = lambda key: None
    controller.wake(A)
    await async_until(lambda: controller.passes[A] == 5)


async def test_a_wake_up_may_be_for_later(begin: Begin) -> None:
    controller = Steps(lambda key: None)
    begin(controller)
    controller.wake(A, after=0.2)
    await asyncio.sleep(0.1)
    assert not controller.passes
    await async_until(lambda: controller.passes[A] == 1)


async def test_seeds_are_looked_at_on_start_and_on_each_resync(begin: Begin) -> None:
    controller = Steps(lambda key: None, keys=[A])
    controller.resync = 0.1
    begin(controller)
    await async_until(lambda: controller.passes[A] >= 3)


async def test_a_pass_that_takes_too_long_is_ended_and_tried_again(begin: Begin) -> None:
    controller = Steps(lambda key: asyncio.sleep(3600))
    controller.timeout = 0.05
    controller.backoff = Backoff(first=0.01)
    begin(controller)
    controller.wake(A)
    await async_until(lambda: controller.passes[A] == 2)


async def test_what_is_terminal_waits_for_a_wake_up(begin: Begin) -> None:
    def step(key: Key) -> None:
        raise Terminal("privileged is not allowed here")

    controller = Steps(step)
    controller.backoff = Backoff(first=0.01)
    begin(controller)
    controller.wake(A)
    await asyncio.sleep(0.2)
    assert controller.passes[A] == 1
    controller.wake(A)
    await async_until(lambda: controller.passes[A] == 2)


async def test_a_lost_lease_ends_the_controller(begin: Begin) -> None:
    def step(key: Key) -> None:
        raise LeadershipLost("lost")

    controller = Steps(step)
    running = begin(controller)
    controller.wake(A)
    with pytest.raises(LeadershipLost):
        await running


async def test_the_background_is_started_again_when_it_fails(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsecos_runtime.controller.RESTART", 0.01)
    starts = 0

    class Listening(Steps):
        async def background(self) -> None:
            nonlocal starts
            starts += 1
            if starts < 3:
                raise OSError("netlink: no buffer space")
            self.wake(A)

    controller = Listening(lambda key: None)
    begin(controller)
    await async_until(lambda: controller.passes[A] == 1)
    assert starts == 3


class TestBackoff:
    backoff = Backoff(first=1.0, most=60.0, jitter=0.0)

    def test_doubles_up_to_a_minute(self) -> None:
        waits = [self.backoff.seconds(OSError(), failures) for failures in (1, 2, 3, 6, 7, 100000)]
        assert waits == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]

    def test_a_conflict_is_looked_at_again_at_once(self) -> None:
        assert self.backoff.seconds(Conflict("changed meanwhile"), 1) == 0.05

    def test_an_api_server_that_is_back_is_used_soon(self) -> None:
        assert self.backoff.seconds(Unavailable("gone"), 100) == 5.0
        assert self.backoff.seconds(Unavailable("busy", retry_after=30.0), 1) == 30.0

    def test_what_is_terminal_is_not_tried_again(self) -> None:
        assert self.backoff.seconds(Terminal("no"), 1) is None

    def test_jitter_spreads(self) -> None:
        spread = {Backoff(first=1.0, jitter=0.2).seconds(OSError(), 1) for _ in range(50)}
        assert len(spread) > 10
        assert all(0.8 <= (seconds or 0) <= 1.2 for seconds in spread)
