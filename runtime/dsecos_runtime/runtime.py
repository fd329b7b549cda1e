"""A controller process from start to end.

Start: credentials, client, controllers, watches, cache; then leadership, if asked for; then the controllers
run. The watches run before leadership is had, so that a stand-by takes over with a warm cache. End:
controllers finish what they have in hand, what waits is written, the lease is given up, the watches end.
Whatever ends by itself ends the process with code 1, and the supervisor starts it again: there is one way to
recover, and it is tested each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from dsecos_runtime import logs, metrics
from dsecos_runtime.cache import Cache, Watch
from dsecos_runtime.cluster import Cluster
from dsecos_runtime.controller import Controller
from dsecos_runtime.credentials import Credentials
from dsecos_runtime.ensure import ensure
from dsecos_runtime.errors import ClusterError, RuntimeFailure
from dsecos_runtime.events import EventRecorder
from dsecos_runtime.leader import Leader
from dsecos_runtime.resources import NAMESPACE, Object, Resource
from dsecos_runtime.settings import RuntimeSettings
from dsecos_runtime.status import StatusWriter
from dsecos_runtime.tokens import TokenRotator
from dsecos_runtime.watching import Watching

T = TypeVar("T")

WAIT = 1.0
"""Seconds between two looks whether the API server is there."""


class Runtime:
    """What a controller is given."""

    def __init__(self, settings: RuntimeSettings) -> None:
        """Sends nothing yet. Raises CredentialsError."""
        self.settings = settings
        self.identity = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        """Of this process; another one each time that it is started."""
        self.credentials = Credentials(settings.kubeconfig)
        self.cluster = Cluster(
            self.credentials, field_manager=settings.name, timeout=settings.request_timeout
        )
        self.cache = Cache(self.cluster, interval=settings.relist_interval)
        self.status = StatusWriter(self.cluster, self.cache, interval=settings.progress_interval)
        self.events = EventRecorder(self.cluster, component=settings.name, instance=self.identity)
        self.epoch = 0
        """Fencing: leaseTransitions of the Lease held; 0 without one."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ended: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run something beside the controllers. If it raises, the process ends with code 1; it may return."""
        task = asyncio.create_task(coroutine, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.ended.put_nowait)
        return task

    async def ensure(self, resource: Resource[T], obj: T | Object, *, field_manager: str = "") -> T:
        """Server-side apply, unless the newest version that is known shows that nothing would change.

        A kind that is not watched is read first. Returns the object as it is then. Raises ClusterError.
        """
        return await ensure(self.cluster, self.cache, resource, obj, field_manager=field_manager)

    async def wait_for_api(self) -> None:
        """Return when the API server answers."""
        await self._until_served(())

    async def wait_for_kinds(self, resources: Iterable[Resource[Any]]) -> None:
        """Return when the API server serves all these kinds."""
        await self._until_served(resources)

    async def _until_served(self, resources: Iterable[Resource[Any]]) -> None:
        waited_for = ""
        for resource in resources or (None,):
            while True:
                try:
                    if await self.cluster.served(resource or NAMESPACE):
                        break
                    reason = f"{resource} is not served"
                except ClusterError as error:
                    reason = str(error)
                if reason != waited_for:
                    logs.get_logger().warning("waiting for the API server", reason=reason)
                    waited_for = reason
                await asyncio.sleep(WAIT)


Build = Callable[[Runtime], Awaitable[Sequence[Controller]]]


def run(settings: RuntimeSettings, build: Build) -> int:
    """Run the controllers that `build` makes until SIGTERM or SIGINT.

    Returns the exit code: 0 after a clean stop; 1 when a watch ended for good, leadership was lost, a task
    died or the credentials cannot be used.
    """
    logs.configure(settings.name, settings.log_level)
    return asyncio.run(run_async(settings, build))


async def run_async(settings: RuntimeSettings, build: Build, *, stop: asyncio.Event | None = None) -> int:
    """`run` in a running event loop; setting `stop` is the same as SIGTERM."""
    log = logs.get_logger()
    stop = stop or asyncio.Event()
    try:
        metrics.serve(settings.metrics_port)
        process = Process(Runtime(settings), build, stop)
        await process.run()
    except RuntimeFailure as error:
        log.error("process ends", error=str(error), kind=type(error).__name__)
        return 1
    except Exception:
        log.exception("process ends")
        return 1
    log.info("stopped")
    return 0


class Process:
    """One run of a runtime with its controllers."""

    def __init__(self, runtime: Runtime, build: Build, stop: asyncio.Event) -> None:
        self.runtime, self.settings = runtime, runtime.settings
        self._build, self._stop = build, stop
        self._watching = Watching(
            runtime.cache,
            runtime.credentials,
            watch_timeout=self.settings.watch_timeout,
            request_timeout=self.settings.request_timeout,
        )
        self._leader: Leader | None = None
        self._acting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Return after a stop; raise what ended the process otherwise."""
        self._catch_signals()
        runtime = self.runtime
        runtime.spawn(self._stop.wait(), name="stop")
        runtime.spawn(self._work(), name="controllers")
        try:
            await self._wait()
        finally:
            await self._end()

    async def _work(self) -> None:
        runtime, settings = self.runtime, self.settings
        await runtime.wait_for_api()
        if settings.rotate_token:
            runtime.spawn(TokenRotator(runtime.cluster, runtime.credentials).run(), name="token rotation")
        runtime.spawn(runtime.events.run(), name="events")
        controllers = list(await self._build(runtime))
        self._track(controllers)
        await runtime.wait_for_kinds(watch.resource for watch in runtime.cache.watches)
        await self._watching.start()
        self._catch_signals()  # kopf has set its own
        runtime.spawn(self._watching.supervise(), name="watch supervision")
        for watch in runtime.cache.watches:
            runtime.spawn(runtime.cache.keep(watch.resource), name=f"cache of {watch.resource}")
        await runtime.cache.wait_ready()
        logs.get_logger().info("cache is ready")
        if settings.lease:
            await self._lead(settings.lease)
        for controller in controllers:
            running = controller.run(runtime.cache, grace=self._grace)
            self._acting.add(runtime.spawn(running, name=controller.name))
        logs.get_logger().info("controllers run", controllers=[each.name for each in controllers])

    def _track(self, controllers: Iterable[Controller]) -> None:
        settings = self.settings
        spaces = ("",) if settings.clusterwide or not settings.namespaces else tuple(settings.namespaces)
        for controller in controllers:
            for each in controller.inputs:
                namespaces = spaces if each.resource.namespaced else ("",)
                self.runtime.cache.track(Watch(each.resource, namespaces, each.labels, each.fields))

    async def _lead(self, lease: str) -> None:
        runtime, settings = self.runtime, self.settings
        leader = self._leader = Leader(
            runtime.cluster,
            settings.lease_namespace,
            lease,
            identity=runtime.identity,
            duration=settings.lease_duration,
            renew_deadline=settings.lease_renew_deadline,
            retry=settings.lease_retry,
        )
        runtime.cluster.fence = leader.remaining
        runtime.epoch = await leader.acquire()
        runtime.spawn(leader.hold(), name="leadership")

    async def _wait(self) -> None:
        """Until something ends: a stop returns, an error is raised, anything that may end is waited past."""
        runtime = self.runtime
        while not self._stop.is_set():
            task = await runtime.ended.get()
            runtime.tasks.discard(task)
            if task.cancelled():
                raise RuntimeFailure(f"{task.get_name()} was cancelled")
            error = task.exception()
            if error is not None:
                logs.get_logger().error("task died", task=task.get_name(), error=repr(error))
                raise error
            if task in self._acting:
                raise RuntimeFailure(f"controller {task.get_name()} has ended")

    def _grace(self) -> float:
        # Without the lease nothing may be finished: another process is about to do it.
        lost = self._leader is not None and not self._leader.leads
        return 0.0 if lost else self.settings.stop_grace

    async def _end(self) -> None:
        logs.get_logger().info("stopping")
        await _cancel(self._acting)
        runtime = self.runtime
        if self._stop.is_set():
            await runtime.status.flush()
            await runtime.events.drain(2.0)
        if self._leader is not None:
            await self._leader.release()
        await _cancel(runtime.tasks)
        await self._watching.stop()
        await runtime.cluster.close()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError):  # not in the main thread
                loop.add_signal_handler(number, self._stop.set)


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
