"""The operator's end of the sandboxed renderer: kept ready, bounded in time, replaced when it hangs."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from dsecos_api import Reason

from dsecos_operator.rendering import loader
from dsecos_operator.rendering.confinement import Confinement, command
from dsecos_operator.rendering.limits import LENGTH, MAX_ANSWER
from dsecos_operator.rendering.refused import Refused, shown

STAGE_SECONDS = 10.0
"""Wall time of a request. Processor time is bounded inside, where the machine's load does not count."""
START_SECONDS = 20.0


class Worker:
    """One request at a time; others wait for their turn. `close()` at the end."""

    def __init__(self, binary: Path, confinement: Confinement = Confinement.BUBBLEWRAP) -> None:
        self._binary = binary
        self._confinement = confinement
        self._process: asyncio.subprocess.Process | None = None
        self._bound: tuple[int, int] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request of `zygote`. Raises Refused."""
        stage = request["stage"]
        if stage == "compose" and not self._binary.is_file():
            raise loader.missing(str(self._binary))
        async with self._turn:
            process = await self._running()
            try:
                answer = await asyncio.wait_for(self._exchange(process, request), STAGE_SECONDS)
            except TimeoutError as error:
                await self._kill()
                message = f"the {stage} stage did not end within {STAGE_SECONDS:g} s"
                raise Refused(Reason.RENDER_LIMIT_EXCEEDED, message, stalled=False) from error
            except (OSError, EOFError, ValueError, asyncio.CancelledError):
                await self._kill()
                raise
        refused = answer.get("refused")
        if refused is not None:
            raise Refused(Reason(refused["reason"]), refused["message"])
        return answer

    async def warm(self) -> None:
        """Start the process ahead of the first request: that takes half a second. Raises Refused."""
        async with self._turn:
            await self._running()

    async def close(self) -> None:
        """End the process."""
        await self._kill()

    async def _running(self) -> asyncio.subprocess.Process:
        found = _identity(self._binary)
        if self._process is not None and self._process.returncode is None and self._bound == found:
            return self._process
        await self._kill()
        self._bound = found
        arguments = command(self._confinement, self._binary, "dsecos_operator.rendering.zygote")
        program = shutil.which(arguments[0])
        if program is None:
            raise self._unconfinable(f"{arguments[0]} is not installed")
        self._process = process = await asyncio.create_subprocess_exec(
            program,
            *arguments[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            limit=MAX_ANSWER,
        )
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both are pipes
        try:
            await asyncio.wait_for(process.stdout.readexactly(LENGTH.size), START_SECONDS)
        except (asyncio.IncompleteReadError, TimeoutError) as error:
            await self._kill()
            raise self._unconfinable(
                shown((await process.stderr.read(4096)).decode(errors="replace"))
            ) from error
        return process

    async def _exchange(self, process: asyncio.subprocess.Process, request: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
        message = json.dumps(request).encode()
        process.stdin.write(LENGTH.pack(len(message)) + message)
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        if length > MAX_ANSWER:
            raise ValueError(f"the renderer answers with {length} bytes")
        answer: dict[str, Any] = json.loads(await process.stdout.readexactly(length))
        return answer

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    def _unconfinable(self, why: str) -> Refused:
        return Refused(
            Reason.COMPOSE_LOADER_MISSING,
            f"the renderer's sandbox does not start: {why}; install bubblewrap and let users make user"
            " namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone), or accept a renderer"
            " that is not confined with DSECOS_RENDERER_CONFINEMENT=none",
            stalled=False,
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is, so that the sandbox is made anew around a program that was installed or replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
