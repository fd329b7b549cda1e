"""The node's agent, asked on the machine itself: running a command in a guest, and its console.

The agent listens on a Unix socket that root alone may open. Errors are problem documents (RFC 9457).
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dsecos_cli.errors import CliError, NotFoundError, UnreachableError, UsageError

if TYPE_CHECKING:
    from websocket import WebSocket

CONNECT_TIMEOUT = 5.0
"""Seconds; the other side is on this machine."""
SLACK = 30.0
"""Seconds that an answer may take beyond the command's own time."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended. `truncated`: there was more output than the agent passes on."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool


class Agent:
    """The agent behind a socket. Every method raises CliError's subclasses only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def execute(
        self,
        guest: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        stdin: bytes,
        time_limit: float,
    ) -> Finished:
        """Run a command in the guest, as its root; it is ended after `time_limit` seconds."""
        body = {
            "argv": list(argv),
            "env": dict(env),
            "stdin": base64.b64encode(stdin).decode(),
            "timeLimit": time_limit,
        }
        status, raw = self._post(f"/v1/guests/{quote(guest)}/exec", body, time_limit + SLACK)
        if status != HTTPStatus.OK:
            raise problem(status, raw)
        try:
            answer = json.loads(raw)
            return Finished(
                int(answer["exitCode"]),
                base64.b64decode(answer["stdout"], validate=True),
                base64.b64decode(answer["stderr"], validate=True),
                bool(answer["truncated"]),
            )
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise CliError("the agent's answer is not understood", _VERSIONS) from error

    def console(self, guest: str, columns: int, rows: int) -> WebSocket:
        """Open the guest's console: binary frames are what is typed and shown."""
        import websocket  # noqa: PLC0415 - only the console needs it

        connection = websocket.WebSocket(skip_utf8_validation=True)
        url = f"ws://localhost/v1/guests/{quote(guest)}/console?columns={columns}&rows={rows}"
        try:
            connection.connect(  # type: ignore[no-untyped-call]
                url, socket=self._connect(), suppress_origin=True
            )
        except websocket.WebSocketBadStatusException as error:
            raise problem(error.status_code, error.resp_body or b"") from error
        except (websocket.WebSocketException, OSError) as error:
            raise self._lost(error) from error
        connection.settimeout(None)
        return connection

    def _post(self, path: str, body: Mapping[str, object], timeout: float) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = self._connect()
        connection.sock.settimeout(timeout)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise UnreachableError(
                f"the agent gave no answer within {timeout:.0f} s", "Its log says why (docs/operate.md)."
            ) from error
        except (http.client.HTTPException, OSError) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CONNECT_TIMEOUT)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise UnreachableError(
                f"this node's agent does not answer at {self._path}: {error.strerror or error}",
                "Is it running? `make status` tells; `make up` starts it.",
            ) from error
        return connection

    def _lost(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"the agent at {self._path} hung up: {error}", "Its log says why (docs/operate.md)."
        )


_VERSIONS = "Are agent and command of the same version? `make up` brings both up to date."


def problem(status: int, raw: bytes) -> CliError:
    """The error for a problem document of the agent."""
    try:
        document = json.loads(raw)
        message = str(document.get("detail") or document.get("title") or "")
    except (ValueError, AttributeError):
        message = ""
    message = message or f"the agent answered {status}"
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(message, "`dsecos guests` shows what there is.")
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        return UsageError(message)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE):
        return UnreachableError(message)
    return CliError(message)
