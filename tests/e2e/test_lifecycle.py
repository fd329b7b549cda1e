"""`make up`, `make down` and `make clean` on a machine that must not notice them afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.byhand import ByHand
from tests.e2e.cloud import Cloud, kind, namespace, remove, secret, until

CLOUD = Cloud(
    home=Path("/tmp/dsecos-life"),
    instance="dsecoslife",
    link_prefix="dl",
    port_base=22000,
    guest_id_base=400_000_000,
    cidr="10.79.0.0/24",
)


@pytest.fixture
def life() -> Iterator[Cloud]:
    """An instance of the test's own, also taken away when the test fails."""
    remove(CLOUD)
    yield CLOUD
    remove(CLOUD)


def footprint(cloud: Cloud) -> set[str]:
    """What is on the machine, one thing a line, without what is plainly of another instance.

    `lxc.pivot` is liblxc's own: it makes it for good when the first container of a machine stops.
    """
    ours = (str(cloud.home), cloud.instance, f"link {cloud.link_prefix}", "shop", "file ", "sysctl ", "unit ")
    ports = tuple(f":{port}" for port in range(cloud.port_base, cloud.port_base + 10))
    lines = cloud.launch("footprint").splitlines()
    return {line for line in lines if any(mark in line for mark in ours) or line.endswith(ports)}


@pytest.fixture
def by_hand() -> Iterator[ByHand]:
    """A container of the machine's own, which runs."""
    container = ByHand(CLOUD)
    container.remove()
    container.make()
    container.start()
    yield container
    container.remove()


def test_up_down_up_clean(life: Cloud, by_hand: ByHand) -> None:
    before = footprint(life)
    own, init = by_hand.config.read_bytes(), by_hand.init

    started = time.monotonic()
    life.launch("up", "--without-sample")
    first = time.monotonic() - started
    assert (life.home / "admin.kubeconfig").stat().st_mode & 0o777 == 0o600

    life.apply(namespace(life.namespace))
    life.apply(
        kind("NetworkZone", "backend", life.namespace, {"cidrs": [life.cidr]}),
        secret("shop-db", life.namespace, password="one"),
        life.stack(
            "shop",
            expose=[{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"], "hostPort": 22500}],
            volumes=[{"name": "pgdata", "size": "1Gi", "deletionPolicy": "Retain"}],
        ),
    )
    life.wait_ready("shop")
    until(lambda: life.http(22500)[0] == 200, 20)
    by_hand.adopt(life, "wiki")

    versions = {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in life.everything()}
    pids = [life.process(name) for name in ("etcd", "kube-apiserver", "operator", "agent")]
    started = time.monotonic()
    life.launch("up", "--without-sample")
    again = time.monotonic() - started
    assert [life.process(name) for name in ("etcd", "kube-apiserver", "operator", "agent")] == pids
    assert versions == {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in life.everything()}
    assert life.http(22500)[0] == 200

    life.launch("down")
    assert not any(life.process(name) for name in ("etcd", "kube-apiserver", "operator", "agent"))
    rest = {line for line in footprint(life) - before if not line.startswith("home ")}
    assert rest == set(), "make down leaves the machine as it was, but for its data"
    assert by_hand.init == init, "what was taken over is the machine's own and goes on"

    started = time.monotonic()
    life.launch("up", "--without-sample")
    life.wait_ready("shop")
    life.wait_ready("wiki")
    until(lambda: life.http(22500)[0] == 200, 60)
    warm = time.monotonic() - started
    print(f"up {first:.1f} s, again {again:.1f} s, after down until HTTP 200 {warm:.1f} s")

    life.launch("clean")
    assert footprint(life) == before
    assert not life.home.exists()
    assert (by_hand.init, by_hand.config.read_bytes()) == (init, own), "make clean gives it back"
