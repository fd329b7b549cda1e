"""A guest that shares nothing with the host: its Docker is asked by commands in it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotFoundError, UnsupportedError
from dsecos_agent.compose.inside import INTERVAL, Inside, LookWatch, services_of
from dsecos_agent.compose.protocol import (
    DockerMissingError,
    DockerUnavailableError,
    GuestUnreachableError,
    InGuest,
    Service,
)
from dsecos_agent.compose.runner import GuestCompose
from dsecos_agent.compose.services import LONGEST, MOST_CONTAINERS
from dsecos_agent.engines.errors import ExecTimeoutError, GuestNotRunningError, GuestSilentError
from dsecos_agent.engines.model import ExecResult
from hypothesis import given
from hypothesis import strategies as st

VM = InGuest("shop-12345678", "5e0f6b8e-0000-4000-8000-000000000001")


class FakeEngine:
    """Commands end as they are told to, the last for ever."""

    def __init__(self, *ends: ExecResult | AdapterError) -> None:
        self.ends = list(ends)
        self.seen: list[tuple[str, str, Sequence[str]]] = []

    async def exec(
        self,
        name: str,
        owner_uid: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        time_limit: float,
        output_limit: int = 0,
    ) -> ExecResult:
        self.seen.append((name, owner_uid, argv))
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, AdapterError):
            raise end
        return end


def says(text: str = "", code: int = 0, *, truncated: bool = False) -> ExecResult:
    return ExecResult(code, text.encode(), b"", truncated=truncated)


def line(service: str = "web", *, state: str = "running", health: str | None = None, **labels: str) -> str:
    told: dict[str, Any] = {"ExitCode": 0} | ({"Health": {"Status": health}} if health else {})
    names = {"service": service, "config-hash": "abc", "oneoff": "False"} | labels
    return json.dumps(
        {
            "container": {
                "Image": "node:20",
                "ImageID": "sha256:1",
                "State": state,
                "Labels": {f"com.docker.compose.{name}": text for name, text in names.items()},
            },
            "details": {"RestartCount": 2, "State": told},
        }
    )


def inside(*ends: ExecResult | AdapterError) -> Inside:
    return Inside(FakeEngine(*ends))  # type: ignore[arg-type]  # nothing but exec is asked of it


async def test_services_are_told_as_the_socket_tells_them() -> None:
    answer = "\n".join(
        [line("web", health="healthy"), line("db", state="exited"), line("once", oneoff="True")]
    )
    assert await inside(says(answer)).services(VM) == [
        Service("db", "node:20", "sha256:1", "exited", "none", 2, 0, "abc"),
        Service("web", "node:20", "sha256:1", "running", "healthy", 2, None, "abc"),
    ]


async def test_it_is_one_command_of_this_guest_and_names_the_project() -> None:
    engine = FakeEngine(says())
    assert await Inside(engine).services(VM) == []  # type: ignore[arg-type]
    ((name, owner, argv),) = engine.seen
    assert (name, owner) == (VM.guest, VM.owner_uid)
    assert "label=com.docker.compose.project=app" in argv


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (GuestSilentError("QEMU guest agent is not running"), GuestUnreachableError),
        (GuestNotRunningError("it has ended"), GuestUnreachableError),
        (ExecTimeoutError("20 s"), DockerUnavailableError),
        (UnsupportedError("Agent error: whatever a guest says"), DockerUnavailableError),
        (says("sh: docker: not found", 127), DockerMissingError),
        (says("Cannot connect to the Docker daemon", 1), DockerUnavailableError),
        (says("[" * 100_000), DockerUnavailableError),
        (says("no json"), DockerUnavailableError),
        (says(line(), truncated=True), DockerUnavailableError),
    ],
)
async def test_whatever_goes_wrong_says_that_docker_is_not_there(
    end: ExecResult | AdapterError, error: type[Exception]
) -> None:
    with pytest.raises(DockerUnavailableError) as raised:
        await inside(end).services(VM)
    assert type(raised.value) is error


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["container"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["container", "details", "State", "Labels", "Health", "RestartCount", "Image"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_json_of_any_shape_does_no_harm(value: object) -> None:
    for service in services_of(json.dumps(value).encode()):
        assert service.state in {"created", "running", "paused", "restarting", "removing", "exited", "dead"}
        assert service.restarts >= 0


def test_words_are_cut_and_cleaned_and_lines_are_counted() -> None:
    (service,) = services_of(line("w\x1b[31m" + "x" * 1000).encode())
    assert service.name.startswith("w[31mx")
    assert len(service.name) <= LONGEST
    assert len(services_of("\n".join([line()] * 1000).encode())) == MOST_CONTAINERS


async def test_logs_and_a_service_that_is_not_there() -> None:
    assert await inside(says("up\n")).logs(VM, "web", 10) == "up\n"
    assert await inside(says("end\n", truncated=True)).logs(VM, "web", 10) == "end\n", "the tail is enough"
    with pytest.raises(NotFoundError):
        await inside(says("", 44)).logs(VM, "web", 10)


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def compose(engine: FakeEngine, clock: Clock) -> GuestCompose:
    return GuestCompose(engine, sleep=clock.sleep, clock=clock)  # type: ignore[arg-type]


async def test_a_vm_that_boots_is_waited_for() -> None:
    clock = Clock()
    silent = [GuestSilentError("not yet")] * 20
    engine = FakeEngine(*silent, says("no daemon", 1), says("26.1.5\n"))
    assert await compose(engine, clock).wait_ready(VM, time_limit=60) == "26.1.5"
    assert 15 < clock.now < 30, "seldom enough: each look takes several calls"


async def test_one_that_never_answers_is_given_up_in_time_and_says_why() -> None:
    clock = Clock()
    with pytest.raises(GuestUnreachableError):
        await compose(FakeEngine(GuestSilentError("never")), clock).wait_ready(VM, time_limit=60)
    assert clock.now <= 60


async def test_a_watch_tells_changes_and_nothing_else() -> None:
    silent = GuestSilentError("not yet")
    looks: list[str | AdapterError] = [silent, silent, "a", "a", "a", "b", silent, "b"]
    clock, over, woken = Clock(), asyncio.Event(), list[float]()

    async def look() -> str:
        if not looks:
            over.set()
            await asyncio.Event().wait()
        found = looks.pop(0)
        if isinstance(found, AdapterError):
            raise found
        return found

    watch = LookWatch(look, lambda: woken.append(clock.now / INTERVAL), clock.sleep)
    await over.wait()
    watch.close()
    watch.close()
    assert woken == [0, 2, 5, 6, 7]
