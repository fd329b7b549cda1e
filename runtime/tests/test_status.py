"""Status: written when it differs, progress now and then, the end at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from dsecos_api import NetworkZone
from dsecos_runtime import NETWORK_ZONE, Cache, Cluster, Conditions, Key, Object, StatusWriter
from dsecos_runtime.cache import Watch

from tests.patience import async_until

Make = Callable[..., Any]


class Clock:
    """A clock that goes on when told."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


class Desk:
    """A writer, an object, and a count of what was written."""

    def __init__(self, cluster: Cluster, interval: float = 10.0) -> None:
        self.clock = Clock()
        self.cluster = cluster
        self.cache = Cache(cluster)
        self.cache.track(Watch(NETWORK_ZONE))
        self.writer = StatusWriter(cluster, self.cache, interval=interval, clock=self.clock)
        self.written: list[Object] = []
        self.zone: NetworkZone
        cluster.observers.append(lambda _resource, raw, _removed: self.written.append(raw.get("status", {})))

    async def create(self, zone: NetworkZone) -> None:
        self.zone = await self.cluster.create(NETWORK_ZONE, zone)
        self.written.clear()

    async def say(self, outcome: str, reason: str, *, urgent: bool = False, **fields: Any) -> None:
        """Write a status as a controller does: from what the cache has."""
        zone = self.cache.get(NETWORK_ZONE, Key.of(self.zone)) or self.zone
        conditions = Conditions(zone.status, zone.metadata.generation)
        getattr(conditions, outcome)(reason)
        status = {
            "observedGeneration": zone.metadata.generation,
            "conditions": [condition.to_dict() for condition in conditions.build()],
            **fields,
        }
        await self.writer.write(NETWORK_ZONE, zone, status, urgent=urgent)

    @property
    def reasons(self) -> list[str]:
        """The reason of Ready in each write."""
        return [
            next(each["reason"] for each in status["conditions"] if each["type"] == "Ready")
            for status in self.written
            if status
        ]


@pytest.fixture
async def desk(cluster: Cluster, zone: Make) -> Desk:
    desk = Desk(cluster)
    await desk.create(zone())
    return desk


async def test_the_same_again_is_not_written(desk: Desk) -> None:
    for _ in range(3):
        await desk.say("ready", "InForce", gateway="10.20.0.1")
    assert desk.reasons == ["InForce"]


async def test_the_same_is_not_written_by_a_new_process_either(desk: Desk, cluster: Cluster) -> None:
    await desk.say("ready", "InForce", gateway="10.20.0.1")
    again = Desk(cluster)
    again.zone = desk.zone
    raw, _ = await cluster.list_raw(NETWORK_ZONE, desk.zone.namespace)
    again.cache.ingest(NETWORK_ZONE, deleted=False, raw=raw[0])
    await again.say("ready", "InForce", gateway="10.20.0.1")
    assert again.written == []


async def test_a_field_that_is_not_said_any_more_is_removed(desk: Desk, cluster: Cluster) -> None:
    await desk.say("ready", "InForce", gateway="10.20.0.1")
    await desk.say("ready", "InForce")
    assert "gateway" not in desk.written[-1]
    assert len(desk.written) == 2


async def test_what_others_say_is_left_alone_and_causes_no_write(desk: Desk, cluster: Cluster) -> None:
    await desk.say("ready", "InForce")
    await cluster.apply_status(NETWORK_ZONE, desk.zone, {"gateway": "10.20.0.9"}, field_manager="other")
    desk.written.clear()
    await desk.say("ready", "InForce")
    assert desk.written == []
    found = await cluster.get(NETWORK_ZONE, desk.zone.name, desk.zone.namespace)
    assert found.status.gateway == "10.20.0.9"


async def test_from_apply_to_ready_three_writes_are_enough(desk: Desk, cluster: Cluster) -> None:
    desk.zone = await cluster.add_finalizer(NETWORK_ZONE, desk.zone, "dsecos.io/operator")
    for reason in ("Pending", "Starting", "DockerNotReady", "Starting", "Unhealthy"):
        desk.clock.time += 1.0
        await desk.say("reconciling", reason)
    await desk.say("ready", "InForce")
    assert len(desk.written) == 3
    assert desk.reasons == ["Pending", "InForce"]
    await cluster.remove_finalizer(NETWORK_ZONE, desk.zone, "dsecos.io/operator")


async def test_progress_is_written_again_after_the_interval(desk: Desk) -> None:
    await desk.say("reconciling", "Pending")
    desk.clock.time += 9.0
    await desk.say("reconciling", "Starting")
    assert desk.reasons == ["Pending"]
    desk.clock.time += 1.5
    await desk.say("reconciling", "Unhealthy")
    assert desk.reasons == ["Pending", "Unhealthy"]


async def test_what_waits_is_written_when_its_time_has_come(cluster: Cluster, zone: Make) -> None:
    desk = Desk(cluster, interval=0.2)
    await desk.create(zone())
    await desk.say("reconciling", "Pending")
    await desk.say("reconciling", "Starting")
    await desk.say("reconciling", "Unhealthy")
    await async_until(lambda: len(desk.written) == 2)
    assert desk.reasons == ["Pending", "Unhealthy"]


async def test_a_final_status_takes_the_place_of_what_waits(cluster: Cluster, zone: Make) -> None:
    desk = Desk(cluster, interval=0.2)
    await desk.create(zone())
    await desk.say("reconciling", "Pending")
    await desk.say("reconciling", "Starting")
    await desk.say("ready", "InForce")
    await asyncio.sleep(0.4)
    assert desk.reasons == ["Pending", "InForce"]


async def test_urgent_progress_and_a_stop_do_not_wait(desk: Desk) -> None:
    await desk.say("reconciling", "Pending")
    await desk.say("reconciling", "Starting", urgent=True)
    await desk.say("reconciling", "Unhealthy")
    assert desk.reasons == ["Pending", "Starting"]
    await desk.writer.flush()
    assert desk.reasons == ["Pending", "Starting", "Unhealthy"]


async def test_an_object_that_is_gone_is_passed_over(desk: Desk, cluster: Cluster) -> None:
    await cluster.delete(NETWORK_ZONE, desk.zone.name, desk.zone.namespace)
    await desk.say("ready", "InForce")
    assert desk.written == []
