"""What a compose document expects and what a guest's Docker tells, compared. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from dsecos_api.stack import ServiceStatus

from dsecos_agent.compose.protocol import Service

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

RESTARTING_POLICIES = ("always", "unless-stopped")


@dataclass(frozen=True, slots=True)
class Expected:
    """One service of the document."""

    name: str
    replicas: int
    may_end: bool
    """It is meant to finish: exit code 0 is success, as nothing restarts it."""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the guest's services stand."""

    down: tuple[str, ...]
    """Not there or not running though they should: bringing the document up again helps."""
    unhealthy: tuple[str, ...]
    """Running badly: Docker itself goes on trying."""
    starting: tuple[str, ...]
    healthy: int
    total: int

    @property
    def all_healthy(self) -> bool:
        """Whether nothing is left to wish for."""
        return self.healthy == self.total


@lru_cache(maxsize=256)
def expected(document: str) -> tuple[Expected, ...]:
    """The services that a normalised document starts. Raises ValueError when it is no compose document."""
    try:
        parsed = json.loads(document)
    except ValueError:
        try:
            parsed = yaml.load(document, Loader=_LOADER)  # noqa: S506 - a safe loader
        except yaml.YAMLError as error:
            msg = f"the compose document is not YAML: {error}"
            raise ValueError(msg) from error
    services = parsed.get("services") if isinstance(parsed, dict) else None
    if not isinstance(services, dict):
        msg = "the compose document has no services"
        raise ValueError(msg)
    found = (_expected(str(name), service) for name, service in services.items() if isinstance(service, dict))
    return tuple(sorted((service for service in found if service.replicas), key=lambda service: service.name))


def _expected(name: str, service: dict[str, Any]) -> Expected:
    deploy = service.get("deploy") or {}
    replicas = service.get("scale", deploy.get("replicas", 1))
    if service.get("profiles"):
        replicas = 0
    restart = str(service.get("restart") or "no")
    condition = (deploy.get("restart_policy") or {}).get("condition", "none")
    ends = restart not in RESTARTING_POLICIES and condition != "any"
    image = str(service.get("image") or "")
    return Expected(name, int(replicas) if replicas is not None else 1, ends, image)


def judge(wanted: Sequence[Expected], found: Sequence[Service]) -> Verdict:
    """Compare."""
    down, unhealthy, starting = [], [], []
    for service in wanted:
        states = [_state(service, container) for container in found if container.name == service.name]
        if "unhealthy" in states:
            unhealthy.append(service.name)
        elif "down" in states or states.count("healthy") + states.count("starting") < service.replicas:
            down.append(service.name)
        elif "starting" in states:
            starting.append(service.name)
    bad = len(down) + len(unhealthy) + len(starting)
    return Verdict(tuple(down), tuple(unhealthy), tuple(starting), len(wanted) - bad, len(wanted))


def _state(service: Expected, container: Service) -> str:
    if container.state == "running":
        return {"unhealthy": "unhealthy", "starting": "starting"}.get(container.health, "healthy")
    if container.state == "exited" and service.may_end and container.exit_code == 0:
        return "healthy"
    if container.state in ("restarting", "paused"):
        return "unhealthy"
    return "down"


def statuses(services: Sequence[Service]) -> list[ServiceStatus]:
    """One entry a service; of several containers the worst is shown."""
    worst: dict[str, Service] = {}
    for service in services:
        other = worst.get(service.name)
        if other is None or _badness(service) > _badness(other):
            worst[service.name] = service
    return [
        ServiceStatus(
            name=name,
            image=service.image,
            state=service.state,
            health=None if service.health in ("", "none") else service.health,
            restarts=service.restarts,
        )
        for name, service in sorted(worst.items())
    ]


def _badness(service: Service) -> tuple[bool, bool, bool]:
    return (service.state != "running", service.health == "unhealthy", service.health == "starting")
