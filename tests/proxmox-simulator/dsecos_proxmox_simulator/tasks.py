"""Tasks: work that goes on after the answer, with an id (UPID), a log and an exit status."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field

from dsecos_proxmox_simulator.access import Identity
from dsecos_proxmox_simulator.errors import ApiError, TaskError, WorkerLostError
from dsecos_proxmox_simulator.world import World

Work = Callable[["Task"], Generator[float, None, None]]
"""A task's work: it yields how many lifelike seconds the next step takes. Each step runs alone."""


@dataclass(slots=True)
class Effect:
    """What a fault does to a task: it takes longer, warns, or fails before or after its work."""

    slower: float = 1.0
    warnings: int = 0
    error_before: str = ""
    error_after: str = ""


@dataclass(slots=True)
class Task:
    """One task. Times are seconds of the simulator's clock."""

    upid: str
    node: str
    type: str
    id: str
    identity: Identity
    pid: int
    pstart: int
    starttime: int
    endtime: int = 0
    exitstatus: str = ""
    log: list[str] = field(default_factory=list)
    warnings: int = 0
    stop_requested: bool = False

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self.exitstatus

    @property
    def vmid(self) -> int:
        """The guest that it is about, 0 if none."""
        first = self.id.split("@")[0]
        return int(first) if first.isdigit() else 0


class Tasks:
    """All tasks since the start, run on the simulator's loop."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self._world = world
        self._clock = clock
        self._boot = clock() - 1000
        self._pids = itertools.count(1400, 3)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._idle = threading.Condition()
        self.history: list[Task] = []
        self.bugs: list[Exception] = []

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the loop before the first task."""
        self._loop = loop

    def issued(self, type_: str = "", vmid: int = 0) -> list[Task]:
        """The tasks of a type, on a guest, in the order of their start."""
        return [
            t for t in list(self.history) if (not type_ or t.type == type_) and (not vmid or t.vmid == vmid)
        ]

    def find(self, upid: str) -> Task:
        """Raises ApiError 400 for an id that was never given out."""
        for task in reversed(self.history):
            if task.upid == upid:
                return task
        raise ApiError(400, "Parameter verification failed.", {"upid": "no such task"})

    def spawn(
        self, node: str, type_: str, id_: str, identity: Identity, work: Work, effect: Effect | None = None
    ) -> str:
        """Begin a task and return its id."""
        pid, started = next(self._pids), self._clock()
        pstart = int((started - self._boot) * 100) & 0xFFFFFFFF
        upid = f"UPID:{node}:{pid:08X}:{pstart:08X}:{int(started):08X}:{type_}:{id_}:{identity.auth_id}:"
        task = Task(upid, node, type_, id_, identity, pid, pstart, int(started))
        self.history.append(task)
        self._begin(self._run(task, work, effect or Effect()))
        return upid

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something after so many lifelike seconds, without a task."""

        async def wait() -> None:
            await asyncio.sleep(seconds * self._world.pace)
            with self._world.mutex:
                act()

        self._begin(wait())

    def _begin(self, coroutine: Coroutine[object, object, None]) -> None:
        loop = self._loop
        assert loop is not None, "the simulator has not started"
        with self._idle:
            self._waiting += 1

        def start() -> None:
            running = loop.create_task(coroutine)
            self._running.add(running)
            running.add_done_callback(self._done)

        loop.call_soon_threadsafe(start)

    def _done(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        with self._idle:
            self._waiting -= 1
            self._idle.notify_all()
        if not running.cancelled():
            running.result()

    def wait_idle(self, timeout: float = 10.0) -> bool:
        """Wait until no task runs and nothing is planned; False after `timeout` seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._waiting == 0, timeout)

    async def stop(self) -> None:
        """Cancel what runs."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, task: Task, work: Work, effect: Effect) -> None:
        try:
            await self._steps(task, work, effect)
            if effect.error_after:
                raise TaskError(effect.error_after)
        except (WorkerLostError, asyncio.CancelledError):
            text = "unexpected status"
        except TaskError as error:
            text = str(error)
            task.log.append(f"TASK ERROR: {text}")
        except ApiError as error:
            text = error.message
            task.log.append(f"TASK ERROR: {text}")
        except Exception as error:  # noqa: BLE001  # a fault of the simulator must end the task and be told
            self.bugs.append(error)
            text = f"the simulator failed: {error!r}"
        else:
            warnings = task.warnings + effect.warnings
            text = f"WARNINGS: {warnings}" if warnings else "OK"
            task.log.append(f"TASK {text}")
        with self._world.mutex:
            task.endtime = int(self._clock())
            task.exitstatus = text

    async def _steps(self, task: Task, work: Work, effect: Effect) -> None:
        with self._world.mutex:
            steps = work(task)
        begun = False
        while True:
            with self._world.mutex:
                try:
                    if task.stop_requested:
                        steps.throw(TaskError("interrupted by signal"))
                    if not self._world.nodes[task.node].online:
                        steps.throw(WorkerLostError)
                    if begun and effect.error_before:
                        steps.throw(TaskError(effect.error_before))
                    pause = next(steps)
                    begun = True
                except StopIteration:
                    return
            await asyncio.sleep(pause * effect.slower * self._world.pace)
