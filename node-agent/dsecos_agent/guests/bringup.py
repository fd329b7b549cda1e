"""Bringing a guest's services up, beside the controller's passes.

    WAITING     dockerd of the started guest answers: 1 to 2 s, half a minute in a VM; then the guest is told
                where its registry is, if that cannot be done before
    COMPOSING   `docker compose up`: seconds, or minutes where images are pulled

A pass only begins it and is woken when it ends or moves on. So a port can be edited, a guest be stopped or
deleted while its images are pulled. When it ended well the document's digest is in the guest's record; when
not, the problem is kept here with the time of the next try. Killed in between: `docker compose up` is
repeated, and finds its work done.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dsecos_api.conditions import Reason, Type
from dsecos_runtime import ClusterError, fault_point, get_logger

from dsecos_agent.adapter_errors import RetryableError, UnsupportedError
from dsecos_agent.compose.protocol import (
    Compose,
    ComposeFailedError,
    ConfigInvalidError,
    DockerUnavailableError,
    GuestUnreachableError,
    ImageNotFoundError,
    RegistryUnreachableError,
    ServiceUnhealthyError,
)
from dsecos_agent.engines.errors import GuestNotRunningError, GuestSilentError
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.record import Records
from dsecos_agent.guests.registry import NodeRegistry
from dsecos_agent.guests.services import Expected, judge
from dsecos_agent.guests.state import BringUpProblem, BringUpState, Phase

Environment = Callable[[str], Awaitable[Mapping[str, str]]]
"""The values of a Secret, by its name."""

Prepare = Callable[[Wanted], Awaitable[None]]
"""Makes a guest ready whose dockerd answers, before anything is pulled."""

NUDGE = 3.0
"""Seconds from a change of an unhealthy guest's services to the next try."""


DEAD_DOCKER_LIMIT = 2.0
"""Seconds for which a dockerd that did not answer the last time either is waited for."""


class SecretMissingError(Exception):
    """The Secret that the document needs does not exist; the text names it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a failure is told and when to try again."""

    type: Type
    reason: Reason
    first: float
    """Seconds until the second try; doubles with each further one ..."""
    most: float
    """... up to this."""
    stalled: bool = False


_DOCKER = Kind(Type.DOCKER_READY, Reason.DOCKER_NOT_READY, 2, 60)
_KINDS: tuple[tuple[type[Exception], Kind], ...] = (
    (DockerUnavailableError, _DOCKER),
    (GuestSilentError, _DOCKER),
    (ImageNotFoundError, Kind(Type.SERVICES_READY, Reason.IMAGE_NOT_FOUND, 60, 600, stalled=True)),
    (ConfigInvalidError, Kind(Type.SERVICES_READY, Reason.COMPOSE_INVALID, 600, 3600, stalled=True)),
    (RegistryUnreachableError, Kind(Type.SERVICES_READY, Reason.REGISTRY_UNREACHABLE, 5, 60)),
    (ServiceUnhealthyError, Kind(Type.SERVICES_READY, Reason.UNHEALTHY, 10, 120)),
    (ComposeFailedError, Kind(Type.SERVICES_READY, Reason.COMPOSE_FAILED, 10, 300)),
    (SecretMissingError, Kind(Type.SERVICES_READY, Reason.SECRET_NOT_FOUND, 5, 60)),
    (ClusterError, Kind(Type.SERVICES_READY, Reason.PROGRESSING, 2, 10)),
    (UnsupportedError, Kind(Type.SERVICES_READY, Reason.UNSUPPORTED, 600, 3600, stalled=True)),
    (RetryableError, Kind(Type.SERVICES_READY, Reason.PROGRESSING, 5, 60)),
)
_OTHER = Kind(Type.SERVICES_READY, Reason.COMPOSE_FAILED, 5, 300)


@dataclass(slots=True)
class _Failure:
    problem: BringUpProblem
    error: Exception
    count: int
    due: float


@dataclass(slots=True)
class _Job:
    digest: str
    task: asyncio.Task[None] = field(init=False)
    phase: Phase = Phase.QUEUED


class BringUps:
    """All bring-ups of this node."""

    def __init__(
        self,
        compose: Compose,
        records: Records,
        environment: Environment,
        registry: NodeRegistry,
        prepare: Prepare,
        *,
        parallel: int,
        docker_time_limit: float,
        compose_time_limit: float,
    ) -> None:
        """At most `parallel` at a time, each bounded by the limits in seconds; `wake` is set by the
        controller.
        """
        self._compose = compose
        self._records = records
        self._environment = environment
        self._registry = registry
        self._prepare = prepare
        self._slots = asyncio.Semaphore(parallel)
        self._docker_limit = docker_time_limit
        self._compose_limit = compose_time_limit
        self._jobs: dict[str, _Job] = {}
        self._failures: dict[str, _Failure] = {}
        self.wake: Callable[[str], None] = lambda _: None
        """Called with the guest's name when there is something new to see."""

    def state(self, guest: str) -> BringUpState | None:
        """What is under way."""
        job = self._jobs.get(guest)
        return None if job is None else BringUpState(job.digest, job.phase)

    def problem(self, guest: str) -> BringUpProblem | None:
        """How the last one failed."""
        failure = self._failures.get(guest)
        if failure is None:
            return None
        waiting = time.monotonic() < failure.due
        found = failure.problem
        return BringUpProblem(
            found.digest, found.type, found.reason, found.message, found.stalled, waiting=waiting
        )

    def due_in(self, guest: str) -> float | None:
        """Seconds until the next try; None when none is planned."""
        failure = self._failures.get(guest)
        return None if failure is None else max(0.05, failure.due - time.monotonic())

    def nudge(self, guest: str) -> None:
        """Something changed in the guest: an unhealthy one may be tried sooner."""
        failure = self._failures.get(guest)
        if failure is not None and failure.problem.reason in (Reason.UNHEALTHY, Reason.DOCKER_NOT_READY):
            failure.due = min(failure.due, time.monotonic() + NUDGE)

    async def start(self, wanted: Wanted) -> None:
        """Begin; one of another document is ended first."""
        await self.cancel(wanted.name)
        job = self._jobs[wanted.name] = _Job(wanted.compose_digest)
        job.task = asyncio.create_task(self._run(wanted, job), name=f"bring up {wanted.name}")

    async def cancel(self, guest: str) -> None:
        """End the one under way, if any, and wait for its end."""
        job = self._jobs.pop(guest, None)
        if job is not None:
            job.task.cancel()
            await asyncio.wait([job.task])

    def forget(self, guest: str) -> None:
        """Drop what is known of failures: the guest starts anew or is gone."""
        self._failures.pop(guest, None)

    async def close(self) -> None:
        """End all."""
        for guest in list(self._jobs):
            await self.cancel(guest)

    async def _run(self, wanted: Wanted, job: _Job) -> None:
        try:
            async with self._slots:
                await self._bring_up(wanted, job)
            self._failures.pop(wanted.name, None)
        except GuestNotRunningError:
            pass  # the guest has ended: the next pass starts it again
        except RegistryUnreachableError as error:
            self._failed(wanted, await self._examined(wanted, error))
        except Exception as error:  # noqa: BLE001 - whatever it was is told in a condition and tried again
            self._failed(wanted, error)
        finally:
            if self._jobs.get(wanted.name) is job:
                del self._jobs[wanted.name]
                self.wake(wanted.name)

    async def _bring_up(self, wanted: Wanted, job: _Job) -> None:
        name, begun = wanted.name, time.monotonic()
        log = get_logger(guest=name)
        job.phase = Phase.WAITING
        version = await self._compose.wait_ready(wanted.docker, time_limit=self._patience(name))
        log.info("docker answers", version=version, seconds=round(time.monotonic() - begun, 3))
        fault_point("guest-docker-ready")
        await self._prepare(wanted)
        record = self._records.get(name)
        if record is not None and record.compose_digest == wanted.compose_digest:
            verdict = judge(wanted.services, await self._compose.services(wanted.docker))
            if not verdict.down:
                return
            log.info("services are down", services=verdict.down)
        job.phase = Phase.COMPOSING
        self.wake(name)
        env = {} if wanted.secret_name is None else await self._environment(wanted.secret_name)
        begun = time.monotonic()
        await self._compose.up(
            name, wanted.owner_uid, wanted.document, env=env, time_limit=self._compose_limit
        )
        log.info("compose is up", digest=wanted.compose_digest, seconds=round(time.monotonic() - begun, 3))
        fault_point("guest-compose-up")
        self._records.update(name, wanted.owner_uid, compose_digest=wanted.compose_digest)
        fault_point("guest-compose-recorded")

    async def _examined(self, wanted: Wanted, error: RegistryUnreachableError) -> ComposeFailedError:
        """An image that the node's own registry lacks is not found, whatever lies beyond."""
        image = next((each.image for each in wanted.services if each.name == error.service), "")
        if image and await self._registry.lacks(image):
            return ImageNotFoundError(str(error), error.log, service=error.service)
        return error

    def _patience(self, guest: str) -> float:
        """A dockerd that starts is waited for; one that has been dead before is looked for now and then."""
        failure = self._failures.get(guest)
        dead = failure is not None and failure.problem.type is Type.DOCKER_READY
        return DEAD_DOCKER_LIMIT if dead else self._docker_limit

    def _failed(self, wanted: Wanted, error: Exception) -> None:
        kind = next((kind for types, kind in _KINDS if isinstance(error, types)), _OTHER)
        before = self._failures.get(wanted.name)
        same = before is not None and before.problem.digest == wanted.compose_digest
        count = before.count + 1 if before is not None and same and type(before.error) is type(error) else 1
        wait = min(kind.first * 2 ** (count - 1), kind.most)
        message = _message(error, wanted.services)
        problem = BringUpProblem(
            wanted.compose_digest, kind.type, kind.reason, message, kind.stalled, waiting=True
        )
        self._failures[wanted.name] = _Failure(problem, error, count, time.monotonic() + wait)
        get_logger(guest=wanted.name).warning(
            "bring-up failed",
            reason=str(kind.reason),
            error=message,
            log=getattr(error, "log", "")[-2000:],
            again_in=wait,
            exc_info=error if kind is _OTHER else None,
        )


def _message(error: Exception, services: Sequence[Expected]) -> str:
    name = getattr(error, "service", "")
    images = {service.name: service.image for service in services}
    image = f"image {images[name]} of service {name}" if images.get(name) else "an image"
    match error:
        case ServiceUnhealthyError() if name:
            return f"unhealthy: {name}"
        case ImageNotFoundError():
            return f"{image} is in no registry that this node may read"
        case RegistryUnreachableError():
            return f"{image} is not on the node, and its registry cannot be reached"
        case DockerUnavailableError() | GuestSilentError():
            return str(getattr(error, "told", GuestUnreachableError.told))
        case ClusterError():
            return "waits for the API server to read the secrets"
    return str(error) or repr(error)
