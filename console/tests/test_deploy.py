"""`dsecos deploy`: exactly the Stack that was asked for, and what is said on the way."""

from __future__ import annotations

import base64
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from console.tests.conftest import Namespace, Run
from console.tests.objects import CATALOG, Object, condition, zone_object

DONE = [
    condition(name, "True", "Done")
    for name in (
        "Licensed",
        "Rendered",
        "Scheduled",
        "GuestReady",
        "VolumesReady",
        "NetworkReady",
        "DockerReady",
        "ServicesReady",
    )
]


@pytest.fixture(autouse=True)
def catalog(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalog of this checkout."""
    monkeypatch.setenv("DSECOS_CATALOG", str(CATALOG))
    return CATALOG


def dry_run(dsecos: Run, *words: str) -> Object:
    result = dsecos("deploy", "node-postgres", "-n", "demo", "--zone", "backend", "--dry-run", *words)
    assert result.exit_code == 0, result.stderr
    found: Object = yaml.safe_load(result.stdout)
    return found


def test_a_dry_run_needs_no_cluster_and_takes_defaults_from_the_catalog(dsecos: Run) -> None:
    entry = yaml.safe_load((CATALOG / "node-postgres" / "template.yaml").read_text())
    stack = dry_run(dsecos)
    assert stack["metadata"] == {"name": "node-postgres", "namespace": "demo"}
    assert stack["spec"]["template"]["name"] == "node-postgres"
    assert stack["spec"]["resources"] == entry["resources"]
    assert stack["spec"]["volumes"] == entry["volumes"]
    assert stack["spec"]["zone"] == "backend"
    assert "expose" not in stack["spec"]


def test_the_command_line_says_the_whole_stack(dsecos: Run, tmp_path: Path) -> None:
    greeting = tmp_path / "greeting.txt"
    greeting.write_text("Hello")
    words = [
        *("--name", "shop", "--set", "env=prod", "--set", "title=Shop", "--set-file", f"greeting={greeting}"),
        *("--secret", "postgresPassword=shop-db/password", "--cpu", "2", "--memory", "2Gi", "--disk", "10Gi"),
        *("--expose", "3000:3000/tcp", "--expose", "53/udp", "--from", "10.0.0.0/8"),
        *("--volume", "pgdata=5Gi,pool=fast,keep=Delete", "--volume", "uploads=1Gi"),
    ]
    assert dry_run(dsecos, *words) == {
        "apiVersion": "dsecos.io/v1alpha1",
        "kind": "Stack",
        "metadata": {"name": "shop", "namespace": "demo"},
        "spec": {
            "template": {
                "name": "node-postgres",
                "values": {"env": "prod", "title": "Shop", "greeting": "Hello"},
                "secretValues": [
                    {"name": "postgresPassword", "secretKeyRef": {"name": "shop-db", "key": "password"}}
                ],
            },
            "zone": "backend",
            "expose": [
                {"port": 3000, "protocol": "TCP", "from": ["10.0.0.0/8"], "hostPort": 3000},
                {"port": 53, "protocol": "UDP", "from": ["10.0.0.0/8"]},
            ],
            "resources": {"cpu": "2", "memory": "2Gi", "disk": "10Gi"},
            "volumes": [
                {"name": "pgdata", "size": "5Gi", "pool": "fast", "deletionPolicy": "Delete"},
                {"name": "uploads", "size": "1Gi"},
            ],
        },
    }


def test_from_alone_opens_the_ports_that_the_template_proposes(dsecos: Run) -> None:
    stack = dry_run(dsecos, "--from", "0.0.0.0/0")
    assert stack["spec"]["expose"] == [{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"]}]


@pytest.mark.parametrize(
    ("words", "code", "said", "way_out"),
    [
        (["nod"], 6, "no template 'nod'", "node-postgres"),
        (["node-postgres", "--set", "env"], 2, "--set 'env'", "key=value"),
        (["node-postgres", "--set-file", "a=nowhere"], 2, "nowhere", ""),
        (["node-postgres", "--expose", "3000"], 2, "to nobody without --from", "--from 0.0.0.0/0"),
        (["node-postgres", "--timeout", "soon"], 2, "--timeout", "5m"),
        (["node-postgres", "--cpu", "two"], 2, "--cpu", "500m"),
        (["node-postgres", "--name", "No_Name"], 2, "No_Name", "lower-case letters"),
        (["node-postgres", "--catalog", "nowhere"], 6, "no catalog at nowhere", "DSECOS_CATALOG"),
        (["node-postgres", "--sett", "a=b"], 2, "--sett", ""),
        ([], 2, "template", ""),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_the_way_out(
    dsecos: Run, words: list[str], code: int, said: str, way_out: str
) -> None:
    result = dsecos("deploy", *words, *(["--dry-run", "-n", "demo", "--zone", "backend"] if words else []))
    assert result.exit_code == code
    assert said in result.stderr
    assert way_out in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_without_a_cluster_it_says_how_to_get_one(dsecos: Run) -> None:
    result = dsecos("deploy", "node-postgres")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: no control plane here")
    assert "make up" in result.stderr


def test_it_creates_zone_password_and_stack_and_nothing_else(dsecos: Run, namespace: Namespace) -> None:
    words = ["deploy", "node-postgres", "--name", "shop", "-n", namespace.name, "--no-wait"]
    result = dsecos(*words, "--create-zone", "10.20.0.0/24")
    assert result.exit_code == 0, result.stderr
    assert "generated postgresPassword in Secret shop-secrets" in result.stderr
    assert "network zone default created" in result.stderr
    assert namespace.get("networkzone", "default")["spec"] == {"cidrs": ["10.20.0.0/24"]}
    secret = namespace.get("secret", "shop-secrets")
    password = base64.b64decode(secret["data"]["postgresPassword"]).decode()
    assert len(password) >= 32
    assert password not in result.output
    wanted = yaml.safe_load(dsecos(*words, "--zone", "default", "--dry-run").stdout)
    assert namespace.get("stack", "shop")["spec"] == wanted["spec"]

    again = dsecos(*words)
    assert "is as asked already" in again.stderr
    assert namespace.get("secret", "shop-secrets")["data"] == secret["data"]
    assert namespace.get("stack", "shop")["metadata"]["generation"] == 1


def test_a_change_is_told_with_what_it_does(dsecos: Run, namespace: Namespace) -> None:
    namespace.apply(zone_object())
    words = ["deploy", "node-postgres", "--name", "shop", "-n", namespace.name, "--no-wait"]
    assert dsecos(*words).exit_code == 0
    result = dsecos(*words, "--memory", "2Gi")
    assert 'spec.resources.memory: "1Gi" -> "2Gi"' in result.stderr
    assert "nothing restarts" in result.stderr
    assert namespace.get("stack", "shop")["spec"]["resources"]["memory"] == "2Gi"


def test_a_field_that_somebody_else_set_is_not_taken_without_force(dsecos: Run, namespace: Namespace) -> None:
    namespace.apply(zone_object())
    words = ["deploy", "node-postgres", "--name", "shop", "-n", namespace.name, "--no-wait"]
    namespace.apply(yaml.safe_load(dsecos(*words, "--dry-run").stdout))
    result = dsecos(*words, "--cpu", "1")
    assert result.exit_code == 4
    assert "spec.resources.cpu" in result.stderr
    assert "--force" in result.stderr
    assert dsecos(*words, "--cpu", "1", "--force").exit_code == 0
    assert namespace.get("stack", "shop")["spec"]["resources"]["cpu"] == "1"


@pytest.mark.parametrize(
    ("zones", "words", "code", "said"),
    [
        ([], [], 2, "has no network zone"),
        (["a", "b"], [], 2, "several zones: a, b"),
        (["a"], ["--zone", "b"], 6, "has no zone b"),
        (["a"], ["--namespace", "nowhere", "--zone", "a"], 6, "no namespace nowhere"),
    ],
)
def test_what_it_needs_must_be_there(
    dsecos: Run, namespace: Namespace, zones: list[str], words: list[str], code: int, said: str
) -> None:
    for number, name in enumerate(zones):
        namespace.apply(zone_object(name, f"10.2{number}.0.0/24"))
    result = dsecos("deploy", "node-postgres", "-n", namespace.name, "--no-wait", *words)
    assert result.exit_code == code
    assert said in result.stderr
    assert namespace.kubectl("get", "stacks,secrets", "-o", "name") == ""


def deploy_while(dsecos: Run, namespace: Namespace, status: dict[str, Any], timeout: str = "60s") -> Any:
    """Deploy and wait, while something plays the operator once the Stack is there."""
    namespace.apply(zone_object())

    def operate() -> None:
        namespace.kubectl("wait", "--for=create", "stack/shop", "--timeout=60s")
        namespace.set_status("stack", "shop", **status)

    operator = Thread(target=operate)
    operator.start()
    words = ["--name", "shop", "-n", namespace.name, "--timeout", timeout]
    result = dsecos("deploy", "node-postgres", *words)
    operator.join()
    return result


def test_it_waits_for_the_steps_and_prints_where_the_application_answers(
    dsecos: Run, namespace: Namespace
) -> None:
    status = {
        "observedGeneration": 1,
        "endpoints": ["http://192.0.2.1:3000"],
        "conditions": [*DONE, condition("Ready", "True", "Serving")],
    }
    result = deploy_while(dsecos, namespace, status)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "http://192.0.2.1:3000\n"
    lines = [line for line in result.stderr.splitlines() if "done" in line]
    assert [line.split("done")[1].split("  ")[2] for line in lines][:2] == [
        "License checked",
        "Compose rendered and validated",
    ]
    assert "ready after" in result.stderr
    assert "\x1b" not in result.output


def test_a_stack_that_does_not_go_on_ends_the_wait_with_the_way_out(
    dsecos: Run, namespace: Namespace
) -> None:
    status = {
        "observedGeneration": 1,
        "conditions": [
            DONE[0],
            condition("Rendered", "False", "ValuesInvalid", "values.env: 'x' is not one of dev, prod"),
            condition("Ready", "False", "ValuesInvalid", "values.env: 'x' is not one of dev, prod"),
            condition("Stalled", "True", "ValuesInvalid", "values.env: 'x' is not one of dev, prod"),
        ],
    }
    result = deploy_while(dsecos, namespace, status)
    assert result.exit_code == 1
    assert "error: stack shop does not go on: ValuesInvalid: values.env" in result.stderr
    assert "Correct the value" in result.stderr


def test_the_wait_ends_with_its_time(dsecos: Run, namespace: Namespace) -> None:
    result = deploy_while(dsecos, namespace, {"observedGeneration": 1, "conditions": [DONE[0]]}, timeout="2s")
    assert result.exit_code == 5
    assert "is not ready after 2 s" in result.stderr
    assert "dsecos status shop" in result.stderr
