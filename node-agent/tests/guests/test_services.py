"""Which services a document expects, and how those that are there are judged."""

import json
from typing import Any

import pytest
from dsecos_agent.compose.protocol import Service
from dsecos_agent.guests.services import Expected, expected, judge


def document(**services: Any) -> str:
    return json.dumps({"services": services})


def found(name: str, state: str = "running", health: str = "none", code: int | None = None) -> Service:
    return Service(name, "image", "sha256:0", state, health, 0, code, "hash")


def test_yaml_and_json_are_the_same() -> None:
    assert expected("services:\n  web:\n    image: x\n    restart: always\n") == (
        Expected("web", 1, False, "x"),
    )


@pytest.mark.parametrize(
    ("service", "replicas"),
    [({}, 1), ({"scale": 3}, 3), ({"deploy": {"replicas": 2}}, 2)],
)
def test_replicas(service: dict[str, Any], replicas: int) -> None:
    assert expected(document(web=service))[0].replicas == replicas


@pytest.mark.parametrize("service", [{"scale": 0}, {"deploy": {"replicas": 0}}, {"profiles": ["debug"]}])
def test_what_is_not_to_run_is_not_expected(service: dict[str, Any]) -> None:
    assert expected(document(web=service)) == ()


@pytest.mark.parametrize("text", ["", "a: [", "[]", "services: 3"])
def test_what_is_no_document(text: str) -> None:
    with pytest.raises(ValueError, match="compose document"):
        expected(text)


STAYS, ENDS = Expected("web", 1, may_end=False), Expected("web", 1, may_end=True)


@pytest.mark.parametrize(
    ("wanted", "containers", "verdict"),
    [
        (STAYS, [], "down"),
        (STAYS, [found("web")], "healthy"),
        (STAYS, [found("web", health="healthy")], "healthy"),
        (STAYS, [found("web", health="starting")], "starting"),
        (STAYS, [found("web", health="unhealthy")], "unhealthy"),
        (STAYS, [found("web", "exited", code=0)], "down"),
        (STAYS, [found("web", "created")], "down"),
        (STAYS, [found("web", "restarting", code=1)], "unhealthy"),
        (STAYS, [found("web", "paused")], "unhealthy"),
        (ENDS, [found("web", "exited", code=0)], "healthy"),
        (ENDS, [found("web", "exited", code=1)], "down"),
        (Expected("web", 2, may_end=False), [found("web")], "down"),
        (Expected("web", 2, may_end=False), [found("web"), found("web")], "healthy"),
        (STAYS, [found("other")], "down"),
    ],
)
def test_verdict(wanted: Expected, containers: list[Service], verdict: str) -> None:
    result = judge([wanted], containers)
    assert {
        "down": result.down == ("web",),
        "unhealthy": result.unhealthy == ("web",),
        "starting": result.starting == ("web",),
        "healthy": result.all_healthy,
    }[verdict]
