"""`Compose` for guests of any engine."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from dsecos_agent.compose import services as looking
from dsecos_agent.compose.classify import blanked, classify
from dsecos_agent.compose.events import EventWatch
from dsecos_agent.compose.inside import Inside, LookWatch
from dsecos_agent.compose.protocol import (
    PROJECT,
    ComposeTimeoutError,
    DockerUnavailableError,
    Service,
    Where,
)
from dsecos_agent.engines.errors import ExecTimeoutError
from dsecos_agent.engines.protocol import Engine, Watch

POLL, INSIDE_POLL = 0.05, 1.0
"""Seconds between two looks for a dockerd that starts; through an engine each takes several calls."""
LOG_LIMIT = 64 * 1024
COMPOSE = ("docker", "compose", "--ansi", "never", "--progress", "plain", "-p", PROJECT)
SLACK = 5.0
"""Seconds before the end of the time limit at which compose itself gives up, so that it can say on what it
waited.
"""


class GuestCompose:
    """Changes through `engine`; looks through the directory that a guest shares with the host, or through
    `engine` too.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is touched yet."""
        self._engine = engine
        self._inside = Inside(engine)
        self._sleep = sleep
        self._clock = clock

    async def wait_ready(self, where: Where, *, time_limit: float) -> str:
        """Poll until dockerd answers; its version. Raises DockerUnavailableError."""
        pause = POLL if isinstance(where, Path) else INSIDE_POLL
        end = self._clock() + time_limit
        while True:
            try:
                if isinstance(where, Path):
                    return await looking.version(where)
                return await self._inside.version(where)
            except DockerUnavailableError:
                if self._clock() + pause > end:
                    raise
            await self._sleep(pause)

    async def up(
        self, guest: str, owner_uid: str, document: str, *, env: Mapping[str, str], time_limit: float
    ) -> None:
        """Make the project what the document says. Raises one of ComposeFailedError's kinds,
        GuestNotRunningError.
        """
        wait = ["--wait", "--wait-timeout", str(max(1, int(time_limit - SLACK)))]
        await self._compose(
            guest,
            owner_uid,
            ["-f", "-", "up", "-d", "--remove-orphans", "--quiet-pull", *wait],
            document=document,
            env=env,
            time_limit=time_limit,
        )

    async def down(self, guest: str, owner_uid: str, *, time_limit: float) -> None:
        """Stop and remove the project's containers. Raises ComposeFailedError, GuestNotRunningError."""
        await self._compose(
            guest, owner_uid, ["down", "--remove-orphans"], document="", env={}, time_limit=time_limit
        )

    async def services(self, where: Where) -> Sequence[Service]:
        """All containers of the project. Raises DockerUnavailableError."""
        if isinstance(where, Path):
            return await looking.services(where)
        return await self._inside.services(where)

    async def logs(self, where: Where, service: str, *, tail: int = 100) -> str:
        """Last lines of one service. Raises DockerUnavailableError, NotFoundError."""
        if isinstance(where, Path):
            return await looking.logs(where, service, tail)
        return await self._inside.logs(where, service, tail)

    def subscribe(self, where: Where, callback: Callable[[], None]) -> Watch:
        """Be told of changes."""
        if isinstance(where, Path):
            return EventWatch(where, callback)
        return LookWatch(lambda: self._inside.services(where), callback, self._sleep)

    async def _compose(
        self,
        guest: str,
        owner_uid: str,
        arguments: list[str],
        *,
        document: str,
        env: Mapping[str, str],
        time_limit: float,
    ) -> None:
        try:
            result = await self._engine.exec(
                guest,
                owner_uid,
                [*COMPOSE, *arguments],
                stdin=document.encode(),
                env=env,
                time_limit=time_limit,
                output_limit=LOG_LIMIT,
            )
        except ExecTimeoutError as error:
            raise ComposeTimeoutError(f"docker compose was still busy after {time_limit:g} s") from error
        if result.exit_code != 0:
            log = (result.stdout + result.stderr).decode(errors="replace")
            raise classify(result.exit_code, blanked(log, list(env.values())))
