"""Events: told once, counted, bounded, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from dsecos_control_plane.testing import ControlPlane
from dsecos_runtime import CONFIG_MAP, EVENT, NETWORK_ZONE, NODE, Cluster, EventRecorder, Object
from dsecos_runtime.events import TokenBucket
from dsecos_runtime.testing import Gateway

Make = Callable[..., Any]


class Clock:
    """A clock that goes on when told."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_a_bucket_fills_again() -> None:
    bucket = TokenBucket(burst=2, refill=10.0, now=0.0)
    assert [bucket.take(0.0), bucket.take(0.0), bucket.take(5.0), bucket.take(10.0)] == [
        True,
        True,
        False,
        True,
    ]
    assert [bucket.take(1000.0), bucket.take(1000.0), bucket.take(1000.0)] == [True, True, False]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def events(cluster: Cluster, clock: Clock) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(cluster, component="test", instance="test-1", clock=clock)
    posting = asyncio.create_task(recorder.run())
    yield recorder
    posting.cancel()


@pytest.fixture
def posted(cluster: Cluster, namespace: str, events: EventRecorder) -> Make:
    """The events of the namespace that we told, once all are posted."""

    async def read() -> list[Object]:
        await events.drain(10.0)
        found = await cluster.list(EVENT, namespace)
        return [each for each in found if each.get("reportingController") == "dsecos.io/test"]

    return read


async def test_describe_shows_what_happened(
    cluster: Cluster, zone: Make, events: EventRecorder, control_plane: ControlPlane, namespace: str
) -> None:
    made = await cluster.create(NETWORK_ZONE, zone())
    events.normal(NETWORK_ZONE, made, "InForce", "rules are in force")
    events.warning(NETWORK_ZONE, made, "DeniedPackets", "12 packets denied", action="Count")
    await events.drain(10.0)
    text = control_plane.kubectl("-n", namespace, "describe", "networkzone", "zone")
    assert "rules are in force" in text
    assert "Warning" in text
    assert "DeniedPackets" in text
    assert "dsecos.io/test" in text


async def test_the_same_again_raises_the_count(
    cluster: Cluster, config_map: Make, events: EventRecorder, posted: Make
) -> None:
    made = await cluster.create(CONFIG_MAP, config_map())
    for _ in range(3):
        events.normal(CONFIG_MAP, made, "Started", "guest started")
    found = await posted()
    assert len(found) == 1
    assert found[0]["series"]["count"] == 3


async def test_what_was_held_back_is_in_the_next_count(
    cluster: Cluster, config_map: Make, events: EventRecorder, posted: Make, clock: Clock
) -> None:
    made = await cluster.create(CONFIG_MAP, config_map())
    for _ in range(50):
        events.warning(CONFIG_MAP, made, "DeniedPackets", "denied")
    assert (await posted())[0]["series"]["count"] <= 50
    clock.time += 60.0
    events.warning(CONFIG_MAP, made, "DeniedPackets", "denied")
    assert (await posted())[0]["series"]["count"] == 51


async def test_one_reason_is_limited_and_others_are_not(
    cluster: Cluster, config_map: Make, events: EventRecorder, posted: Make
) -> None:
    made = await cluster.create(CONFIG_MAP, config_map())
    for number in range(20):
        events.warning(CONFIG_MAP, made, "DeniedPackets", f"denied {number}")
    events.normal(CONFIG_MAP, made, "Started", "guest started")
    reasons = [each["reason"] for each in await posted()]
    assert reasons.count("DeniedPackets") == 5
    assert reasons.count("Started") == 1


async def test_a_long_story_is_cut(
    cluster: Cluster, config_map: Make, events: EventRecorder, posted: Make
) -> None:
    made = await cluster.create(CONFIG_MAP, config_map())
    events.normal(CONFIG_MAP, made, "Started", "ä" * 5000)
    assert (await posted())[0]["note"] == "ä" * 512


async def test_a_cluster_scoped_object_has_events_too(cluster: Cluster, events: EventRecorder) -> None:
    made = await cluster.create(
        NODE, {"metadata": {"name": "node-of-events"}, "spec": {"engine": {"type": "lxc"}}}
    )
    events.normal(NODE, made, "Registered", "welcome")
    await events.drain(10.0)
    found = await cluster.list(EVENT, "default", fields={"regarding.uid": made.uid})
    assert [each["reason"] for each in found] == ["Registered"]
    await cluster.delete(NODE, made.name)


async def test_telling_never_raises_and_never_waits(gateway: Gateway) -> None:
    cluster = Cluster.connect(gateway.kubeconfig)
    recorder = EventRecorder(cluster, component="test", instance="test-1")
    recorder.normal(CONFIG_MAP, {}, "Odd", "an object without metadata")
    for number in range(2000):
        obj = {"metadata": {"name": f"cm-{number}", "namespace": "default", "uid": "x"}}
        recorder.normal(CONFIG_MAP, obj, "Started", "guest started")
    gateway.failing = 500
    posting = asyncio.create_task(recorder.run())
    await asyncio.sleep(0.2)
    assert not posting.done()
    posting.cancel()
    await cluster.close()
