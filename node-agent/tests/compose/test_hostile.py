"""A guest that does what it likes with the directory that it shares and with the answers that it gives."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dsecos_agent.compose import services
from dsecos_agent.compose import socket as guest_socket
from dsecos_agent.compose.events import EventWatch
from dsecos_agent.compose.protocol import DockerUnavailableError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
ONE = b'[{"Id": "0123456789ab", "Labels": {"com.docker.compose.service": "web"}, "State": "running"}]'


@asynccontextmanager
async def guest(
    shared: Path, answer: Callable[[asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[None]:
    """A guest whose Docker is of its own making."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, shared / "docker.sock")
    async with server:
        yield


def says(*pieces: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.writelines(pieces)

    return answer


async def test_a_link_to_a_socket_of_the_host_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "host.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(secret))
        server.listen()
        shared = tmp_path / "shared"
        shared.mkdir()
        (shared / "docker.sock").symlink_to(secret)
        with pytest.raises(DockerUnavailableError):
            await services.version(shared)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        moved = tmp_path / "moved"
        moved.symlink_to(shared)
        with pytest.raises(DockerUnavailableError):
            await services.version(moved)


async def test_what_is_no_socket_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(DockerUnavailableError):
        await services.version(tmp_path)
    await asyncio.to_thread(os.mkfifo, tmp_path / "docker.sock")
    with pytest.raises(DockerUnavailableError):
        await services.version(tmp_path)  # opening a FIFO would block for ever


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no http at all",
        b"HTTP/1.1 500 Oh\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n",
        HEAD + b"no json",
        HEAD + b"{}",
        HEAD + b'"text"',
        HEAD + b"[" * 100_000,
        HEAD + b'[{"Id": "../../x", "Labels": {"com.docker.compose.service": "web"}}]',
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n[]",
    ],
)
async def test_answers_that_are_none(tmp_path: Path, answer: bytes) -> None:
    async with guest(tmp_path, says(answer)):
        with pytest.raises(DockerUnavailableError):
            await services.services(tmp_path)


@pytest.mark.parametrize(
    "entry", [b"null", b"7", b'{"Id": "0123456789ab", "Labels": 7, "State": {}}', b'{"Id": "0123456789ab"}']
)
async def test_strange_entries_do_no_harm(tmp_path: Path, entry: bytes) -> None:
    async with guest(tmp_path, says(HEAD + b"[" + entry + b"]")):
        try:
            found = await services.services(tmp_path)
        except DockerUnavailableError:
            return
        assert all(service.name == "" and service.state == "dead" for service in found)


async def test_an_endless_answer_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with guest(tmp_path, endless):
        with pytest.raises(DockerUnavailableError, match="more than"):
            await services.services(tmp_path)


async def test_a_trickle_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_socket, "ANSWER_TIME", 0.5)

    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with guest(tmp_path, trickle):
        with pytest.raises(DockerUnavailableError):
            await services.services(tmp_path)


async def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + b"\x1f\x8b\x08" + b"\0" * 1000
    async with guest(tmp_path, says(bomb)):
        with pytest.raises(DockerUnavailableError):
            await services.services(tmp_path)


async def test_words_are_cut_and_cleaned(tmp_path: Path) -> None:
    long = (
        b'{"Id": "0123456789ab", "Labels": {"com.docker.compose.service": "w\\u001b[31m'
        + b"x" * 1000
        + b'"}}'
    )
    async with guest(tmp_path, says(HEAD + b"[" + long + b"]")):
        (service,) = await services.services(tmp_path)
    assert service.name.startswith("w[31mx")
    assert len(service.name) <= services.LONGEST


async def test_a_flood_of_events_wakes_seldom(tmp_path: Path) -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(b"{}\n" * 1000)
            await writer.drain()

    woken: list[None] = []
    async with guest(tmp_path, flood):
        watch = EventWatch(tmp_path, lambda: woken.append(None))
        await asyncio.sleep(1)
        watch.close()
        assert 2 <= len(woken) <= 15


def test_logs_with_and_without_headers() -> None:
    framed = b"\1\0\0\0\0\0\0\3out\2\0\0\0\0\0\0\3err"
    assert services.without_headers(framed) == b"outerr"
    assert services.without_headers(b"from a terminal") == b"from a terminal"
    assert services.without_headers(framed[:-1]) == b"outer"
    assert services.without_headers(b"\1\0\0\0\xff\xff\xff\xffx") == b"x"
