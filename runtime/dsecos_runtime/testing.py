"""For tests against a real API server: a process in the test's event loop, a way that can be cut.

async with Gateway(control_plane.kubeconfig, tmp_path) as gateway:
    run = Run(RuntimeSettings(name="operator", kubeconfig=gateway.kubeconfig, clusterwide=True), build)
    await gateway.cut()
    ...
    await gateway.open()
    assert await run.end() == 0
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from dsecos_runtime.controller import Controller
from dsecos_runtime.credentials import Credentials
from dsecos_runtime.runtime import Runtime, run_async
from dsecos_runtime.settings import RuntimeSettings


class Run:
    """A controller process in the present event loop."""

    runtime: Runtime

    def __init__(
        self, settings: RuntimeSettings, build: Callable[[Runtime], Awaitable[Sequence[Controller]]]
    ) -> None:
        self._build = build
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(run_async(settings, self._built, stop=self._stop))

    async def _built(self, runtime: Runtime) -> Sequence[Controller]:
        self.runtime = runtime
        return await self._build(runtime)

    @property
    def ended(self) -> bool:
        """Whether it has ended, by itself or by `end`."""
        return self._task.done()

    async def code(self, within: float = 20.0) -> int:
        """Wait for its end and return the exit code. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            return await asyncio.shield(self._task)

    async def end(self) -> int:
        """Do what SIGTERM does, and return the exit code."""
        self._stop.set()
        return await self.code()


class Gateway:
    """Listens on a free port of 127.0.0.1 without TLS; passes requests on with the administrator's
    credentials.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._credentials = Credentials(kubeconfig)
        self._folder = folder
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._watches: dict[str, list[web.StreamResponse]] = {}
        self.failing = 0
        """Answer every request with this HTTP status; 0: pass it on."""
        self.lists_only = False
        """Let `failing` be for lists and single objects only: watches pass."""
        self.forgetful = False
        """Answer each watch as if its history were gone (410), once."""
        self.requests: list[str] = []
        """Method and path of each request, with `?watch` after a watch."""

    async def __aenter__(self) -> Gateway:
        connector = aiohttp.TCPConnector(ssl=self._credentials.ssl_context(), limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        await self._session.close()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that leads here."""
        document: Any = {
            "current-context": "gateway",
            "clusters": [{"name": "gateway", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "contexts": [{"name": "gateway", "context": {"cluster": "gateway", "user": "test"}}],
            "users": [{"name": "test", "user": {"token": "of-no-matter"}}],
        }
        path = self._folder / "gateway.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    async def open(self) -> None:
        """Listen (again) on the same port."""
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def cut(self) -> None:
        """End all connections and refuse new ones."""
        if self._runner is not None:
            for connection in list(self._runner.server.connections if self._runner.server else ()):
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def inject(self, path: str, event: dict[str, Any]) -> None:
        """Send an event into the watches of a path."""
        for response in self._watches[path]:
            await response.write(json.dumps(event).encode() + b"\n")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watching = request.query.get("watch") == "true"
        self.requests.append(f"{request.method} {request.path}{'?watch' if watching else ''}")
        if self.failing and not (watching and self.lists_only):
            body = {"kind": "Status", "status": "Failure", "code": self.failing, "message": "as told"}
            return web.json_response(body, status=self.failing)
        if watching and self.forgetful:
            self.forgetful = False
            gone = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired"}
            return web.json_response({"type": "ERROR", "object": gone})
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "authorization", "content-length", "accept-encoding")
        }
        url = self._credentials.server + request.raw_path
        data = await request.read() or None
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.request(
            request.method, url, data=data, headers=headers, timeout=timeout
        ) as upstream:
            response = web.StreamResponse(
                status=upstream.status, headers={"Content-Type": "application/json"}
            )
            await response.prepare(request)
            if watching:
                self._watches.setdefault(request.path, []).append(response)
            try:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            except (aiohttp.ClientPayloadError, ConnectionResetError):
                if request.transport is not None:
                    request.transport.abort()
            finally:
                if watching:
                    self._watches[request.path].remove(response)
            return response
