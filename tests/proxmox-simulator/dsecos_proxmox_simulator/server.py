"""HTTPS on a loop in a thread of its own, so that tests talk to it as to a real node."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import threading
from concurrent.futures import Future
from http.cookies import SimpleCookie

from aiohttp import web

from dsecos_proxmox_simulator.certificates import Certificate
from dsecos_proxmox_simulator.cluster import Cluster, Credentials, Reply
from dsecos_proxmox_simulator.faults import ConnectionDroppedError
from dsecos_proxmox_simulator.storages import UPLOADED

PREFIX = "/api2/json"
MAX_BODY = 64 << 20


class Server:
    """The HTTPS side of a cluster."""

    def __init__(self, cluster: Cluster, certificate: Certificate) -> None:
        self._cluster = cluster
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.load_into(self._context)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None

    def show(self, certificate: Certificate) -> None:
        """Another certificate from the next connection on."""
        certificate.load_into(self._context)

    def start(self, host: str, port: int) -> int:
        """Listen, and return the port. 0 takes a free one."""
        ready: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(host, port, ready)), name="proxmox-simulator", daemon=True
        )
        self._thread.start()
        return ready.result(timeout=10)

    def stop(self) -> None:
        """Cancel all tasks and close all connections."""
        if self._loop and self._end and self._thread:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(timeout=10)

    async def _serve(self, host: str, port: int, ready: Future[int]) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._cluster.tasks.run_on(self._loop)
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{tail:.*}", self._request)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        try:
            await runner.setup()
            site = web.TCPSite(runner, host, port, ssl_context=self._context)
            await site.start()
            ready.set_result(runner.addresses[0][1])
        except OSError as error:
            ready.set_exception(error)
            await runner.cleanup()
            return
        await self._end.wait()
        await self._cluster.tasks.stop()
        await runner.cleanup()

    async def _request(self, request: web.Request) -> web.StreamResponse:
        if not request.rel_url.raw_path.startswith(PREFIX):
            return web.Response(status=404, reason="File not found")
        given = await parameters_of(request)
        cookies: SimpleCookie = SimpleCookie(request.headers.get("Cookie", ""))
        ticket = cookies["PVEAuthCookie"].value if "PVEAuthCookie" in cookies else ""
        credentials = Credentials(
            request.headers.get("Authorization", ""), ticket, request.headers.get("CSRFPreventionToken")
        )
        path = request.rel_url.raw_path.removeprefix(PREFIX).rstrip("/") or "/"
        try:
            reply = self._cluster.handle(request.method, path, given, credentials)
        except ConnectionDroppedError:
            if request.transport:
                request.transport.abort()
            return web.Response()
        except Exception as error:
            self._cluster.tasks.bugs.append(error)
            raise
        return to_response(reply)


async def parameters_of(request: web.Request) -> dict[str, object]:
    """Query, form, multipart or JSON; a repeated key is a list. Of a file: name, size and digest."""
    pairs: list[tuple[str, object]] = list(request.query.items())
    if request.content_type == "application/json" and request.can_read_body:
        body = await request.json()
        pairs += list(body.items()) if isinstance(body, dict) else []
    elif request.method != "GET" and request.can_read_body:
        for key, posted in (await request.post()).items():
            if isinstance(posted, web.FileField):
                content = posted.file.read()
                digest = hashlib.sha256(content).hexdigest()
                pairs += [("filename", posted.filename), (UPLOADED, f"{len(content)}:{digest}")]
            else:
                pairs.append((key, posted))
    found: dict[str, object] = {}
    for name, value in pairs:
        earlier = found.get(name)
        if name not in found:
            found[name] = value
        elif isinstance(earlier, list):
            earlier.append(value)
        else:
            found[name] = [earlier, value]
    return found


def to_response(reply: Reply) -> web.Response:
    """The answer as HTTP: Proxmox's words in the status line."""
    if reply.body is None:
        return web.Response(status=reply.status, reason=reply.reason)
    return web.Response(
        status=reply.status,
        reason=reply.reason,
        text=json.dumps(reply.body),
        content_type="application/json",
    )
