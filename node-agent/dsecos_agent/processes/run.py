"""Run one program to its end.

What asyncio leaves open is decided here: output beyond a limit is read and dropped (a hostile program cannot
fill our memory, nor block on a full pipe), a grandchild that keeps a pipe open does not keep us waiting, and
whoever is cancelled or out of time kills the whole process group and reaps its child before going on.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.adapter_errors import AdapterError, RetryableError, UnsupportedError

DEFAULT_OUTPUT_LIMIT = 64 * 1024
"""Bytes kept of each stream: its end, because that is where tools say why they failed."""

PIPE_GRACE = 0.25
"""Seconds that we go on reading after the program has ended, for what is still in its pipes."""


class ToolMissingError(UnsupportedError):
    """The program is not installed."""


class ToolFailedError(AdapterError):
    """The program ended with an error; `stderr` is the end of what it said."""

    def __init__(self, program: str, result: "ProcessResult") -> None:
        """Name the program only: arguments may be long, and the caller knows them."""
        said = result.text_err().strip() or result.text().strip()
        super().__init__(f"{program} failed with exit code {result.exit_code}: {said[-500:]}")
        self.result = result


class ToolTimeoutError(RetryableError):
    """The program was still running when its time was over, and was killed."""


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How a program ended."""

    exit_code: int
    """128 + n when signal n ended it."""
    stdout: bytes
    stderr: bytes
    truncated: bool

    def text(self) -> str:
        """Standard output as text; what is no UTF-8 is replaced."""
        return self.stdout.decode(errors="replace")

    def text_err(self) -> str:
        """Standard error as text."""
        return self.stderr.decode(errors="replace")


class _Pipe(asyncio.Protocol):
    """Knows when its pipe has been closed."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is an end
        if not self.ended.done():
            self.ended.set_result(None)


class _Tail(_Pipe):
    """Keeps the last `limit` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._data = bytearray()
        self.truncated = False

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._limit:
            del self._data[: len(self._data) - self._limit]
            self.truncated = True

    def bytes(self) -> bytes:
        return bytes(self._data)


def _spawn(argv: Sequence[str | Path], stdin: int, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    # asyncio's own subprocess waits until every holder of a pipe is gone, also a daemon that the program
    # left.
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise ToolMissingError(f"{argv[0]} cannot be run: {error.strerror}") from error


async def ended(pidfd: int) -> None:
    """Wait until the process behind the descriptor is dead."""
    loop = asyncio.get_running_loop()
    dead = asyncio.Event()
    loop.add_reader(pidfd, dead.set)
    try:
        await dead.wait()
    finally:
        loop.remove_reader(pidfd)


async def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    time_limit: float,
    output_limit: int = DEFAULT_OUTPUT_LIMIT,
) -> ProcessResult:
    """Run `argv` in a process group of its own and wait for its end, at most `time_limit` seconds.

    `env` replaces the whole environment. Raises ToolMissingError, ToolTimeoutError; an exit code is a result,
    not an error.
    """
    loop = asyncio.get_running_loop()
    out, err = _Tail(output_limit), _Tail(output_limit)
    process = _spawn(argv, subprocess.DEVNULL if stdin is None else subprocess.PIPE, env)
    pidfd = os.pidfd_open(process.pid)
    pipes: list[tuple[asyncio.BaseTransport, _Pipe]] = []
    try:
        pipes.append(await loop.connect_read_pipe(lambda: out, process.stdout))
        pipes.append(await loop.connect_read_pipe(lambda: err, process.stderr))
        if stdin is not None:
            writer, given = await loop.connect_write_pipe(_Pipe, process.stdin)
            pipes.append((writer, given))
            writer.write(stdin)
            writer.write_eof()
        await asyncio.wait_for(ended(pidfd), time_limit)
        await asyncio.wait([out.ended, err.ended], timeout=PIPE_GRACE)
    except TimeoutError as error:
        raise ToolTimeoutError(f"{argv[0]} did not end within {time_limit:g} s and was killed") from error
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(ended(pidfd))
        code = process.wait()
        os.close(pidfd)
        for transport, protocol in pipes:
            if not protocol.ended.done():
                transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
    return ProcessResult(
        exit_code=code if code >= 0 else 128 - code,
        stdout=out.bytes(),
        stderr=err.bytes(),
        truncated=out.truncated or err.truncated,
    )


async def check(
    argv: Sequence[str | Path],
    *,
    time_limit: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> ProcessResult:
    """Like `run`, but an exit code other than 0 raises ToolFailedError."""
    result = await run(argv, time_limit=time_limit, stdin=stdin, env=env)
    if result.exit_code != 0:
        raise ToolFailedError(Path(argv[0]).name, result)
    return result
