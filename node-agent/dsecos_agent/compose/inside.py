"""Asking a guest's Docker by commands in the guest, where host and guest share nothing: a VM.

Each question is one command: it takes several calls to the engine. What comes back is the same JSON that
Docker's API tells, no more of it than is needed, and is read by the same hands (`services`).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dsecos_agent.adapter_errors import AdapterError, NotFoundError
from dsecos_agent.compose.protocol import (
    PROJECT,
    DockerMissingError,
    DockerUnavailableError,
    GuestUnreachableError,
    InGuest,
    Service,
)
from dsecos_agent.compose.services import (
    LABEL,
    LOG_LIMIT,
    LOOK_TIME,
    MOST_CONTAINERS,
    dict_of,
    service_of,
    word,
)
from dsecos_agent.compose.socket import ANSWER_LIMIT
from dsecos_agent.engines.errors import GuestNotRunningError, GuestSilentError
from dsecos_agent.engines.model import ExecResult
from dsecos_agent.engines.protocol import Engine

INTERVAL = 15.0
"""Seconds between two looks of a watch: no stream of events goes through a guest agent."""

NO_COMMAND = 127
"""Exit code of sh(1) and timeout(1) when there is no such command."""
NO_SERVICE = 44
"""Exit code of `_LOGS` when there is no such service."""

_OURS = f"label={LABEL}.project={PROJECT}"


def _label(name: str) -> str:
    return f'"{LABEL}.{name}":{{{{json (index .Config.Labels "{LABEL}.{name}")}}}}'


FORMAT = (
    '{"container":{"Image":{{json .Config.Image}},"ImageID":{{json .Image}},"State":{{json .State.Status}},'
    f'"Labels":{{{_label("service")},{_label("config-hash")},{_label("oneoff")}}}}},'
    '"details":{"RestartCount":{{json .RestartCount}},"State":{"ExitCode":{{json .State.ExitCode}}'
    '{{if .State.Health}},"Health":{"Status":{{json .State.Health.Status}}}{{end}}}}}'
)
"""One line for each container, for docker-inspect(1)."""

_SERVICES = r"""
set -eu
ids=$(docker ps -aq --no-trunc --filter "$1")
[ -n "$ids" ] || exit 0
printf '%s\n' "$ids" | head -n "$2" | xargs docker inspect --type container --format "$3" ||
    docker ps -q >/dev/null
"""
"""A container may go away between the two: that is no failure while dockerd answers."""

_LOGS = rf"""
set -eu
ids=$(docker ps -aq --no-trunc --filter "$1" --filter "$2" --filter "label={LABEL}.oneoff=False")
[ -n "$ids" ] || exit {NO_SERVICE}
exec docker logs --tail "$3" "$(printf '%s\n' "$ids" | head -n 1)" 2>&1
"""


class Inside:
    """Questions to Docker, through an engine."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is asked yet."""
        self._engine = engine

    async def version(self, where: InGuest) -> str:
        """Of the guest's Docker. Raises DockerUnavailableError."""
        result = await self._ask(where, ["docker", "version", "--format", "{{.Server.Version}}"])
        return word(_well(result).decode(errors="replace"))

    async def services(self, where: InGuest) -> Sequence[Service]:
        """All containers of the project, sorted by name. Raises DockerUnavailableError."""
        argv = ["/bin/sh", "-c", _SERVICES, "sh", _OURS, f"{MOST_CONTAINERS}", FORMAT]
        return services_of(_well(await self._ask(where, argv)))

    async def logs(self, where: InGuest, service: str, tail: int) -> str:
        """Last lines of one service. Raises DockerUnavailableError, NotFoundError."""
        argv = ["/bin/sh", "-c", _LOGS, "sh", _OURS, f"label={LABEL}.service={service}", f"{tail}"]
        result = await self._ask(where, argv, LOG_LIMIT)
        if result.exit_code == NO_SERVICE:
            raise NotFoundError(f"the guest has no service {service}")
        return _well(result, cut=True).decode(errors="replace")

    async def _ask(self, where: InGuest, argv: Sequence[str], limit: int = ANSWER_LIMIT) -> ExecResult:
        try:
            return await self._engine.exec(
                where.guest, where.owner_uid, argv, time_limit=LOOK_TIME, output_limit=limit
            )
        except (GuestSilentError, GuestNotRunningError) as error:
            raise GuestUnreachableError(str(error)) from error
        except AdapterError as error:
            # Whatever it is, the guest may have brought it about, and must not blind us to what is outside.
            raise DockerUnavailableError(f"the guest's Docker cannot be asked: {error}") from error


def services_of(answer: bytes) -> Sequence[Service]:
    """From lines of `FORMAT`. Pure. Raises DockerUnavailableError for what is no JSON."""
    try:
        found = [_line(line) for line in answer.splitlines()[:MOST_CONTAINERS]]
    except (ValueError, RecursionError) as error:
        raise DockerUnavailableError("the guest's Docker answers with what is no JSON") from error
    services = [
        service_of(container, details)
        for container, details in found
        if dict_of(container.get("Labels")).get(f"{LABEL}.oneoff") != "True"
    ]
    return sorted(services, key=lambda service: service.name)


def _line(line: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    told = dict_of(json.loads(line))
    return dict_of(told.get("container")), dict_of(told.get("details"))


def _well(result: ExecResult, *, cut: bool = False) -> bytes:
    """The output of a command that came off; `cut`: its end is enough."""
    if result.exit_code == NO_COMMAND:
        raise DockerMissingError(DockerMissingError.told)
    if result.exit_code != 0:
        raise DockerUnavailableError(f"the guest's Docker does not answer: exit code {result.exit_code}")
    if result.truncated and not cut:
        raise DockerUnavailableError("the guest's Docker answers with more than is read")
    return result.stdout


class LookWatch:
    """Looks every `INTERVAL` and calls back when something has changed since, until closed."""

    def __init__(
        self,
        look: Callable[[], Awaitable[object]],
        callback: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Must be made on the event loop. The first look calls back."""
        self._look = look
        self._callback = callback
        self._sleep = sleep
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def close(self) -> None:
        """End it; twice is fine."""
        self._task.cancel()

    async def _follow(self) -> None:
        before: object = self  # nothing that is seen equals it
        while True:
            try:
                seen = await self._look()
            except AdapterError as error:
                seen = type(error)
            if seen != before:
                before = seen
                self._callback()
            await self._sleep(INTERVAL)
