"""Bad input gets a precise condition before anything is made, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cloud import Cloud, Object, secret
from tests.e2e.conftest import HELLO

WEB: dict[str, Any] = {"image": "node:20", "command": ["sleep", "infinity"]}


def service(**more: Any) -> Object:
    """A compose document with one service that has `more`."""
    return {"services": {"web": {**WEB, **more}}}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)

FORBIDDEN = {
    "privileged": service(privileged=True),
    "network_mode": service(network_mode="host"),
    "pid": service(pid="host"),
    "/etc": service(volumes=["/etc:/host"]),
    "docker.sock": service(volumes=["/var/run/docker.sock:/var/run/docker.sock"]),
    "devices": service(devices=["/dev/fuse:/dev/fuse"]),
    "cap_add": service(cap_add=["SYS_ADMIN"]),
    "include": {"include": ["/etc/passwd"], **service()},
    "extends": service(extends={"file": "/etc/passwd", "service": "web"}),
    "env_file": service(env_file="/etc/passwd"),
    "build": service(build="."),
    "configs": {**service(configs=["c"]), "configs": {"c": {"file": "/etc/passwd"}}},
    "secrets": {**service(secrets=["s"]), "secrets": {"s": {"file": "/etc/passwd"}}},
}


def left_behind(cloud: Cloud) -> list[Any]:
    """Whatever there is beside the Stack itself."""
    return [*cloud.find("guests"), *cloud.find("zoneattachments"), *cloud.containers()]


def check(cloud: Cloud, stack: Object, type_: str, reason: str, *words: str) -> None:
    """The Stack says `reason` and every word, Ready is False, an event tells it, and nothing was made."""
    name = stack["metadata"]["name"]
    cloud.apply(stack)
    said = cloud.wait_condition(name, type_, reason, 30)
    assert said["status"] == "False"
    for word in words:
        assert word in said["message"], said
    events = [e for e in cloud.events("Stack", name) if e["reason"] == reason]
    assert events, cloud.events("Stack", name)
    assert left_behind(cloud) == []
    cloud.delete_stack(name)


@pytest.mark.parametrize("word", FORBIDDEN)
def test_what_would_leave_the_guest_is_refused(cloud: Cloud, word: str) -> None:
    check(cloud, cloud.compose_stack("bad", FORBIDDEN[word]), "Rendered", "ComposeForbidden", word)


def test_invalid_yaml(cloud: Cloud) -> None:
    check(
        cloud, cloud.compose_stack("bad", "services: {web: [image: :"), "Rendered", "ComposeInvalid", "line 1"
    )


def test_anchors_that_explode(cloud: Cloud) -> None:
    check(cloud, cloud.compose_stack("bad", BOMB), "Rendered", "ComposeInvalid", "alias")


def test_an_unknown_template(cloud: Cloud) -> None:
    check(
        cloud,
        cloud.stack("bad", template={"name": "nothing"}),
        "Rendered",
        "TemplateNotFound",
        "nothing",
        "node-postgres",
    )


def test_a_value_against_its_schema(cloud: Cloud) -> None:
    template = {"name": "node-postgres", "values": {"env": "moon"}}
    check(cloud, cloud.stack("bad", template=template), "Rendered", "ValuesInvalid", "env", "moon", "prod")


def test_an_unknown_value(cloud: Cloud) -> None:
    template = {"name": "node-postgres", "values": {"env": "prod", "colour": "red"}}
    check(cloud, cloud.stack("bad", template=template), "Rendered", "ValuesInvalid", "colour")


def test_an_undefined_variable(cloud: Cloud) -> None:
    document = service(environment={"TOKEN": "${token}"})
    check(cloud, cloud.compose_stack("bad", document), "Rendered", "UndefinedVariable", "token")


def test_a_missing_secret(cloud: Cloud) -> None:
    compose = {
        "inline": '{"services":{"web":{"image":"node:20","environment":{"T":"${token}"}}}}',
        "secretValues": [{"name": "token", "secretKeyRef": {"name": "nowhere", "key": "token"}}],
    }
    check(cloud, cloud.stack("bad", template=None, compose=compose), "Rendered", "SecretNotFound", "nowhere")


def test_a_missing_secret_that_appears_is_found(cloud: Cloud) -> None:
    compose = {
        "inline": json.dumps(service(init=True, environment={"T": "${token}"})),
        "secretValues": [{"name": "token", "secretKeyRef": {"name": "late", "key": "token"}}],
    }
    cloud.apply(cloud.stack("late", template=None, compose=compose))
    cloud.wait_condition("late", "Rendered", "SecretNotFound")
    cloud.apply(secret("late", cloud.namespace, token="now"))
    cloud.wait_ready("late")
    cloud.kubectl("delete", "secret", "late", "-n", cloud.namespace)


def test_more_memory_than_any_node_has(cloud: Cloud, hello: Callable[..., Object]) -> None:
    resources = {"cpu": "1", "memory": "4Ti", "disk": "1Gi"}
    check(cloud, hello("bad", resources=resources), "Scheduled", "NoNodeFits", "node-1", "memory")


def test_two_stacks_with_one_address(cloud: Cloud, hello: Callable[..., Object]) -> None:
    cloud.apply(hello("first", 23101, address="10.77.0.50"))
    cloud.wait_ready("first")
    cloud.apply(hello("second", 23102, address="10.77.0.50"))
    said = cloud.wait_condition("second", "Scheduled", "AddressConflict")
    assert "first" in said["message"]
    assert len(cloud.find("guests")) == 1
    cloud.delete_stack("first")
    cloud.wait_ready("second")


def test_two_stacks_with_one_host_port(cloud: Cloud, hello: Callable[..., Object]) -> None:
    cloud.apply(hello("first", 23101))
    cloud.wait_ready("first")
    cloud.apply(hello("second", 23101))
    cloud.wait_condition("second", "Scheduled", "PortConflict")
    assert len(cloud.find("guests")) == 1


def test_a_port_twice_in_expose_is_refused_by_the_api_server(
    cloud: Cloud, hello: Callable[..., Object]
) -> None:
    bad = hello("bad", expose=[{"port": 80, "hostPort": 23100}, {"port": 81, "hostPort": 23100}])
    assert "hostPort" in cloud.refused(bad)


def test_a_port_twice_in_compose(cloud: Cloud) -> None:
    document = {"services": {"a": {**WEB, "ports": ["3000:80"]}, "b": {**WEB, "ports": ["3000:81"]}}}
    check(cloud, cloud.compose_stack("bad", document), "Rendered", "ComposeInvalid", "3000")


def test_a_document_of_a_megabyte(cloud: Cloud) -> None:
    text = "services: {}\n#" + "x" * (1 << 20)
    assert "inline" in cloud.refused(cloud.compose_stack("bad", text))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "large", "namespace": cloud.namespace},
        "data": {"compose.yaml": text[: (1 << 20) - 100]},
    }
    cloud.kubectl("create", "-f", "-", stdin=json.dumps(config))
    stack = cloud.stack("bad", template=None, compose={"configMapRef": {"name": "large"}})
    check(cloud, stack, "Rendered", "ComposeTooLarge", "262144")
    cloud.kubectl("delete", "configmap", "large", "-n", cloud.namespace)


def test_a_name_of_63_characters_works_and_of_64_is_refused(cloud: Cloud) -> None:
    cloud.apply(cloud.compose_stack("n" * 63, HELLO))
    cloud.wait_ready("n" * 63)
    assert "63" in cloud.refused(cloud.compose_stack("n" * 64, HELLO))


def test_no_license_nothing_is_created_and_what_runs_goes_on(
    cloud: Cloud, hello: Callable[..., Object]
) -> None:
    cloud.apply(hello("before", 23101))
    cloud.wait_ready("before")
    cloud.kubectl("delete", "license", "--all")
    try:
        cloud.apply(hello("after", 23102))
        cloud.wait_condition("after", "Licensed", "LicenseMissing")
        assert len(cloud.find("guests")) == 1
        cloud.apply(hello("before", 23103))
        cloud.wait_ready("before")
        assert cloud.http(23103)[1] == "hello"
    finally:
        cloud.apply(
            {
                "apiVersion": "dsecos.io/v1alpha1",
                "kind": "License",
                "metadata": {"name": "dsecos"},
                "spec": {"development": True},
            }
        )
    cloud.wait_ready("after")
