"""One HTTP request to the API server: authenticated, bounded in time, counted, with errors by type.

lightkube's client brings the connection pool and TLS; the token is put on each request here, because it may
have been rotated since the last one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator, Mapping
from typing import Any

import httpx2
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.generic_client import BasicRequest, GenericAsyncClient

from dsecos_runtime import metrics
from dsecos_runtime.credentials import Credentials
from dsecos_runtime.errors import Unavailable, from_response

METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "replace": "PUT",
    "apply": "PATCH",
    "patch": "PATCH",
    "delete": "DELETE",
}
READS = frozenset({"get", "list"})


class TokenAuth(httpx2.Auth):
    """Puts the present token on each request, and tries once more with a re-read one after 401."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """See httpx2.Auth."""
        self._authorize(request)
        response = yield request
        if response.status_code == 401 and self._credentials.reload():
            self._authorize(request)
            yield request

    def _authorize(self, request: httpx2.Request) -> None:
        authorization = self._credentials.authorization()
        if authorization is not None:
            request.headers["Authorization"] = authorization


class Transport(GenericAsyncClient):
    """Sends requests and gives back the parsed answer."""

    def __init__(self, credentials: Credentials, timeout: float) -> None:
        """`timeout`: seconds that one request may take in all."""

        def adapter(config: SingleConfig, conn_parameters: ConnectionParams) -> httpx2.AsyncClient:
            return httpx2.AsyncClient(
                **{**conn_parameters.httpx_params(config), "auth": TokenAuth(credentials)}
            )

        self.AdapterClient = adapter
        self.timeout = timeout
        super().__init__(
            ConnectionParams(timeout=httpx2.Timeout(timeout), trust_env=False), credentials.config
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self,
        verb: str,
        path: str,
        *,
        kind: str,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """The JSON object that the server answers with. Raises ClusterError's subclasses.

        `verb` is one of METHODS; `kind` and it are the labels under which the call is counted. `seconds`
        shortens the client's timeout.
        """
        request = BasicRequest(
            METHODS[verb], path, params=dict(params or {}), data=body, headers={"Content-Type": content_type}
        )
        what = f"{verb} {path}"
        try:
            async with asyncio.timeout(min(self.timeout, seconds or self.timeout)):
                response = await self._client.send(self.build_adapter_request(request))
        except TimeoutError as error:
            metrics.REQUESTS.labels(kind, verb, "timeout").inc()
            raise Unavailable(f"{what}: no answer in time", reason="Timeout") from error
        except (httpx2.HTTPError, OSError) as error:
            metrics.REQUESTS.labels(kind, verb, "connection").inc()
            raise Unavailable(f"{what}: {error!r}", reason="ConnectionFailed") from error
        metrics.REQUESTS.labels(kind, verb, str(response.status_code)).inc()
        answer = _parse(response.content)
        if response.status_code >= 400:
            raise from_response(response.status_code, answer, response.headers.get("Retry-After"), what)
        if verb not in READS:
            metrics.WRITES.labels(kind, verb).inc()
        return answer


def _parse(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {"message": content[:256].decode(errors="replace")}
    return found if isinstance(found, dict) else {}
