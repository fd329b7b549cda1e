"""The guest's Docker Engine API, spoken with somebody who may be hostile (docs.docker.com, Engine API v1.44).

The socket lies in a directory that the guest can write, so it is opened without following links, looked at,
and used through its descriptor. What comes back is limited in bytes and in time, is not unpacked, and is
nothing but data.
"""

import json
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.compose.protocol import DockerUnavailableError

SOCKET = "docker.sock"
API = "/v1.44"
"""Docker 25 and later."""

ANSWER_LIMIT = 1 << 20
"""Bytes of one answer: some hundreds of containers."""

ANSWER_TIME = 10.0
"""Seconds until an answer has to be complete."""


@contextmanager
def opened_socket(shared: Path) -> Iterator[int]:
    """A descriptor of the socket itself. Raises DockerUnavailableError if it is not there or is no socket."""
    try:
        directory = os.open(shared, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            descriptor = os.open(SOCKET, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise DockerUnavailableError(f"no Docker socket: {error.strerror}") from error
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise DockerUnavailableError(f"what the guest has put at {SOCKET} is no socket")
        yield descriptor
    finally:
        os.close(descriptor)


@asynccontextmanager
async def response(
    shared: Path, path: str, query: Mapping[str, str], time_limit: float | None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a GET, its body not read yet. Raises DockerUnavailableError, NotFoundError."""
    with opened_socket(shared) as descriptor:
        connector = aiohttp.UnixConnector(path=f"/proc/self/fd/{descriptor}")
        limits = aiohttp.ClientTimeout(total=time_limit, sock_connect=ANSWER_TIME)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False) as session,
                session.get(f"http://docker{API}{path}", params=query, allow_redirects=False) as answer,
            ):
                if answer.status == 404:
                    raise NotFoundError(f"the guest's Docker does not know {path}")
                if answer.status != 200:
                    raise DockerUnavailableError(
                        f"the guest's Docker answers {path} with status {answer.status}"
                    )
                yield answer
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise DockerUnavailableError(
                f"the guest's Docker does not answer: {type(error).__name__}"
            ) from error


async def get(shared: Path, path: str, query: Mapping[str, str] | None = None) -> bytes:
    """A whole answer. Raises DockerUnavailableError, NotFoundError."""
    async with response(shared, path, query or {}, ANSWER_TIME) as answer:
        found = bytearray()
        async for chunk in answer.content.iter_any():
            found += chunk
            if len(found) > ANSWER_LIMIT:
                raise DockerUnavailableError(
                    f"the guest's Docker answers {path} with more than {ANSWER_LIMIT} bytes"
                )
        return bytes(found)


async def get_json(shared: Path, path: str, query: Mapping[str, str] | None = None) -> Any:
    """A whole answer as JSON. Raises DockerUnavailableError, NotFoundError."""
    try:
        return json.loads(await get(shared, path, query))
    except (ValueError, RecursionError) as error:
        raise DockerUnavailableError(f"the guest's Docker answers {path} with what is no JSON") from error


def filters(**wanted: list[str]) -> str:
    """The `filters` parameter of the API."""
    return json.dumps(wanted)
