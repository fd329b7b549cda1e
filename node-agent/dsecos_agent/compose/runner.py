"""`Compose` for guests of any engine."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dsecos_agent.compose import services as looking
from dsecos_agent.compose.classify import blanked, classify
from dsecos_agent.compose.events import EventWatch
from dsecos_agent.compose.protocol import PROJECT, ComposeTimeoutError, DockerUnavailableError, Service
from dsecos_agent.engines.errors import ExecTimeoutError
from dsecos_agent.engines.protocol import Engine, Watch

POLL = 0.05
LOG_LIMIT = 64 * 1024
COMPOSE = ("docker", "compose", "--ansi", "never", "--progress", "plain", "-p", PROJECT)
SLACK = 5.0
"""Seconds before the end of the time limit at which compose itself gives up, so that it can say on what it
waited.
"""


class GuestCompose:
    """Changes through `engine`, looks through the directory that a guest shares with the host."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is touched yet."""
        self._engine = engine

    async def wait_ready(self, shared: Path, *, time_limit: float) -> str:
        """Poll until dockerd answers; its version. Raises DockerUnavailableError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + time_limit
        while True:
            try:
                return await looking.version(shared)
            except DockerUnavailableError:
                if loop.time() + POLL > end:
                    raise
            await asyncio.sleep(POLL)

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

    async def services(self, shared: Path) -> Sequence[Service]:
        """All containers of the project. Raises DockerUnavailableError."""
        return await looking.services(shared)

    async def logs(self, shared: Path, service: str, *, tail: int = 100) -> str:
        """Last lines of one service. Raises DockerUnavailableError, NotFoundError."""
        return await looking.logs(shared, service, tail)

    def subscribe(self, shared: Path, callback: Callable[[], None]) -> Watch:
        """Be told of changes."""
        return EventWatch(shared, callback)

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
