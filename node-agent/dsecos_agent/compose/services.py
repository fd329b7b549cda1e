"""What runs in a guest, as its dockerd tells: the project's containers, their health and their last words."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.compose import socket
from dsecos_agent.compose.protocol import PROJECT, DockerUnavailableError, Service

LABEL = "com.docker.compose"
LONGEST = 256
"""Characters of any word that a guest tells us."""

MOST_CONTAINERS = 200
LOOK_TIME = 20.0
"""Seconds for all containers together."""

LOG_LIMIT = 256 * 1024
STATES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
HEALTH = re.compile(r"\((healthy|unhealthy|health: starting)\)")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
STREAM_HEADER = 8
"""Bytes before each piece of a log: stream, three zeros, length (Engine API, ContainerAttach)."""


async def version(shared: Path) -> str:
    """Of the guest's Docker. Raises DockerUnavailableError."""
    return word(dict_of(await socket.get_json(shared, "/version")).get("Version"))


async def services(shared: Path) -> Sequence[Service]:
    """All containers of the project, sorted by name. Raises DockerUnavailableError."""
    try:
        async with asyncio.timeout(LOOK_TIME):
            found = [await _look(shared, container) for container in await _containers(shared)]
    except TimeoutError as error:
        raise DockerUnavailableError(f"the guest's Docker took more than {LOOK_TIME:g} s") from error
    return sorted((service for service in found if service is not None), key=lambda service: service.name)


async def _look(shared: Path, container: dict[str, Any]) -> Service | None:
    try:
        details = await socket.get_json(shared, f"/containers/{_id(container)}/json")
    except NotFoundError:
        return None  # It went away in between; the next look will not list it.
    return service_of(container, dict_of(details))


async def logs(shared: Path, service: str, tail: int) -> str:
    """Last lines of one service. Raises DockerUnavailableError, NotFoundError."""
    for container in await _containers(shared):
        if _labels(container).get(f"{LABEL}.service") == service:
            query = {"stdout": "1", "stderr": "1", "tail": str(tail)}
            raw = await socket.get(shared, f"/containers/{_id(container)}/logs", query)
            return without_headers(raw)[-LOG_LIMIT:].decode(errors="replace")
    raise NotFoundError(f"the guest has no service {service}")


def without_headers(raw: bytes) -> bytes:
    """The pieces of both streams in their order; the log of a container with a terminal has no headers."""
    found, at = bytearray(), 0
    while at + STREAM_HEADER <= len(raw):
        if raw[at] > 2 or raw[at + 1 : at + 4] != b"\0\0\0":
            return raw
        end = at + STREAM_HEADER + int.from_bytes(raw[at + 4 : at + 8], "big")
        found += raw[at + STREAM_HEADER : end]
        at = end
    return bytes(found)


async def _containers(shared: Path) -> list[dict[str, Any]]:
    query = {"all": "1", "filters": socket.filters(label=[f"{LABEL}.project={PROJECT}"])}
    found = await socket.get_json(shared, "/containers/json", query)
    if not isinstance(found, list):
        raise DockerUnavailableError("the guest's Docker does not list its containers")
    containers = [dict_of(container) for container in found[:MOST_CONTAINERS]]
    return [one for one in containers if _labels(one).get(f"{LABEL}.oneoff") != "True"]


def service_of(container: dict[str, Any], details: dict[str, Any]) -> Service:
    """From a container as `/containers/json` lists it, and as `/containers/{id}/json` tells it (the Engine
    API). Whatever these are, it is a Service.
    """
    labels, state = _labels(container), dict_of(details.get("State"))
    code = state.get("ExitCode")
    says = word(container.get("State"))
    return Service(
        name=word(labels.get(f"{LABEL}.service")),
        image=word(container.get("Image")),
        image_id=word(container.get("ImageID")),
        state=says if says in STATES else "dead",
        health=_health(state, container),
        restarts=_count(details.get("RestartCount")),
        exit_code=code if isinstance(code, int) and says in {"exited", "dead"} else None,
        config_hash=word(labels.get(f"{LABEL}.config-hash")),
    )


def _health(state: dict[str, Any], container: dict[str, Any]) -> str:
    told = word(dict_of(state.get("Health")).get("Status"))
    if told in {"starting", "healthy", "unhealthy"}:
        return told
    shown = HEALTH.search(word(container.get("Status")))
    return shown[1].removeprefix("health: ") if shown else "none"


def _id(container: dict[str, Any]) -> str:
    told = container.get("Id")
    if not isinstance(told, str) or not re.fullmatch(r"[0-9a-f]{12,64}", told):
        raise DockerUnavailableError("the guest's Docker names a container strangely")
    return told


def _labels(container: dict[str, Any]) -> dict[str, Any]:
    return dict_of(container.get("Labels"))


def dict_of(value: Any) -> dict[str, Any]:
    """Of JSON; empty for what is none."""
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0


def word(value: Any) -> str:
    """Of JSON, cut and without control characters; empty for what is none."""
    return CONTROL.sub("", value[:LONGEST]) if isinstance(value, str) else ""
