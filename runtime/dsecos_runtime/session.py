"""The HTTP session that kopf watches through.

It is ours for three things that kopf cannot do: put a rotated token on each request, tell when a list or a
watch begins (a list means that a watch began anew, so deletions may have been missed), and survive a 401 as
it survives any other outage.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import aiohttp

from dsecos_runtime.credentials import Credentials

Observer = Callable[[str, bool], None]
"""Called with the path of a GET request and whether it is a watch: at its begin for a watch, at its end for a
list.
"""


class Unauthorized(aiohttp.ClientConnectionError):
    """401 with the token that is on disk: as good as no connection. kopf tries again until it is mended."""


def open_session(credentials: Credentials, observe: Observer) -> aiohttp.ClientSession:
    """A session for kopf; kopf closes it."""

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        watching = request.url.query.get("watch") == "true"
        if watching:
            observe(request.url.path, True)
        response = await send(request, handler)
        if response.status == HTTPStatus.UNAUTHORIZED:
            response.close()
            credentials.reload()
            response = await send(request, handler)
            if response.status == HTTPStatus.UNAUTHORIZED:
                response.close()
                raise Unauthorized(f"{request.url.path}: 401 with the token of {credentials}")
        if not watching and response.ok:
            observe(request.url.path, False)
        return response

    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        authorization = credentials.authorization()
        if authorization is not None:
            request.headers["Authorization"] = authorization
        return await handler(request)

    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.ssl_context())
    return aiohttp.ClientSession(connector=connector, middlewares=(middleware,))
