"""The process that an engine lives in: forked, told what to call, and killed.

Its effects on the outside are counted by Python's own audit events, so a kill falls exactly before the nth of
them, whichever module makes it.
"""

import asyncio
import logging
import os
import signal
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from sys import addaudithook
from typing import Any, Protocol

import structlog
from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.model import Capabilities, GuestConfig, ObservedGuest
from dsecos_agent.engines.protocol import Engine

from .converge import Controller
from .model import Act, Call, Kill, Verb, Wanted

EFFECTS = frozenset(
    {
        "http.client.send",
        "os.kill",
        "os.killpg",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "shutil.rmtree",
        "socket.connect",
        "subprocess.Popen",
    }
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Maker(Protocol):
    """The part of a world that the engine's process needs."""

    owner: str

    def engine(self) -> Engine:
        """A new engine."""

    def config(self, name: str, wanted: Wanted) -> GuestConfig:
        """A guest's configuration."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one call ended: the type of what it raised and its words, both empty when it went well."""

    error: str = ""
    message: str = ""
    bug: bool = False
    """It raised what no adapter may raise."""


class _Executioner:
    """Ends this process when a number of effects has been reached."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kill: Kill | None = None
        self._seen = 0
        addaudithook(self._look)

    def arm(self, kill: Kill | None) -> None:
        self._kill, self._seen = kill, 0

    def _look(self, event: str, args: tuple[Any, ...]) -> None:
        if self._kill is None or not _is_effect(event, args):
            return
        self._seen += 1
        if self._seen != self._kill.effect:
            return
        if self._kill.delay == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._kill = None
        self._connection.send("now")


def _is_effect(event: str, args: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = args
        return isinstance(flags, int) and bool(flags & WRITING) and not str(path).startswith("/dev/")
    return event in EFFECTS


async def _one(engine: Engine, maker: Maker, call: Call) -> Result:
    name, owner = call.guest, maker.owner
    try:
        match call.verb:
            case Verb.WRITE:
                await engine.write_config(maker.config(name, call.wanted))
            case Verb.START | Verb.SUSPEND | Verb.RESUME | Verb.DESTROY | Verb.RELEASE:
                await getattr(engine, call.verb)(name, owner)
            case Verb.STOP | Verb.SHUTDOWN:
                await getattr(engine, call.verb)(name, owner, grace=call.grace)
            case Verb.SET_LIMITS:
                await engine.set_limits(name, owner, maker.config(name, call.wanted).limits)
            case Verb.RESIZE:
                await engine.resize_disk(name, owner, call.wanted.disk)
            case Verb.MIGRATE:
                await engine.migrate(name, owner, call.target)
            case _:
                await getattr(engine, call.verb)(name, owner, call.snapshot)
    except AdapterError as error:
        return Result(type(error).__name__, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a bug to be shown
        return Result(type(error).__name__, traceback.format_exc(), bug=True)
    return Result()


async def _live(maker: Maker, connection: Connection) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    executioner = _Executioner(connection)
    engine = maker.engine()
    controller = Controller(engine, maker.config, maker.owner)
    loop = asyncio.get_running_loop()
    while True:
        request, *args = await loop.run_in_executor(None, connection.recv)
        answer: object
        try:
            match request:
                case "act":
                    act: Act = args[0]
                    executioner.arm(act.kill)
                    answer = await asyncio.gather(*(_one(engine, maker, call) for call in act.calls))
                    executioner.arm(None)
                case "converge":
                    answer = await controller.converge(*args)
                case "story":
                    answer = [*controller.calls[-25:], *map(_told, await engine.list_guests())]
                case "capabilities":
                    await engine.ensure_ready()
                    answer = await engine.capabilities()
                case _:
                    await engine.close()
                    return
        except Exception as error:  # noqa: BLE001 - told to the parent, which makes a failure of it
            answer = error if isinstance(error, TimeoutError) else RuntimeError(traceback.format_exc())
        connection.send(answer)


def _told(guest: ObservedGuest) -> str:
    where = f" on {guest.engine_node}" if guest.engine_node else ""
    lock = f", locked by {guest.lock}" if guest.lock else ""
    digests = f"configured {guest.config_digest}, booted {guest.booted_digest}"
    return f"{guest.name} ({guest.engine_id}{where}) of {guest.owner_uid}: {guest.state}{lock}, {digests}"


class EngineProcess:
    """One life of an engine, seen from outside."""

    def __init__(self, maker: Maker) -> None:
        """Fork. The caller must have no threads."""
        self._connection, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                os.setpgid(0, 0)
                self._connection.close()
                asyncio.run(_live(maker, theirs))
                code = 0
            except BaseException:  # noqa: BLE001 - a forked process must not run on into its parent's code
                traceback.print_exc()
            finally:
                os._exit(code)
        theirs.close()

    def act(self, act: Act, limit: float) -> tuple[list[Result] | None, bool]:
        """Results, None when it was killed before they were there; and whether it still lives."""
        self._connection.send(("act", act))
        answer = self._receive(limit)
        if answer == "now":
            assert act.kill is not None
            answer = self._receive(act.kill.delay, patient=True)
        if act.kill is not None:
            self.kill()
        if isinstance(answer, Exception):
            raise answer
        return answer, act.kill is None

    def converge(self, wanted: Mapping[str, Wanted], rounds: int, limit: float) -> int:
        """See `Controller.converge`."""
        return self._ask(limit, "converge", dict(wanted), rounds)

    def capabilities(self) -> Capabilities:
        """What the engine says that it can."""
        return self._ask(60, "capabilities")

    def story(self) -> list[str]:
        """What the controller called last, and what the engine sees."""
        return self._ask(60, "story")

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
            self._connection.close()

    def _ask(self, limit: float, *request: object) -> Any:
        self._connection.send(request)
        answer = self._receive(limit)
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None, "the engine's process died by itself"
        return answer

    def _receive(self, limit: float, *, patient: bool = False) -> Any:
        """The next message; None when the process has died, or, if `patient`, has nothing to say."""
        try:
            if self._connection.poll(limit):
                return self._connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        if patient:
            return None
        raise TimeoutError(f"no answer within {limit:g} s")
