"""Deleting takes everything away, and data only where the object says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.cloud import Cloud, Object, until
from tests.e2e.conftest import shop_stack


def links(cloud: Cloud) -> set[str]:
    """Links of the instance."""
    return {
        entry.name for entry in Path("/sys/class/net").iterdir() if entry.name.startswith(cloud.link_prefix)
    }


def test_deleting_leaves_nothing_of_the_guest(cloud: Cloud, hello: Callable[..., Object]) -> None:
    cloud.apply(hello("gone"))
    cloud.wait_ready("gone")
    guest = cloud.guest("gone")["metadata"]["name"]
    cloud.delete_stack("gone")
    assert cloud.containers() == set()
    assert links(cloud) == set(), "the last guest of a zone takes the bridge with it"
    assert not (cloud.home / "pools" / "default" / "guests" / guest).exists()
    for kind in ("guests", "zoneattachments"):
        assert cloud.find(kind) == []
    assert cloud.http(23100, timeout=1)[0] == 0


def test_retained_data_meets_the_stack_that_is_created_again(cloud: Cloud) -> None:
    cloud.apply(shop_stack(cloud))
    cloud.wait_ready("shop")
    until(lambda: cloud.http(23000)[0] == 200, 20)
    rows = ("psql", "-U", "app", "-Atc", "create table kept(v text); insert into kept values ('still here')")
    first = cloud.guest("shop")["metadata"]["name"]
    cloud.inside(first, "docker", "exec", cloud.services(first)["db"], *rows)
    cloud.delete_stack("shop")
    cloud.apply(shop_stack(cloud))
    cloud.wait_ready("shop")
    second = cloud.guest("shop")["metadata"]["name"]
    assert second != first
    read = ("psql", "-U", "app", "-Atc", "select v from kept")
    assert cloud.inside(second, "docker", "exec", cloud.services(second)["db"], *read).strip() == "still here"


def test_data_goes_where_the_volume_says_delete(cloud: Cloud, hello: Callable[..., Object]) -> None:
    volumes = [
        {"name": "scratch", "size": "1Gi", "deletionPolicy": "Delete"},
        {"name": "treasure", "size": "1Gi"},
    ]
    cloud.apply(hello("keeper", volumes=volumes))
    cloud.wait_ready("keeper")
    root = cloud.home / "pools" / "default" / "volumes" / cloud.namespace / "keeper"
    assert {entry.name for entry in root.iterdir()} >= {"scratch", "treasure"}
    cloud.delete_stack("keeper")
    assert not (root / "scratch").exists()
    assert (root / "treasure").exists(), (
        "unset means retained: data is destroyed only where the object says so"
    )
