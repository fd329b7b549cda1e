"""The real API server, as seen from a network namespace: what arrives in there is passed on out here."""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import yaml
from dsecos_control_plane.testing import ControlPlane

T = TypeVar("T")


class Tunnel:
    """Begin it before the test enters its namespace: its thread stays where it was begun."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._executor = ThreadPoolExecutor(1)
        self.outside(lambda: None)  # a thread is where it was begun

    def listen(self, at: socket.socket) -> Callable[[], None]:
        """Pass on what connects to a listening socket, wherever that is, until the answer is called."""
        begin = asyncio.start_server(self._pass_on, sock=at)
        server = asyncio.run_coroutine_threadsafe(begin, self._loop).result(30)

        async def end() -> None:
            server.close()

        return lambda: asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)

    def kubeconfig(self, server: str, path: Path) -> Path:
        """The administrator's, for that address: its certificate names another one."""
        document = yaml.safe_load(self.plane.kubeconfig.read_text())
        for each in document["clusters"]:
            each["cluster"] = {"server": server, "insecure-skip-tls-verify": True}
        path.write_text(yaml.safe_dump(document))
        return path

    def outside(self, call: Callable[[], T]) -> T:
        """Have something done out here."""
        return self._executor.submit(call).result(120)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._executor.shutdown()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self.plane.settings.api_port)
        await asyncio.gather(_copy(reader, here), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
