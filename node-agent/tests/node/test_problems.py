"""What cannot be made so is told precisely, and mended by a better wish."""

import json

import pytest

from .harness import Node, document, eventually


def test_an_image_that_cannot_be_had(node: Node) -> None:
    # Docker asks the node's registry, which is not part of these tests, and then a public one. Whether that
    # can be reached depends on the machine; that a registry's "no" is `ImageNotFound` is shown end to end.
    name = "noimage-00000030"
    node.apply(node.guest(name, 48, compose={"document": document(image="nothing:1"), "digest": "d1"}))
    reasons = ("ImageNotFound", "RegistryUnreachable")
    eventually(lambda: node.condition(name, "ServicesReady").get("reason") in reasons, "it says so", 150)
    node.apply(node.guest(name, 48, compose={"document": document(), "digest": "d2"}))
    node.wait_ready(name)


def test_an_unhealthy_service_is_named(node: Node) -> None:
    name = "sick-00000031"
    sick = {
        "image": "node:20",
        "command": ["node", "-e", "setInterval(() => 0, 1000)"],
        "restart": "always",
        "healthcheck": {"test": ["CMD", "false"], "interval": "1s", "retries": 1, "start_period": "0s"},
    }
    node.apply(node.guest(name, 49, compose={"document": document(sick=sick), "digest": "d1"}))
    found = node.wait_condition(name, "ServicesReady", "False", "Unhealthy")
    assert found["message"] == "unhealthy: sick"
    assert node.http(49) == "hello", "the others serve"


def test_a_guest_without_its_zone_waits_for_it(node: Node) -> None:
    name = "zoneless-00000032"
    network = {**node.guest(name, 50)["spec"]["network"], "attachment": "later"}
    node.apply(node.guest(name, 50, network=network))
    node.wait_condition(name, "NetworkReady", "False", "ZoneNotReady")
    assert node.observe(name) is None
    node.kubectl("delete", "guest", name)


def test_a_container_that_is_not_ours(node: Node) -> None:
    name = "foreign-00000033"
    folder = node.settings.lxc / name
    folder.mkdir()
    (folder / "config").write_text("lxc.uts.name = foreign\n")
    try:
        node.apply(node.guest(name, 51))
        node.wait_condition(name, "Ready", "False", "NotOurs")
        assert (folder / "config").read_text() == "lxc.uts.name = foreign\n"
        node.delete(name)
        assert folder.exists()
    finally:
        (folder / "config").unlink()
        folder.rmdir()


def test_an_unknown_template_and_pool(node: Node) -> None:
    node.apply(node.guest("template-00000034", 52, image="none"))
    node.wait_condition("template-00000034", "GuestReady", "False", "GuestTemplateMissing")
    node.apply(node.guest("pool-00000035", 53, pool="none"))
    node.wait_condition("pool-00000035", "Stalled", "True", "PoolNotFound")


def test_an_address_that_another_guest_has(node: Node) -> None:
    node.apply(node.guest("holder-00000036", 54, runPolicy="Stopped"))
    node.wait_condition("holder-00000036", "Ready", "True", "Stopped")
    twin = node.guest("a-twin-00000037", 55)
    twin["spec"]["network"]["address"] = f"{node.net}.54"
    node.apply(twin)
    node.wait_condition("a-twin-00000037", "Stalled", "True", "AddressConflict")
    assert node.pid("a-twin-00000037") is None
    node.delete("holder-00000036")
    node.wait_ready("a-twin-00000037")


def test_a_secret_reaches_the_service_and_nothing_else(node: Node) -> None:
    name, value = "secret-00000038", "hush$hush '\"x"
    compose = {"document": document(greeting="${greeting}"), "digest": "d1", "secretName": name}
    node.apply(node.guest(name, 56, compose=compose))
    node.wait_condition(name, "ServicesReady", "False", "SecretNotFound")
    node.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"greeting": value}}
    )
    node.wait_ready(name)
    assert node.http(56) == value
    assert "hush" not in node.log.read_text()
    assert "hush" not in json.dumps((node.get("guest", name) or {})["status"])


def test_denied_packets_are_counted_and_told_once(node: Node) -> None:
    name = "denied-00000039"
    node.apply(node.guest(name, 57))
    node.wait_ready(name)
    node.run(name, "sh", "-c", f"for i in 1 2 3; do timeout 1 bash -c '</dev/tcp/{node.net}.200/80'; done")
    eventually(lambda: node.metric("dsecos_denied_packets_total{") >= 1, "counted", 20)
    eventually(lambda: node.metric("dsecos_denied_packets_by_peer{") >= 1, "told by peer", 45)

    def told() -> int:
        lines = node.kubectl("get", "events", "-o", "wide").splitlines()
        return len([line for line in lines if "DeniedPackets" in line and name in line])

    assert eventually(told, "told", 45) == 1


@pytest.mark.parametrize("port", ["6443", "22"])
def test_the_host_is_out_of_reach(node: Node, port: str) -> None:
    name = f"apart-000000{port[:2]}"
    node.apply(node.guest(name, 58))
    node.wait_ready(name)
    target = str(node.plane.settings.api_port) if port == "6443" else port
    found = node.run(name, "timeout", "2", "bash", "-c", f"</dev/tcp/{node.net}.1/{target}; echo done $?")
    assert "done 0" not in found
