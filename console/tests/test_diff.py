"""`dsecos diff`: exit codes of diff(1), fields, effects, and what validation would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from console.tests.conftest import Namespace, Run
from console.tests.objects import Object, api_object, stack_object, zone_object

LIVE = stack_object(expose=[{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"]}])


@pytest.fixture(params=[True, False], ids=["server-side", "client-side"])
def live(request: pytest.FixtureRequest, namespace: Namespace) -> Namespace:
    """A namespace with a zone and a Stack, applied by either way of kubectl apply."""
    namespace.apply(zone_object(), LIVE, server_side=request.param)
    return namespace


@pytest.fixture
def diff_file(dsecos: Run, tmp_path: Path) -> Any:
    """Run `dsecos diff -f` on objects."""

    def run(namespace: Namespace, *objects: Object, words: tuple[str, ...] = ()) -> Result:
        file = tmp_path / "objects.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        return dsecos("diff", "-f", str(file), "-n", namespace.name, *words)

    return run


def with_spec(**spec: Any) -> Object:
    return {**LIVE, "spec": {**LIVE["spec"], **spec}}


def test_the_same_file_does_not_differ(live: Namespace, diff_file: Any) -> None:
    result = diff_file(live, zone_object(), LIVE)
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_changed_field_shows_with_what_it_does_and_nothing_is_changed(
    live: Namespace, diff_file: Any
) -> None:
    result = diff_file(live, with_spec(resources={"cpu": "1", "memory": "4Gi", "disk": "2Gi"}))
    assert result.exit_code == 1
    assert "1 field would change" in result.stdout
    assert (
        'spec.resources.memory: "1Gi" -> "4Gi"   [live: cgroup limits change, nothing restarts]'
        in result.stdout
    )
    assert live.get("stack", "shop")["spec"]["resources"]["memory"] == "1Gi"


def test_a_field_that_the_file_no_longer_has_would_go(live: Namespace, diff_file: Any) -> None:
    without = {**LIVE, "spec": {key: value for key, value in LIVE["spec"].items() if key != "expose"}}
    result = diff_file(live, without)
    assert result.exit_code == 1
    assert "- spec.expose" in result.stdout


def test_the_diff_is_what_an_apply_then_does(live: Namespace, diff_file: Any) -> None:
    client_side = "last-applied" in live.kubectl("get", "stack", "shop", "-o", "yaml")
    other = with_spec(expose=[{"port": 22, "from": ["10.0.0.0/8"]}], template={"name": "node-postgres"})
    told = json.loads(diff_file(live, other, words=("-o", "json")).stdout)[0]["changes"]
    live.apply(other, server_side=not client_side)
    assert {entry["field"] for entry in told} == {
        "spec.template.values",
        "spec.expose[3000/TCP]",
        "spec.expose[22/TCP]",
    }
    assert [port["port"] for port in live.get("stack", "shop")["spec"]["expose"]] == [22]
    assert "values" not in live.get("stack", "shop")["spec"]["template"]
    assert diff_file(live, other).exit_code == 0


def test_what_is_not_there_would_be_created(live: Namespace, diff_file: Any) -> None:
    result = diff_file(live, stack_object("new"))
    assert (result.exit_code, result.stdout) == (1, f"Stack {live.name}/new: would be created\n")


def test_what_validation_refuses_shows_with_its_field(live: Namespace, diff_file: Any) -> None:
    result = diff_file(live, with_spec(zone="other"))
    assert result.exit_code == 4
    assert "refused" in result.stdout
    assert "spec.zone" in result.stderr
    assert "zone cannot change; create another Stack" in result.stderr


def test_a_field_that_does_not_exist_is_refused(live: Namespace, diff_file: Any) -> None:
    result = diff_file(live, with_spec(replicas=3))
    assert result.exit_code == 4
    assert "replicas" in result.stderr


def test_a_value_of_the_template_can_be_tried(live: Namespace, dsecos: Run) -> None:
    result = dsecos("diff", "shop", "-n", live.name, "--set", "env=prod", "--cpu", "2", "-o", "json")
    assert result.exit_code == 1
    [entry] = json.loads(result.stdout)
    assert {(c["field"], c["before"], c["after"]) for c in entry["changes"]} == {
        ("spec.template.values.env", "dev", "prod"),
        ("spec.resources.cpu", "1", "2"),
    }
    assert dsecos("diff", "shop", "-n", live.name, "--set", "env=dev").exit_code == 0


def test_a_secret_shows_that_it_differs_but_not_how(live: Namespace, diff_file: Any) -> None:
    def secret(password: str) -> Object:
        meta = {"name": "shop-db", "namespace": live.name}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"password": password}}

    live.apply(secret("first"))
    result = diff_file(live, secret("second"))
    assert result.exit_code == 1
    assert "data.password" in result.stdout
    assert "second" not in result.output
    assert "c2Vjb25k" not in result.output


def test_objects_in_a_namespace_that_is_not_there_are_refused(live: Namespace, diff_file: Any) -> None:
    elsewhere = {**LIVE, "metadata": {"name": "shop", "namespace": "nowhere"}}
    result = diff_file(live, elsewhere)
    assert result.exit_code > 1
    assert "nowhere" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "either a stack"),
        (["shop"], 2, "nothing to compare"),
        (["shop", "-f", "x"], 2, "either a stack"),
        (["missing", "--set", "a=b"], 6, "missing"),
        (["-f", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["-f", "-"], 2, "holds no object"),
    ],
)
def test_errors_have_codes_above_one(
    namespace: Namespace, dsecos: Run, words: list[str], code: int, said: str
) -> None:
    result = dsecos("diff", *words, stdin="")
    assert result.exit_code == code
    assert said in result.stderr


def test_kinds_that_it_does_not_know_are_named(namespace: Namespace, diff_file: Any) -> None:
    result = diff_file(namespace, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}})
    assert result.exit_code == 2
    assert "Deployment" in result.stderr
    assert "NetworkZone" in result.stderr


def test_a_node_has_no_namespace(namespace: Namespace, diff_file: Any) -> None:
    result = diff_file(namespace, api_object("Node", "rack1-a", {"engine": {"type": "lxc"}}))
    assert (result.exit_code, result.stdout) == (1, "Node rack1-a: would be created\n")
