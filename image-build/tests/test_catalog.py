"""Every template of the catalog keeps the rules of manifests/catalog/README.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import jinja2
import pytest
import yaml
from dsecos_images import build
from jsonschema import Draft202012Validator

from .conftest import CATALOG, TEMPLATES, Built, document, fill, render, schema

ENVIRONMENTS = ["dev", "prod"]
in_each_environment = pytest.mark.parametrize("env", ENVIRONMENTS)
for_each_template = pytest.mark.parametrize("template", TEMPLATES)


def described(template: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CATALOG / template / "template.yaml").read_text())
    return loaded


def load(built: Built, text: str, secrets: list[str]) -> dict[str, Any]:
    """Docker Compose's own loader; a document that it refuses fails the test with its words."""
    done = subprocess.run(
        [built.compose, "-p", "app", "-f", "-", "config", "--format", "json"],
        input=text,
        env={"PATH": os.environ["PATH"]} | dict.fromkeys(secrets, "a-secret"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def test_the_catalog_has_its_first_entry() -> None:
    assert "node-postgres" in TEMPLATES


@for_each_template
def test_the_schema_is_valid_closed_and_tells_meaning_and_default_of_each_value(template: str) -> None:
    values = schema(template)
    Draft202012Validator.check_schema(values)
    assert values["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert values["additionalProperties"] is False
    for name, entry in values["properties"].items():
        assert entry["description"].endswith("."), name
        if "default" in entry:
            Draft202012Validator(entry).validate(entry["default"])


@for_each_template
def test_the_readme_names_every_value_and_secret(template: str) -> None:
    readme = (CATALOG / template / "README.md").read_text()
    for name in [
        *schema(template)["properties"],
        *(secret["name"] for secret in described(template)["secretValues"]),
    ]:
        assert f"`{name}`" in readme


@for_each_template
@in_each_environment
def test_a_template_renders_and_composes_loader_accepts_it(built: Built, template: str, env: str) -> None:
    secrets = [secret["name"] for secret in described(template)["secretValues"]]
    loaded = load(built, render(template, env=env), secrets)
    assert loaded["services"]


@for_each_template
def test_production_differs(template: str) -> None:
    assert render(template, env="prod") != render(template, env="dev")


@for_each_template
def test_an_undefined_name_is_an_error(template: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill(template, {})


@for_each_template
@in_each_environment
def test_secrets_stand_in_environments_only_and_are_the_declared_ones(template: str, env: str) -> None:
    tree = document(template, env=env)
    declared = {secret["name"] for secret in described(template)["secretValues"]}
    used: set[str] = set()
    for service in tree["services"].values():
        for value in (service.get("environment") or {}).values():
            used |= set(re.findall(r"(?<!\$)\$\{(\w+)\}", str(value)))
        service["environment"] = {}
    assert used == declared
    assert not re.search(r"(?<!\$)\$(?!\$)", json.dumps(tree).replace("$$", ""))


@for_each_template
@in_each_environment
def test_every_service_is_healthy_or_not_quickly_and_asks_for_little(template: str, env: str) -> None:
    for name, service in document(template, env=env)["services"].items():
        assert {"start_period", "start_interval", "interval", "timeout"} <= set(service["healthcheck"]), name
        assert service["user"] not in ("root", "0", "0:0"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("read_only") or service.get("configs"), name
        assert not {"cap_add", "privileged", "security_opt", "network_mode", "build", "env_file"} & set(
            service
        ), name


@for_each_template
@in_each_environment
def test_what_template_yaml_promises_is_in_the_document(template: str, env: str) -> None:
    tree, about = document(template, env=env), described(template)
    assert about["name"] == template
    assert {volume["name"] for volume in about["volumes"]} == set(tree.get("volumes") or {})
    published = [port for service in tree["services"].values() for port in service.get("ports", ())]
    assert {f"{entry['port']}:{entry['port']}" for entry in about["expose"]} == set(published)
    assert set(about["images"]) == {service["image"] for service in tree["services"].values()}


@for_each_template
def test_the_images_of_a_template_come_with_the_node(template: str) -> None:
    shipped = {image.image.reference for image in build.plan().images if image.image}
    assert {f"docker.io/library/{image}" for image in described(template)["images"]} <= shipped


@pytest.mark.parametrize(
    "greeting", ['"quoted"', "$x ${postgresPassword} $$", "{{ 7*7 }} ' : #", "Grüße\nzwei Zeilen"]
)
def test_a_value_is_text_whatever_it_holds(built: Built, greeting: str) -> None:
    loaded = load(built, render("node-postgres", greeting=greeting), ["postgresPassword"])
    # `config` writes its result for another run of compose, hence doubles dollar signs.
    assert loaded["services"]["web"]["environment"]["GREETING"] == greeting.replace("$", "$$")


def test_values_of_node_postgres_are_checked() -> None:
    validator = Draft202012Validator(schema("node-postgres"))
    assert validator.is_valid({"env": "prod", "greeting": "Hello", "webMemory": "1G"})
    for wrong in ({"env": "test"}, {"greeting": ""}, {"title": 3}, {"webMemory": "lots"}, {"other": 1}):
        assert not validator.is_valid(wrong), wrong
