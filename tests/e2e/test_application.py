"""From an applied Stack to an answer, and what `kubectl get` says about it."""

from __future__ import annotations

import json

from tests.e2e.cloud import Cloud, conditions, until
from tests.e2e.conftest import PASSWORD, shop_stack


def test_the_application_answers_on_its_host_port(shop: Cloud) -> None:
    status, page = until(lambda: (a := shop.http(23000))[0] == 200 and a, 20)
    assert status == 200
    assert "<html" in page.lower()


def test_it_writes_to_and_reads_from_its_database(shop: Cloud) -> None:
    guest = shop.guest("shop")["metadata"]["name"]
    db = shop.services(guest)["db"]
    shop.http(23000)
    count = ("docker", "exec", db, "psql", "-U", "app", "-Atc", "select count from visits")
    before = int(shop.inside(guest, *count))
    assert shop.http(23000)[0] == 200
    assert int(shop.inside(guest, *count)) > before


def test_conditions_tell_the_steps_in_their_order(shop: Cloud) -> None:
    status = shop.get("stack", "shop", shop.namespace)["status"]
    steps = [entry["type"] for entry in status["conditions"]]
    wanted = [
        "Licensed",
        "Rendered",
        "Scheduled",
        "GuestReady",
        "VolumesReady",
        "NetworkReady",
        "DockerReady",
        "ServicesReady",
        "Registered",
        "Ready",
    ]
    assert steps == wanted
    false = {entry["type"] for entry in status["conditions"] if entry["status"] != "True"}
    assert false == {"Registered"}, "only Portainer is not there, and the status says so"
    assert {service["name"]: service["health"] for service in status["services"]} == {
        "web": "healthy",
        "db": "healthy",
    }


def test_kubectl_get_answers_what_where_at_which_address_since_when(shop: Cloud) -> None:
    header, row = shop.kubectl("get", "stacks", "-n", shop.namespace).stdout.splitlines()[:2]
    assert header.split() == ["NAME", "READY", "REASON", "NODE", "ADDRESS", "ENDPOINT", "SINCE", "AGE"]
    columns = row.split()
    assert columns[:4] == ["shop", "True", "Serving", "node-1"]
    assert columns[4].startswith("10.77.0.")
    assert columns[5].endswith(":23000")


def test_kubectl_get_dsecos_lists_every_kind(shop: Cloud) -> None:
    listed = shop.kubectl("get", "dsecos", "-A", "-o", "name").stdout
    for name in ("stack", "networkzone", "node", "license", "guest", "zoneattachment"):
        assert f"{name}.dsecos.io/" in listed


def test_kubectl_wait_works(shop: Cloud) -> None:
    shop.kubectl("wait", "--for=condition=Ready", "stack/shop", "-n", shop.namespace, "--timeout=30s")


def test_applying_it_again_changes_nothing(shop: Cloud) -> None:
    before = shop.get("stack", "shop", shop.namespace)["metadata"]
    shop.apply(shop_stack(shop))
    after = shop.get("stack", "shop", shop.namespace)["metadata"]
    assert (after["generation"], after["resourceVersion"]) == (
        before["generation"],
        before["resourceVersion"],
    )


def test_the_secret_is_nowhere_but_in_secrets_and_in_its_guest(shop: Cloud) -> None:
    objects = json.dumps([shop.everything(), shop.find("events"), shop.find("configmaps")])
    assert PASSWORD not in objects
    assert json.dumps(PASSWORD)[1:-1] not in objects
    for log in (shop.home / "log").rglob("*.log"):
        assert PASSWORD not in log.read_text(errors="replace"), log


def test_the_guest_root_is_not_the_host_root(shop: Cloud) -> None:
    guest = shop.guest("shop")
    first, base, count = shop.inside(guest["metadata"]["name"], "cat", "/proc/self/uid_map").split()
    assert (int(first), int(base)) == (0, guest["spec"]["idMap"]["base"])
    assert int(base) >= shop.guest_id_base
    assert int(count) == 65536


def test_the_node_tells_what_it_is(shop: Cloud) -> None:
    node = shop.get("node", "node-1")
    seen = conditions(node)
    assert seen["Ready"]["status"] == "True"
    assert seen["FirewallEnforced"]["status"] == "True"
    assert seen["MandatoryAccessControl"]["status"] in {"True", "False"}
    info = node["status"]["nodeInfo"]
    assert info["kernel"]
    assert info["engine"].startswith("lxc ")
    assert node["status"]["capacity"]["memory"] > ""
