"""A console over a WebSocket: binary frames are what is typed and shown, a text frame is a new size."""

import asyncio

from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.control.requests import Resize
from dsecos_agent.engines.errors import GuestNotRunningError
from dsecos_agent.engines.protocol import Console

LONGEST_REASON = 123
"""Bytes (RFC 6455, 5.5)."""


async def converse(connection: web.WebSocketResponse, console: Console) -> None:
    """Pass both ways until one side ends. The close frame says how it ended.

    1000: the session has ended, by itself or with its guest; 1001: the agent is stopping; 1008: a frame that
    says nothing we know; 1011: the engine failed.
    """
    shows = asyncio.create_task(_show(connection, console))
    types = asyncio.create_task(_type(connection, console))
    try:
        await asyncio.wait({shows, types}, return_when=asyncio.FIRST_COMPLETED)
        code, why = _how_it_ended(shows, types)
        if not connection.closed:
            await connection.close(code=code, message=why.encode()[:LONGEST_REASON])
    finally:
        for task in (shows, types):
            task.cancel()
        await asyncio.gather(shows, types, return_exceptions=True)


async def _show(connection: web.WebSocketResponse, console: Console) -> None:
    # One frame is sent before the next is read: who reads slowly slows the guest down, not fills our memory.
    while data := await console.read():
        await connection.send_bytes(data)


async def _type(connection: web.WebSocketResponse, console: Console) -> None:
    async for message in connection:
        if message.type is WSMsgType.BINARY:
            await console.write(message.data)
        elif message.type is WSMsgType.TEXT:
            size = Resize.model_validate_json(message.data)
            console.resize(*size.resize)


def _how_it_ended(shows: asyncio.Task[None], types: asyncio.Task[None]) -> tuple[int, str]:
    error = next((task.exception() for task in (types, shows) if task.done() and task.exception()), None)
    if isinstance(error, ValidationError):
        return WSCloseCode.POLICY_VIOLATION, 'a text frame has to be {"resize": [columns, rows]}'
    if error is not None and not isinstance(error, (GuestNotRunningError, ConnectionError)):
        return WSCloseCode.INTERNAL_ERROR, str(error) if isinstance(error, AdapterError) else "internal error"
    return WSCloseCode.OK, "the session has ended"
