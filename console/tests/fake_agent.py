"""An agent's socket that keeps its contract: commands run on this machine, the console is an echo."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

GUEST = "shop-12345678"


def problem(status: int, title: str, detail: str) -> web.Response:
    """A problem document (RFC 9457)."""
    body = json.dumps({"title": title, "detail": detail, "status": status})
    return web.Response(status=status, text=body, content_type="application/problem+json")


@dataclass
class FakeAgent:
    """Remembers what it was asked; `limit` is how much output it passes on, in bytes."""

    limit: int = 1_048_576
    requests: list[Any] = field(default_factory=list)

    async def execute(self, request: web.Request) -> web.Response:
        """Run the command here."""
        if request.match_info["guest"] != GUEST:
            return problem(404, "No such guest", f"this node has no guest {request.match_info['guest']}")
        body = await request.json()
        self.requests.append(body)
        process = await asyncio.create_subprocess_exec(
            *body["argv"],
            env=body["env"],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            given = base64.b64decode(body["stdin"])
            stdout, stderr = await asyncio.wait_for(process.communicate(given), body["timeLimit"])
        except TimeoutError:
            process.kill()
            await process.wait()
            return problem(504, "Time over", f"the command did not end within {body['timeLimit']:g} s")
        return web.json_response(
            {
                "exitCode": process.returncode,
                "stdout": base64.b64encode(stdout[: self.limit]).decode(),
                "stderr": base64.b64encode(stderr[: self.limit]).decode(),
                "truncated": len(stdout) > self.limit or len(stderr) > self.limit,
            }
        )

    async def console(self, request: web.Request) -> web.StreamResponse:
        """Say the size, then what is typed in capitals; `q` ends it."""
        if request.match_info["guest"] != GUEST:
            return problem(404, "No such guest", f"this node has no guest {request.match_info['guest']}")
        session = web.WebSocketResponse()
        await session.prepare(request)
        await session.ping()
        await session.send_bytes("size {columns}x{rows}\r\n".format(**request.query).encode())
        async for message in session:
            if message.type is WSMsgType.TEXT:
                columns, rows = message.json()["resize"]
                await session.send_bytes(f"size {columns}x{rows}\r\n".encode())
            elif message.data == b"q":
                await session.close(code=WSCloseCode.OK, message=b"the session has ended")
            else:
                await session.send_bytes(message.data.upper())
        self.requests.append("console closed")
        return session


@contextlib.contextmanager
def serving(agent: FakeAgent, path: Path) -> Iterator[None]:
    """Listen at the path."""
    path.parent.mkdir(parents=True)
    loop = asyncio.new_event_loop()
    # A command's end is told to the thread that waits for it, whatever loop the main thread has.
    thread = Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/guests/{guest}/exec", agent.execute)
        app.router.add_get("/v1/guests/{guest}/console", agent.console)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(70)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
