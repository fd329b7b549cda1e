"""Leadership: one at a time, whatever happens to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from dsecos_runtime import (
    CONFIG_MAP,
    LEASE,
    Cluster,
    Controller,
    Heartbeat,
    Input,
    Key,
    Leader,
    LeadershipLost,
    Requeue,
    Runtime,
)
from dsecos_runtime.testing import Gateway, Run

from tests.patience import async_until, now

Make = Callable[..., Any]
Start = Callable[..., Run]


class Clock:
    """A clock that goes on when told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def candidate(cluster: Cluster, namespace: str, clock: Clock) -> Make:
    """Makes a candidate that goes by the test's clock and renews after 100 ms, in real time, too."""

    def make(identity: str) -> Leader:
        return Leader(
            cluster,
            namespace,
            "lease",
            identity=identity,
            duration=15.0,
            renew_deadline=0.3,
            retry=0.01,
            clock=clock,
        )

    return make


class TestLease:
    async def test_each_holder_has_an_epoch_of_its_own(self, candidate: Make) -> None:
        first, second = candidate("first"), candidate("second")
        assert await first.acquire() == 1
        await first.release()
        assert await second.acquire() == 2

    async def test_a_second_one_waits_while_the_first_renews(
        self, candidate: Make, cluster: Cluster, namespace: str, clock: Clock
    ) -> None:
        first, second = candidate("first"), candidate("second")
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(second.acquire())
        for _ in range(8):
            clock.time += 0.2
            await async_until(lambda: first.remaining() > 0.25)
        assert not waiting.done()
        assert not holding.done()
        waiting.cancel()
        holding.cancel()

    async def test_the_second_takes_over_when_the_first_is_silent(
        self, candidate: Make, clock: Clock
    ) -> None:
        first, second = candidate("first"), candidate("second")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(0.1)
        clock.time += 14.5
        await asyncio.sleep(0.1)
        assert not waiting.done()
        clock.time += 1.0
        assert await waiting == 2

    async def test_the_first_stops_before_the_second_may_start(self, candidate: Make, clock: Clock) -> None:
        first = candidate("first")
        await first.acquire()
        clock.time += 0.2
        assert 0 < first.remaining() < 0.11
        clock.time += 0.1
        with pytest.raises(LeadershipLost):
            first.remaining()

    async def test_a_leader_that_slept_too_long_does_not_go_on(self, candidate: Make, clock: Clock) -> None:
        first = candidate("first")
        await first.acquire()
        clock.time += 3600
        with pytest.raises(LeadershipLost):
            await first.hold()

    async def test_a_leader_that_was_replaced_notices(self, candidate: Make, clock: Clock) -> None:
        first, second = candidate("first"), candidate("second")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(0.1)
        clock.time += 15.5
        await waiting
        with pytest.raises(LeadershipLost):
            await first.hold()

    async def test_times_that_let_two_lead_are_refused(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(ValueError, match="two could lead"):
            Leader(cluster, namespace, "lease", identity="x", duration=10, renew_deadline=10)


class Counter(Controller):
    """Writes to a ConfigMap who is at work."""

    name = "counter"
    inputs = (Input(CONFIG_MAP),)

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        self.passes: list[float] = []

    async def reconcile(self, key: Key) -> Requeue | None:
        if key.name == "cm":
            obj = {"metadata": {"name": "worker", "namespace": key.namespace}}
            await self.runtime.cluster.apply(CONFIG_MAP, {**obj, "data": {"epoch": str(self.runtime.epoch)}})
            self.passes.append(now())
        return Requeue(0.05)


FAST = {"lease_duration": 3.0, "lease_renew_deadline": 2.0}
LONG = {"lease_duration": 900.0, "lease_renew_deadline": 600.0}
"""Longer than anybody waits here."""


class TestTwoProcesses:
    @pytest.fixture
    async def pair(
        self,
        request: pytest.FixtureRequest,
        start: Start,
        cluster: Cluster,
        config_map: Make,
        gateway: Gateway,
    ) -> list[tuple[Run, Counter]]:
        """Two processes, of which the first leads and reaches the API server through the gateway."""
        await cluster.apply(CONFIG_MAP, config_map())
        pair: list[tuple[Run, Counter]] = []
        for kubeconfig in ({"kubeconfig": gateway.kubeconfig}, {}):
            made: list[Counter] = []

            def make(runtime: Runtime, made: list[Counter] = made) -> list[Counter]:
                made.append(Counter(runtime))
                return made

            run = start(make, lease="lease", lease_retry=0.2, **request.param, **kubeconfig)
            await async_until(lambda m=made: m)  # type: ignore[misc]
            if not pair:
                await async_until(lambda m=made: m[0].passes)  # type: ignore[misc]
            pair.append((run, made[0]))
        await asyncio.sleep(1.0)
        return pair

    @pytest.mark.parametrize("pair", [LONG], indirect=True, ids=["long"])
    async def test_one_works_at_a_time_and_hands_over_at_a_stop(
        self, pair: list[tuple[Run, Counter]], cluster: Cluster, namespace: str
    ) -> None:
        (first, _), (second, waiting) = pair
        assert second.runtime.cache.ready(), "the stand-by is warm"
        assert not waiting.passes
        assert await first.end() == 0
        await async_until(lambda: waiting.passes)  # it does not wait for the lease to run out
        assert (first.runtime.epoch, second.runtime.epoch) == (1, 2)
        assert (await cluster.get(CONFIG_MAP, "worker", namespace))["data"] == {"epoch": "2"}

    @pytest.mark.parametrize("pair", [FAST], indirect=True, ids=["fast"])
    async def test_one_that_loses_its_way_to_the_api_ends_before_the_other_begins(
        self, pair: list[tuple[Run, Counter]], gateway: Gateway
    ) -> None:
        (first, working), (_, waiting) = pair
        await gateway.cut()
        assert await first.code() == 1
        assert not waiting.passes
        await async_until(lambda: waiting.passes)
        assert working.passes[-1] < waiting.passes[0]


async def test_a_heartbeat_renews_the_lease(cluster: Cluster, namespace: str) -> None:
    heartbeat = Heartbeat(cluster, namespace, "node-1", identity="agent", interval=0.05)
    beating = asyncio.create_task(heartbeat.run())
    found: set[str] = set()
    while len(found) < 3:
        lease = await cluster.find(LEASE, "node-1", namespace)
        if lease is not None:
            assert lease["spec"]["holderIdentity"] == "agent"
            found.add(lease["spec"]["renewTime"])
        await asyncio.sleep(0.02)
    beating.cancel()
