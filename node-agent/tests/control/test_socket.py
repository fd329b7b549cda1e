"""The agent's socket with real LXC guests behind it."""

import asyncio
import base64
import json
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, UnixConnector, WSMsgType, WSServerHandshakeError
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.control import ControlSocket
from dsecos_agent.control.socket import LARGEST_BODY
from dsecos_agent.engines.lxc import LxcEngine
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import GuestConfig, IdMap, Metrics, RootDirectory
from dsecos_agent.engines.protocol import Console, Engine
from dsecos_agent.processes import run

from tests.patience import async_until

from ..engines.conftest import home, make_rootfs  # noqa: TID252 - the part's folder is no identifier
from ..engines.contract_host import command_lines  # noqa: TID252 - the part's folder is no identifier

__all__ = ["home"]

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
NAME = "shop"
IDS = IdRange(3_100_000_000, 65536)
AS_NOBODY = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
lines = "GET /v1/guests/shop/metrics HTTP/1.1", "Host: agent", "Connection: close", "", ""
connection.sendall("\\r\\n".join(lines).encode())
print(connection.makefile().read())
"""


def owner_of(guest: str) -> str | None:
    return OWNER if guest == NAME else None


@pytest.fixture
async def engine(home: Path) -> AsyncIterator[LxcEngine]:
    engine = LxcEngine(home / "lxc", home / "run", IDS)
    await engine.ensure_ready()
    await engine.write_config(
        GuestConfig(
            name=NAME,
            owner_uid=OWNER,
            root=RootDirectory(make_rootfs(home / "rootfs")),
            id_map=IdMap(IDS.base),
            halt_signal="SIGUSR2",
        )
    )
    yield engine
    await engine.destroy(NAME, OWNER)
    await engine.close()
    await engine.release_host()


@pytest.fixture
def path(home: Path) -> Path:
    (home / "run").mkdir(exist_ok=True)
    return home / "run/agent.sock"


@pytest.fixture
async def control(engine: LxcEngine, path: Path) -> AsyncIterator[ControlSocket]:
    await engine.start(NAME, OWNER)
    control = ControlSocket(path, engine, owner_of, sessions=2)
    await control.start()
    yield control
    await control.close()


@pytest.fixture
async def client(control: ControlSocket, path: Path) -> AsyncIterator[ClientSession]:
    async with connect(path) as client:
        yield client


def connect(path: Path) -> ClientSession:
    return ClientSession("http://agent", connector=UnixConnector(str(path)))


def exists(path: Path) -> bool:
    return path.exists()


def mode_and_owner(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


async def ask(client: ClientSession, guest: str = NAME, **body: object) -> tuple[int, dict[str, Any]]:
    async with client.post(f"/v1/guests/{guest}/exec", json=body) as answer:
        return answer.status, await answer.json(content_type=None)


async def shown(console: ClientWebSocketResponse, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        message = await console.receive(10)
        assert message.type is WSMsgType.BINARY, (message, seen)
        seen += message.data
    return seen


async def end_of(console: ClientWebSocketResponse) -> tuple[int, str]:
    while (message := await console.receive(10)).type is WSMsgType.BINARY:
        pass
    assert message.type is WSMsgType.CLOSE, message
    return message.data, str(message.extra)


# exec


async def test_exec(client: ClientSession) -> None:
    status, answer = await ask(
        client,
        argv=["sh", "-c", 'cat; echo "$WORD" >&2; exit 3'],
        env={"WORD": "a b"},
        stdin=base64.b64encode(b"\0\xff").decode(),
        timeLimit=10,
    )
    assert status == 200
    assert answer == {
        "exitCode": 3,
        "stdout": base64.b64encode(b"\0\xff").decode(),
        "stderr": base64.b64encode(b"a b\n").decode(),
        "truncated": False,
    }


async def test_output_is_bounded(client: ClientSession) -> None:
    status, answer = await ask(client, argv=["sh", "-c", "head -c 3000000 /dev/zero; echo end"])
    assert (status, answer["truncated"]) == (200, True)
    assert base64.b64decode(answer["stdout"]).endswith(b"end\n")


@pytest.mark.parametrize(
    ("guest", "body", "status", "words"),
    [
        ("none", {"argv": ["true"]}, 404, "none"),
        (NAME, {"argv": ["sleep", "30"], "timeLimit": 0.3}, 504, "0.3 s"),
        (NAME, {"argv": []}, 400, "argv"),
        (NAME, {"argv": ["true"], "timeLimit": -1}, 400, "timeLimit is -1"),
    ],
)
async def test_what_goes_wrong_is_a_problem_document(
    client: ClientSession, guest: str, body: Mapping[str, object], status: int, words: str
) -> None:
    async with client.post(f"/v1/guests/{guest}/exec", json=body) as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        problem = await answer.json(content_type=None)
    assert problem["status"] == status
    assert words in problem["detail"]


async def test_no_such_path_and_no_such_method_are_problems_too(client: ClientSession) -> None:
    for method, path, status in (("GET", "/v2", 404), ("DELETE", f"/v1/guests/{NAME}/exec", 405)):
        async with client.request(method, path) as answer:
            assert (answer.status, answer.content_type) == (status, "application/problem+json")


async def test_a_guest_that_does_not_run(client: ClientSession, engine: LxcEngine) -> None:
    await engine.stop(NAME, OWNER, grace=0)
    status, problem = await ask(client, argv=["true"])
    assert (status, problem["title"]) == (409, "Conflict")
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect(f"/v1/guests/{NAME}/console")
    assert refused.value.status == 409
    async with client.get(f"/v1/guests/{NAME}/metrics") as answer:
        assert answer.status == 409


async def test_a_body_has_a_limit(client: ClientSession) -> None:
    status, problem = await ask(client, argv=["cat"], stdin="A" * (LARGEST_BODY + 4))
    assert (status, problem["status"]) == (413, 413)


async def test_a_command_whose_caller_hangs_up_is_killed(client: ClientSession) -> None:
    task = asyncio.create_task(ask(client, argv=["sleep", "4713"], timeLimit=60))
    await async_until(lambda: "sleep 4713 " in command_lines())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await async_until(lambda: "sleep 4713 " not in command_lines())


async def test_so_many_sessions_and_no_more(client: ClientSession) -> None:
    consoles = [await client.ws_connect(f"/v1/guests/{NAME}/console") for _ in range(2)]
    status, problem = await ask(client, argv=["true"])
    assert (status, problem["detail"].split()[0]) == (503, "2")
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect(f"/v1/guests/{NAME}/console")
    assert refused.value.status == 503
    for console in consoles:
        await console.close()
    for _ in range(500):
        status, _ = await ask(client, argv=["true"])
        if status == 200:
            return
    pytest.fail("a session that has ended is still counted")


# console


async def test_console(client: ClientSession) -> None:
    async with client.ws_connect(f"/v1/guests/{NAME}/console?columns=100&rows=30") as console:
        await console.send_bytes(b"stty size; echo $((6*7))-end\n")
        assert b"30 100" in await shown(console, b"42-end")
        await console.send_str(json.dumps({"resize": [120, 40]}))
        seen = b""
        while b"40 120" not in seen:
            await console.send_bytes(b"stty size; echo $((6*8))-end\n")
            seen = await shown(console, b"48-end")
        await console.send_bytes(b"exit\n")
        assert await end_of(console) == (1000, "the session has ended")


async def test_a_console_of_a_guest_that_is_stopped(client: ClientSession, engine: LxcEngine) -> None:
    async with client.ws_connect(f"/v1/guests/{NAME}/console") as console:
        await engine.stop(NAME, OWNER, grace=0)
        assert await end_of(console) == (1000, "the session has ended")


@pytest.mark.parametrize("frame", ["resize", "{}", '{"resize": [0, 5]}', '{"resize": [1, 2, 3]}'])
async def test_a_frame_that_says_nothing_ends_the_console(client: ClientSession, frame: str) -> None:
    async with client.ws_connect(f"/v1/guests/{NAME}/console") as console:
        await console.send_str(frame)
        code, why = await end_of(console)
        assert code == 1008
        assert "resize" in why


async def test_what_runs_in_a_console_ends_with_it(client: ClientSession) -> None:
    console = await client.ws_connect(f"/v1/guests/{NAME}/console")
    await console.send_bytes(b"sleep 4714\n")
    await async_until(lambda: "sleep 4714 " in command_lines())
    await console.close()
    await async_until(lambda: "sleep 4714 " not in command_lines())


async def test_who_hangs_up_without_a_word_leaves_nothing(control: ControlSocket, path: Path) -> None:
    async with connect(path) as client:
        console = await client.ws_connect(f"/v1/guests/{NAME}/console")
        await console.send_bytes(b"sleep 4715\n")
        await async_until(lambda: "sleep 4715 " in command_lines())
        assert console._response.connection is not None
        assert console._response.connection.transport is not None
        console._response.connection.transport.abort()
        await async_until(lambda: "sleep 4715 " not in command_lines())


async def test_an_agent_that_stops_hangs_up(
    client: ClientSession, control: ControlSocket, path: Path, engine: LxcEngine
) -> None:
    async with client.ws_connect(f"/v1/guests/{NAME}/console") as console:
        closing = asyncio.create_task(control.close())
        assert await end_of(console) == (1001, "the agent is stopping")
        await closing
    await control.close()
    assert not exists(path)
    guest = await engine.get(NAME)
    assert guest is not None
    assert guest.init_pid is not None, "the guest goes on"


async def test_a_console_is_a_websocket_of_a_certain_size(client: ClientSession) -> None:
    async with client.get(f"/v1/guests/{NAME}/console") as answer:
        assert (answer.status, answer.content_type) == (426, "application/problem+json")
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect(f"/v1/guests/{NAME}/console?columns=0")
    assert refused.value.status == 400


class Consoleless(LxcEngine):
    """An engine that cannot do one thing."""

    async def console(self, name: str, owner_uid: str, *, columns: int = 80, rows: int = 24) -> Console:
        raise UnsupportedError("no console here")


async def test_what_an_engine_cannot_do(home: Path, path: Path, engine: Engine) -> None:
    control = ControlSocket(path, Consoleless(home / "lxc", home / "run", IDS), owner_of)
    await control.start()
    async with connect(path) as client:
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect(f"/v1/guests/{NAME}/console")
    assert refused.value.status == 501
    await control.close()


class Broken(LxcEngine):
    """An engine with a bug."""

    async def metrics(self, name: str) -> Metrics:
        raise ZeroDivisionError(name)


async def test_a_bug_is_a_problem_too_and_tells_nothing(home: Path, path: Path, engine: Engine) -> None:
    control = ControlSocket(path, Broken(home / "lxc", home / "run", IDS), owner_of)
    await control.start()
    async with connect(path) as client, client.get(f"/v1/guests/{NAME}/metrics") as answer:
        assert (answer.status, answer.content_type) == (500, "application/problem+json")
        assert (await answer.json(content_type=None))["detail"] == "the agent failed; its log says why"
    await control.close()


# metrics


async def test_metrics(client: ClientSession) -> None:
    async with client.get(f"/v1/guests/{NAME}/metrics") as answer:
        metrics = await answer.json()
    assert metrics["memoryBytes"] > 0
    assert metrics["uptimeSeconds"] >= 0
    assert metrics["cpuShare"] is None


# the socket itself


async def test_only_root_gets_in(control: ControlSocket, path: Path) -> None:
    assert mode_and_owner(path) == (0o600, 0, 0)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c"]
    refused = await run([*as_nobody, AS_NOBODY, path], time_limit=30)
    assert "PermissionError" in refused.text_err()
    open_to_all(path)
    asked = await run([*as_nobody, AS_NOBODY, path], time_limit=30)
    assert " 403 " in asked.text().splitlines()[0], asked


async def test_what_a_crash_left_is_replaced(engine: LxcEngine, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    control = ControlSocket(path, engine, owner_of)
    await control.start()
    async with connect(path) as client:
        assert (await ask(client, "none", argv=["true"]))[0] == 404
    await control.close()
    assert not exists(path)


async def test_a_second_agent_does_not_take_the_socket(
    engine: LxcEngine, path: Path, control: ControlSocket, client: ClientSession
) -> None:
    second = ControlSocket(path, engine, owner_of)
    with pytest.raises(UnsupportedError, match="another agent"):
        await second.start()
    await second.close()
    assert (await ask(client, argv=["true"]))[0] == 200


async def test_a_path_that_no_socket_can_have(engine: LxcEngine, path: Path) -> None:
    make: Callable[[Path], ControlSocket] = lambda where: ControlSocket(where, engine, owner_of)  # noqa: E731
    for where in (path.with_name("x" * 120), path / "below"):
        with pytest.raises(UnsupportedError):
            await make(where).start()
