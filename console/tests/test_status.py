"""`dsecos status`, `logs` and `version` against a real API server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from console.tests.conftest import Namespace, Run
from console.tests.objects import condition, stack_object, zone_object


@pytest.fixture
def shop(namespace: Namespace) -> Namespace:
    """A namespace with a Stack that serves."""
    namespace.apply(zone_object(), stack_object(volumes=[{"name": "pgdata", "size": "2Gi"}]))
    namespace.set_status(
        "stack",
        "shop",
        observedGeneration=1,
        node="rack1-a",
        guest="shop-12345678",
        address="10.20.0.2",
        endpoints=["http://192.0.2.1:3000"],
        services=[
            {"name": "web", "image": "node:20", "state": "running", "health": "healthy", "restarts": 2}
        ],
        conditions=[
            condition("Licensed", "True", "DevelopmentLicense"),
            condition("Registered", "False", "NotConfigured"),
            condition("Ready", "True", "Serving"),
        ],
    )
    return namespace


def test_the_overview_answers_what_where_at_which_address_since_when(dsecos: Run, shop: Namespace) -> None:
    result = dsecos("status", "-n", shop.name)
    assert result.exit_code == 0
    [row] = [line.split() for line in result.stdout.splitlines() if line.startswith("shop")]
    assert row[:6] == ["shop", "True", "Serving", "rack1-a", "10.20.0.2", "http://192.0.2.1:3000"]
    assert "10.20.0.0/24" in result.stdout
    assert "No nodes" in result.stdout
    assert "\x1b" not in result.stdout


def test_all_namespaces_are_told_apart(dsecos: Run, shop: Namespace) -> None:
    rows = [line.split() for line in dsecos("status", "-A", "-o", "wide").stdout.splitlines()]
    assert [shop.name, "shop", "True", "Serving"] in [row[:4] for row in rows]


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_the_objects_themselves(dsecos: Run, shop: Namespace, form: str, load: object) -> None:
    assert callable(load)
    found = load(dsecos("status", "-n", shop.name, "-o", form).stdout)
    assert [stack["metadata"]["name"] for stack in found["stacks"]] == ["shop"]
    assert [zone["metadata"]["name"] for zone in found["zones"]] == ["backend"]


def test_the_detail_shows_steps_services_and_endpoints(dsecos: Run, shop: Namespace) -> None:
    result = dsecos("status", "shop", "-n", shop.name)
    assert result.exit_code == 0
    for text in (
        "License checked",
        "DevelopmentLicense",
        "node:20",
        "healthy",
        "pgdata 2Gi",
        "http://192.0.2.1:3000",
    ):
        assert text in result.stdout


def test_a_stack_that_is_not_ready_gives_one_and_says_what_to_do(dsecos: Run, shop: Namespace) -> None:
    message = "demo/shop asks for 1Ti of memory; rack1-a has 31Gi"
    shop.set_status(
        "stack",
        "shop",
        conditions=[
            condition("Licensed", "True", "DevelopmentLicense"),
            condition("Rendered", "True", "ComposeValid"),
            condition("Scheduled", "False", "NoNodeFits", message),
            condition("Ready", "False", "NoNodeFits", message),
        ],
    )
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "shop.1", "namespace": shop.name},
        "involvedObject": {
            "apiVersion": "dsecos.io/v1alpha1",
            "kind": "Stack",
            "name": "shop",
            "namespace": shop.name,
            "uid": shop.get("stack", "shop")["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "NoNodeFits",
        "message": "no node has 1Ti of memory",
        "lastTimestamp": "2026-11-20T10:00:00Z",
        "count": 3,
    }
    shop.kubectl("create", "-f", "-", stdin=json.dumps(event))
    result = dsecos("status", "shop", "-n", shop.name)
    assert result.exit_code == 1
    assert message in result.stdout
    assert "no node has 1Ti of memory (x3)" in result.stdout
    assert "Ask for less in `spec.resources`" in result.stdout


def test_what_is_not_there_is_named(dsecos: Run, namespace: Namespace) -> None:
    result = dsecos("status", "nothing", "-n", namespace.name)
    assert result.exit_code == 6
    assert result.stderr.startswith("error:")
    assert "nothing" in result.stderr


def test_a_name_and_all_namespaces_do_not_go_together(dsecos: Run) -> None:
    assert dsecos("status", "shop", "-A").exit_code == 2


def test_an_api_server_that_does_not_answer_is_an_error_of_its_own(
    dsecos: Run, namespace: Namespace, tmp_path: Path
) -> None:
    document = yaml.safe_load(namespace.plane.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    result = dsecos("status", "--kubeconfig", str(kubeconfig))
    assert result.exit_code == 3
    wanted = "error: no answer from the API server https://127.0.0.1:1: [Errno 111] Connection refused"
    assert result.stderr.splitlines()[0] == wanted
    assert "dsecos doctor" in result.stderr


def test_logs_of_a_stack_elsewhere_say_where_they_can_be_read(dsecos: Run, shop: Namespace) -> None:
    result = dsecos("logs", "shop", "-n", shop.name)
    assert result.exit_code == 1
    assert "runs on node rack1-a, not here" in result.stderr
    assert f"On rack1-a, as root: dsecos logs shop -n {shop.name}" in result.stderr


def test_a_stack_without_a_guest_has_no_logs(dsecos: Run, namespace: Namespace) -> None:
    namespace.apply(stack_object())
    result = dsecos("logs", "shop", "-n", namespace.name)
    assert result.exit_code == 6
    assert "has no guest yet" in result.stderr


def test_versions(dsecos: Run, namespace: Namespace) -> None:
    found = json.loads(dsecos("version", "-o", "json").stdout)
    assert found["api"] == "dsecos.io/v1alpha1"
    assert found["server"].startswith("v1.")


def test_versions_without_a_cluster(dsecos: Run) -> None:
    result = dsecos("version")
    assert result.exit_code == 0
    assert "not reached" in result.stdout
