"""Ensuring: an apply where it changes something, and none where it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dsecos_api import Guest
from dsecos_runtime import GUEST, NAMESPACE, NETWORK_ZONE, ROLE, SECRET, Cache, Cluster, Key, Object
from dsecos_runtime.cache import Watch
from dsecos_runtime.ensure import ensure

Make = Callable[..., Any]


class Desk:
    """Ensures, and counts the writes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.cache = cluster, Cache(cluster)
        self.writes = 0
        cluster.observers.append(self._count)

    def _count(self, resource: Any, *_: object) -> None:
        self.writes += resource is not NAMESPACE

    async def watch(self, *resources: Any) -> None:
        """As if these kinds were watched and listed."""
        for resource in resources:
            self.cache.track(Watch(resource))
            self.cache._ready[resource].set()

    async def ensure(self, resource: Any, obj: Any) -> Any:
        return await ensure(self.cluster, self.cache, resource, obj)


@pytest.fixture(params=["watched", "read"])
async def desk(request: pytest.FixtureRequest, cluster: Cluster) -> Desk:
    desk = Desk(cluster)
    if request.param == "watched":
        await desk.watch(NETWORK_ZONE, GUEST, SECRET, ROLE)
    return desk


def labelled(obj: Object, **labels: str) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


async def test_the_same_again_is_not_written(desk: Desk, zone: Make) -> None:
    made = await desk.ensure(NETWORK_ZONE, zone())
    for _ in range(2):
        assert await desk.ensure(NETWORK_ZONE, zone()) == made
    assert desk.writes == 1


async def test_a_change_is_written(desk: Desk, zone: Make) -> None:
    await desk.ensure(NETWORK_ZONE, zone())
    found = await desk.ensure(NETWORK_ZONE, zone(policy={"hostMounts": True}))
    assert found.spec.policy.host_mounts
    found = await desk.ensure(NETWORK_ZONE, zone())
    assert found.spec.policy is None or not found.spec.policy.host_mounts
    assert desk.writes == 3


async def test_what_was_changed_by_others_is_put_right(desk: Desk, zone: Make, namespace: str) -> None:
    await desk.ensure(NETWORK_ZONE, zone())
    await desk.ensure(NETWORK_ZONE, zone(paused=False))
    merge = {"spec": {"paused": True}}
    await desk.cluster.patch(NETWORK_ZONE, Key(namespace, "zone"), merge, field_manager="kubectl")
    found = await desk.ensure(NETWORK_ZONE, zone(paused=False))
    assert found.spec.paused is False


async def test_labels_come_and_go_and_those_of_others_stay(desk: Desk, namespace: str) -> None:
    secret = {"metadata": {"name": "s", "namespace": namespace}, "data": {"a": "MQ=="}}
    await desk.ensure(SECRET, labelled(secret, ours="1", old="1"))
    theirs = {"metadata": {"labels": {"theirs": "1"}}}
    await desk.cluster.patch(SECRET, Key(namespace, "s"), theirs, field_manager="kubectl")
    found = await desk.ensure(SECRET, labelled(secret, ours="1"))
    assert found["metadata"]["labels"] == {"ours": "1", "theirs": "1"}
    writes = desk.writes
    await desk.ensure(SECRET, labelled(secret, ours="1"))
    assert desk.writes == writes


async def test_core_kinds_with_lists_settle(desk: Desk, namespace: str) -> None:
    role = {
        "metadata": {"name": "agent", "namespace": namespace},
        "rules": [{"apiGroups": ["dsecos.io"], "resources": ["guests", "guests/status"], "verbs": ["get"]}],
    }
    for _ in range(3):
        await desk.ensure(ROLE, role)
    assert desk.writes == 1


async def test_what_was_deleted_is_made_again(desk: Desk, zone: Make, namespace: str) -> None:
    first = await desk.ensure(NETWORK_ZONE, zone())
    await desk.cluster.delete(NETWORK_ZONE, "zone", namespace)
    if NETWORK_ZONE in desk.cache._stores:
        gone = {"metadata": {"name": "zone", "namespace": namespace, "resourceVersion": str(1 << 62)}}
        desk.cache._stores[NETWORK_ZONE].remove(gone)
    again = await desk.ensure(NETWORK_ZONE, zone())
    assert again.uid != first.uid


async def test_a_whole_guest_settles(desk: Desk, namespace: str) -> None:
    guest = Guest.parse(
        {
            "metadata": {"name": "shop-1", "namespace": namespace, "finalizers": ["dsecos.io/agent"]},
            "spec": {
                "stackRef": {"namespace": "acme", "name": "shop", "uid": "u"},
                "type": "container",
                "hostname": "shop",
                "epoch": 1,
                "image": "debian-13-docker",
                "resources": {"cpu": "2", "memory": "2Gi", "disk": "10Gi"},
                "idMap": {"base": 1_000_000, "count": 65536},
                "network": {
                    "attachment": "z",
                    "address": "10.20.0.2",
                    "prefixLength": 24,
                    "gateway": "10.20.0.1",
                    "mac": "02:00:00:00:00:01",
                    "ports": [{"port": 3000, "from": ["0.0.0.0/0"], "hostPort": 3000}],
                },
                "volumes": [{"name": "pgdata", "size": "5Gi"}],
                "compose": {"document": "services: {}", "digest": "d"},
                "runPolicy": "Running",
                "deletionPolicy": "Delete",
            },
        }
    )
    for _ in range(3):
        made = await desk.ensure(GUEST, guest)
    assert desk.writes == 1
    await desk.cluster.remove_finalizer(GUEST, made, "dsecos.io/agent")
