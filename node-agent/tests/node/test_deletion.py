"""Deletion: the guest and its data go, or stay, as the policies say."""

import asyncio

from dsecos_agent.engines.model import GuestState

from .harness import Node, eventually


def with_volume(node: Node, name: str, number: int, uid: str, **spec: object) -> dict[str, object]:
    volumes = [{"name": "data", "size": "100Mi", "deletionPolicy": spec.pop("volume", "Retain")}]
    stack = {
        "namespace": "acme",
        "name": name.rsplit("-", 1)[0],
        "uid": f"5e0f6b8e-0000-4000-8000-{uid:0>12}",
    }
    return node.guest(name, number, volumes=volumes, stackRef=stack, **spec)


def test_data_that_is_kept_meets_the_stack_that_is_made_again(node: Node) -> None:
    first, again = "keeps-00000040", "keeps-00000041"
    node.apply(with_volume(node, first, 64, "40"))
    node.wait_ready(first)
    node.run(first, "sh", "-c", "echo kept > /srv/volumes/data/file")
    node.delete(first)
    node.apply(with_volume(node, again, 65, "41", volume="Delete"))
    node.wait_ready(again)
    assert node.run(again, "cat", "/srv/volumes/data/file").strip() == "kept"
    node.delete(again)
    assert not (node.settings.pools / "default/volumes/acme/keeps").exists()


def test_a_retained_guest_is_stopped_and_its_disk_stays(node: Node) -> None:
    name = "retained-00000042"
    node.apply(node.guest(name, 66, deletionPolicy="Retain"))
    node.wait_ready(name)
    node.delete(name)
    found = node.observe(name)
    assert found is not None
    assert found.state is GuestState.STOPPED
    assert (node.settings.pools / "default/guests" / name / "rootfs/etc").is_dir()
    node.kill()
    node.restart()
    eventually(lambda: node.condition(node.settings.node_name, of="node"), "it reports")
    assert node.pid(name) is None, "never started again"
    asyncio.run(node.engine.destroy(name, found.owner_uid or ""))


def test_an_orphan_goes_on_serving(node: Node) -> None:
    name = "orphan-00000043"
    node.apply(node.guest(name, 67, deletionPolicy="Orphan"))
    node.wait_ready(name)
    pid = node.pid(name)
    node.delete(name)
    node.kill()
    node.restart()
    assert node.http(67) == "hello"
    assert node.pid(name) == pid
    found = node.observe(name)
    assert found is not None
    asyncio.run(node.engine.destroy(name, found.owner_uid or ""))


def test_a_guest_is_deleted_while_its_services_are_brought_up(node: Node) -> None:
    name = "hasty-00000044"
    node.apply(node.guest(name, 68))
    eventually(lambda: node.pid(name), "it runs")
    node.delete(name)
    assert node.observe(name) is None


def test_a_zone_goes_with_its_last_guest(node: Node) -> None:
    name = "last-00000045"
    node.apply(node.guest(name, 69, runPolicy="Stopped"))
    node.wait_condition(name, "Ready", "True", "Stopped")
    node.kubectl("delete", "zoneattachment", "backend", "--wait=false")
    node.wait_condition("backend", "Ready", "False", "InUse", of="zoneattachment")
    node.delete(name)
    eventually(lambda: node.get("zoneattachment", "backend") is None, "the zone is gone")
    eventually(lambda: node.bridge not in node.rules(), "no rule speaks of it any more")
