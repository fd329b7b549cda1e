"""The Unix socket on which the agent answers root of this node.

    POST /v1/guests/{guest}/exec       {"argv", "env", "stdin", "timeLimit"}
                                       -> {"exitCode", "stdout", "stderr", "truncated"}
    GET  /v1/guests/{guest}/console    WebSocket, ?columns=80&rows=24; see `terminal`
    GET  /v1/guests/{guest}/metrics

stdin, stdout and stderr are in base64, the time limit is in seconds. Errors are problem documents.

Only root may connect: by the socket's mode and by the peer's credentials (unix(7)), should somebody have
handed a descriptor on. A command whose caller hangs up is killed.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from aiohttp import WSCloseCode, web
from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import AdapterError, UnsupportedError
from dsecos_agent.control import problems, requests
from dsecos_agent.control.problems import ProblemError
from dsecos_agent.control.terminal import converse
from dsecos_agent.engines.protocol import Engine

OwnerOf = Callable[[str], str | None]
"""The owner's UID of a Guest of this name; None: there is no such Guest."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MODE = 0o600
LARGEST_BODY = 8 << 20
LARGEST_OUTPUT = 1 << 20
"""Bytes of each of stdout and stderr that are answered; the tail is kept."""
LARGEST_FRAME = 64 << 10
MOST_SESSIONS = 32
"""Commands and consoles at once."""
HEARTBEAT = 30.0
"""Seconds between two pings of a console: who is gone without a word is noticed."""


class ControlSocket:
    """Listens at `path` between `start` and `close`."""

    def __init__(
        self, path: Path, engine: Engine, owner_of: OwnerOf, *, sessions: int = MOST_SESSIONS
    ) -> None:
        """Nothing is touched before `start`."""
        self._path = path
        self._engine = engine
        self._owner_of = owner_of
        self._most = sessions
        self._sessions = 0
        self._consoles: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self._inode: int | None = None

    async def start(self) -> None:
        """Listen; what a crash left at the path is replaced. Raises UnsupportedError when somebody else
        listens there, or when the path cannot be a socket's.
        """
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_answer_problems, _let_root_in])
        app.router.add_post("/v1/guests/{guest}/exec", self._exec)
        app.router.add_get("/v1/guests/{guest}/console", self._console)
        app.router.add_get("/v1/guests/{guest}/metrics", self._metrics)
        app.on_shutdown.append(self._hang_up)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        listening = self._bind()
        self._inode = self._path.stat().st_ino
        await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Hang up and remove the socket. Twice is fine."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        with contextlib.suppress(FileNotFoundError):
            if self._inode is not None and self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self._inode = None

    def _bind(self) -> socket.socket:
        with socket.socket(socket.AF_UNIX) as probe:
            if self._path.is_socket() and probe.connect_ex(str(self._path)) == 0:
                raise UnsupportedError(f"another agent listens at {self._path}")
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        try:
            # Before bind: the file has this mode from its first moment.
            os.fchmod(listening.fileno(), MODE)
            listening.bind(str(self._path))
        except OSError as error:
            listening.close()
            raise UnsupportedError(f"cannot listen at {self._path}: {error.strerror or error}") from error
        return listening

    # What is asked

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        guest, owner_uid = self._guest(request)
        asked = requests.parse_exec(await request.read())
        async with self._session():
            # Of the command its name only: what follows may be secret.
            get_logger().info("exec in a guest", guest=guest, command=asked.argv[0])
            result = await self._engine.exec(
                guest,
                owner_uid,
                asked.argv,
                stdin=asked.stdin,
                env=asked.env,
                time_limit=asked.time_limit,
                output_limit=LARGEST_OUTPUT,
            )
        return web.json_response(requests.exec_answer(result))

    async def _console(self, request: web.Request) -> web.StreamResponse:
        guest, owner_uid = self._guest(request)
        size = requests.parse_size(request.query)
        connection = web.WebSocketResponse(max_msg_size=LARGEST_FRAME, heartbeat=HEARTBEAT)
        if not connection.can_prepare(request).ok:
            raise ProblemError(HTTPStatus.UPGRADE_REQUIRED, "a console is a WebSocket")
        async with self._session():
            get_logger().info("console of a guest", guest=guest)
            console = await self._engine.console(guest, owner_uid, columns=size.columns, rows=size.rows)
            try:
                await connection.prepare(request)
                self._consoles.add(connection)
                await converse(connection, console)
            finally:
                self._consoles.discard(connection)
                await console.close()
        return connection

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        guest, _ = self._guest(request)
        return web.json_response(requests.metrics_answer(await self._engine.metrics(guest)))

    def _guest(self, request: web.Request) -> tuple[str, str]:
        guest = request.match_info["guest"]
        owner_uid = self._owner_of(guest)
        if owner_uid is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, f"this node has no Guest {guest!r}")
        return guest, owner_uid

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        if self._sessions >= self._most:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._most} commands and consoles are open already; try again when one has ended",
            )
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1

    async def _hang_up(self, _: web.Application) -> None:
        stopping = [
            console.close(code=WSCloseCode.GOING_AWAY, message=b"the agent is stopping")
            for console in self._consoles
        ]
        await asyncio.gather(*stopping, return_exceptions=True)


@web.middleware
async def _answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ProblemError as error:
        return problems.response(error.status, str(error), error.errors)
    except AdapterError as error:
        return problems.response(problems.status_of(error), str(error))
    except web.HTTPException as error:
        return problems.response(HTTPStatus(error.status), error.text or error.reason)
    except Exception:  # noqa: BLE001 - whatever it is, the caller gets a document and the log the trace
        get_logger().exception("a request on the socket failed", path=request.path)
        return problems.response(HTTPStatus.INTERNAL_SERVER_ERROR, "the agent failed; its log says why")


@web.middleware
async def _let_root_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None or _uid_of(connection) != 0:
        raise ProblemError(HTTPStatus.FORBIDDEN, "only root of this node may ask")
    return await handler(request)


def _uid_of(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
