"""The HTTP session that kopf watches through.

It is ours for three things that kopf cannot do: put a rotated token on each request, tell when a list or a
watch begins (a list means that a watch began anew, so deletions may have been missed), and survive a 401 as
it survives any other outage.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus

import aiohttp

from dsecos_runtime.credentials import Credentials


class Phase(Enum):
    """What became of a request."""

    LISTED = auto()
    WATCHING = auto()
    FAILED = auto()


Observer = Callable[[str, Phase, str], None]
"""Called with the path of a request, what became of it, and why it failed."""


class Unauthorized(aiohttp.ClientConnectionError):
    """401 with the token that is on disk: as good as no connection. kopf tries again until it is mended."""


def open_session(credentials: Credentials, observe: Observer) -> aiohttp.ClientSession:
    """A session for kopf; kopf closes it."""

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path = request.url.path
        try:
            response = await authorized(request, handler)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            observe(path, Phase.FAILED, str(error) or repr(error))
            raise
        if response.ok:
            watching = request.url.query.get("watch") == "true"
            observe(path, Phase.WATCHING if watching else Phase.LISTED, "")
        else:
            observe(path, Phase.FAILED, f"HTTP {response.status}")
        return response

    async def authorized(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        for _ in range(2):
            authorization = credentials.authorization()
            if authorization is not None:
                request.headers["Authorization"] = authorization
            response = await handler(request)
            if response.status != HTTPStatus.UNAUTHORIZED:
                return response
            response.close()
            credentials.reload()
        raise Unauthorized(f"HTTP 401 with the token of {credentials}")

    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.ssl_context())
    return aiohttp.ClientSession(connector=connector, middlewares=(middleware,))
