"""Bringing services up: in which order, and what is told of how it failed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import RetryableError, UnsupportedError
from dsecos_agent.compose.protocol import (
    DockerMissingError,
    DockerUnavailableError,
    GuestUnreachableError,
    Service,
    Where,
)
from dsecos_agent.engines.errors import GuestSilentError
from dsecos_agent.guests.bringup import BringUps
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.record import Records
from dsecos_agent.guests.registry import NodeRegistry
from dsecos_agent.guests.state import BringUpProblem
from dsecos_api.conditions import Reason, Type

from .samples import wish


class Guest:
    """Steps of a bring-up, one of which may fail."""

    def __init__(self, fails: str = "", error: Exception | None = None) -> None:
        self.fails, self.error = fails, error
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.fails and self.error is not None:
            raise self.error

    async def wait_ready(self, where: Where, *, time_limit: float) -> str:
        self.step("wait")
        return "26.1.5"

    async def prepare(self, wanted: Wanted) -> None:
        self.step("prepare")

    async def up(
        self, guest: str, owner_uid: str, document: str, *, env: Mapping[str, str], time_limit: float
    ) -> None:
        self.step("up")

    async def services(self, where: Where) -> list[Service]:
        return []


async def brought_up(guest: Guest, folder: Path) -> BringUpProblem | None:
    async def no_secrets(_: str) -> Mapping[str, str]:
        return {}

    ups = BringUps(
        guest,  # type: ignore[arg-type]  # as much of Compose as is asked
        Records(folder / "records"),
        no_secrets,
        NodeRegistry(1, folder / "none"),
        guest.prepare,
        parallel=1,
        docker_time_limit=1,
        compose_time_limit=1,
    )
    ended = asyncio.Event()
    ups.wake = lambda _: ended.set() if ups.state(wish().name) is None else None
    await ups.start(wish())
    await ended.wait()
    return ups.problem(wish().name)


async def test_a_guest_is_prepared_when_its_dockerd_answers_and_before_anything_is_pulled(
    tmp_path: Path,
) -> None:
    guest = Guest()
    assert await brought_up(guest, tmp_path) is None
    assert guest.steps == ["wait", "prepare", "up"]


@pytest.mark.parametrize(
    ("step", "error", "condition", "reason", "says"),
    [
        ("wait", DockerUnavailableError("x"), Type.DOCKER_READY, Reason.DOCKER_NOT_READY, "dockerd does not"),
        (
            "wait",
            GuestUnreachableError("x"),
            Type.DOCKER_READY,
            Reason.DOCKER_NOT_READY,
            "no command reaches",
        ),
        ("wait", DockerMissingError("x"), Type.DOCKER_READY, Reason.DOCKER_NOT_READY, "there is no docker"),
        ("prepare", GuestSilentError("x"), Type.DOCKER_READY, Reason.DOCKER_NOT_READY, "no command reaches"),
        ("prepare", RetryableError("its words"), Type.SERVICES_READY, Reason.PROGRESSING, "its words"),
        ("up", GuestSilentError("x"), Type.DOCKER_READY, Reason.DOCKER_NOT_READY, "no command reaches"),
        ("up", UnsupportedError("65536"), Type.SERVICES_READY, Reason.UNSUPPORTED, "65536"),
    ],
)
async def test_failures_are_told(
    tmp_path: Path, step: str, error: Exception, condition: Type, reason: Reason, says: str
) -> None:
    problem = await brought_up(Guest(step, error), tmp_path)
    assert problem is not None
    assert (problem.type, problem.reason, problem.waiting) == (condition, reason, True)
    assert problem.stalled == (reason is Reason.UNSUPPORTED)
    assert says in problem.message
