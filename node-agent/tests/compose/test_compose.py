"""Compose in a real guest of the node's own template."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.compose.protocol import (
    ComposeTimeoutError,
    ConfigInvalidError,
    InGuest,
    RegistryUnreachableError,
    ServiceUnhealthyError,
    Where,
)
from dsecos_agent.compose.runner import GuestCompose

from tests.patience import async_until, now

from .conftest import NAME, OWNER, RunningGuest

WEB = """\
services:
  web:
    image: node:20
    init: true
    stop_grace_period: 1s
    command:
      - node
      - -e
      - require('http').createServer((q, r) => r.end(process.env.P)).listen(3000); console.log('up')
    environment: {P: "${password}"}
    healthcheck:
      test: ["CMD", "node", "-e", "fetch('http://127.0.0.1:3000').catch(() => process.exit(1))"]
      interval: 1s
      start_interval: 100ms
      start_period: 10s
"""
SLEEPER = """\
services:
  web: {image: "node:20", init: true, stop_grace_period: 1s, command: ["sleep", "1000"]}
"""
SECRET = "hunter2 $HOME '\"\n"


@pytest.fixture
def compose(guest: RunningGuest) -> GuestCompose:
    return guest.compose()


@pytest.fixture(params=["shared", "commands"])
def where(guest: RunningGuest, request: pytest.FixtureRequest) -> Where:
    """Both ways to look at it."""
    return guest.shared if request.param == "shared" else InGuest(NAME, OWNER)


async def inside(guest: RunningGuest, *argv: str) -> str:
    result = await guest.engine().exec(NAME, OWNER, argv, time_limit=30)
    assert result.exit_code == 0, result
    return result.stdout.decode()


async def test_up_waits_until_all_is_healthy(
    guest: RunningGuest, compose: GuestCompose, where: Where
) -> None:
    await compose.up(NAME, OWNER, WEB, env={"password": SECRET}, time_limit=60)
    (web,) = await compose.services(where)
    assert (web.name, web.image, web.state, web.health, web.restarts, web.exit_code) == (
        "web",
        "node:20",
        "running",
        "healthy",
        0,
        None,
    )
    assert web.image_id.startswith("sha256:")
    assert web.config_hash
    assert await compose.logs(where, "web") == "up\n"
    answer = await inside(guest, "docker", "exec", "app-web-1", "node", "-e", "console.log(process.env.P)")
    assert answer == SECRET + "\n"


async def test_up_again_changes_nothing(guest: RunningGuest, compose: GuestCompose) -> None:
    await compose.up(NAME, OWNER, WEB, env={"password": SECRET}, time_limit=60)
    before = (await inside(guest, "docker", "ps", "-q")).split()
    await compose.up(NAME, OWNER, WEB, env={"password": SECRET}, time_limit=60)
    assert (await inside(guest, "docker", "ps", "-q")).split() == before


async def test_no_secret_is_in_an_argument_list_or_a_file_of_the_guest(
    guest: RunningGuest, compose: GuestCompose
) -> None:
    secret = "a-very-special-value"
    up = asyncio.create_task(compose.up(NAME, OWNER, WEB, env={"password": secret}, time_limit=60))
    seen: list[bytes] = []
    while not up.done():
        seen += command_lines()
        await asyncio.sleep(0.005)
    await up
    assert any(b"docker compose" in line.replace(b"\0", b" ") for line in seen), "we did look while it ran"
    assert not [line for line in seen if secret.encode() in line]


async def test_what_is_no_longer_wanted_goes(
    guest: RunningGuest, compose: GuestCompose, where: Where
) -> None:
    two = (
        SLEEPER
        + '  other: {image: "node:20", init: true, stop_grace_period: 1s, command: ["sleep", "1000"]}\n'
    )
    await compose.up(NAME, OWNER, two, env={}, time_limit=60)
    assert [service.name for service in await compose.services(where)] == ["other", "web"]
    await compose.up(NAME, OWNER, SLEEPER, env={}, time_limit=60)
    assert [service.name for service in await compose.services(where)] == ["web"]
    await compose.down(NAME, OWNER, time_limit=60)
    await compose.down(NAME, OWNER, time_limit=60)
    assert await compose.services(where) == []


async def test_failures_are_told_apart(guest: RunningGuest, compose: GuestCompose, where: Where) -> None:
    with pytest.raises(ConfigInvalidError):
        await compose.up(NAME, OWNER, "services: [", env={}, time_limit=60)
    with pytest.raises(RegistryUnreachableError) as failed:
        await compose.up(NAME, OWNER, 'services: {web: {image: "nosuch:1"}}', env={}, time_limit=60)
    assert failed.value.service == "web"
    check = '{test: ["CMD", "false"], interval: 200ms, retries: 2}'
    failing = SLEEPER.replace("command:", f"healthcheck: {check}, command:")
    with pytest.raises(ServiceUnhealthyError) as unhealthy:
        await compose.up(NAME, OWNER, failing, env={}, time_limit=60)
    assert unhealthy.value.service == "web"
    (web,) = await compose.services(where)
    assert (web.state, web.health) == ("running", "unhealthy")


async def test_secrets_are_blanked_in_what_is_kept_of_a_failure(
    guest: RunningGuest, compose: GuestCompose
) -> None:
    document = 'services: {web: {image: "node:20", ports: ["${password}"]}}'
    with pytest.raises(ConfigInvalidError) as failed:
        await compose.up(NAME, OWNER, document, env={"password": "hunter2"}, time_limit=60)
    assert "hunter2" not in failed.value.log
    assert "hunter2" not in str(failed.value)


async def test_what_never_gets_ready_ends_in_time(guest: RunningGuest, compose: GuestCompose) -> None:
    waits = SLEEPER.replace("command:", 'healthcheck: {test: ["CMD", "false"], interval: 60s}, command:')
    begin = now()
    with pytest.raises((ServiceUnhealthyError, ComposeTimeoutError)):
        await compose.up(NAME, OWNER, waits, env={}, time_limit=8)
    assert now() - begin < 40, "the first probe is due after a minute"


async def test_changes_wake(guest: RunningGuest, compose: GuestCompose) -> None:
    await compose.up(NAME, OWNER, SLEEPER, env={}, time_limit=60)
    woken: list[bool] = []
    watch = compose.subscribe(guest.shared, lambda: woken.append(True))
    await async_until(lambda: len(woken) == 1)
    await asyncio.sleep(0.3)
    assert len(woken) == 1, "the first look, and nothing while nothing happens"
    await inside(guest, "docker", "kill", "app-web-1")
    await async_until(lambda: len(woken) > 1)
    assert (await compose.services(guest.shared))[0].state == "exited"
    await inside(guest, "systemctl", "restart", "docker")
    before = len(woken)
    await compose.wait_ready(guest.shared, time_limit=30)
    await inside(guest, "docker", "start", "app-web-1")
    await async_until(lambda: len(woken) > before)
    watch.close()
    watch.close()


async def test_logs_are_bounded(compose: GuestCompose, where: Where) -> None:
    talker = SLEEPER.replace('["sleep", "1000"]', '["sh", "-c", "seq 100000; sleep 1000"]')
    await compose.up(NAME, OWNER, talker, env={}, time_limit=60)
    for _ in range(100):
        if "100000" in (text := await compose.logs(where, "web", tail=3)):
            break
        await asyncio.sleep(0.1)
    assert text == "99998\n99999\n100000\n"
    with pytest.raises(NotFoundError):
        await compose.logs(where, "nosuch")


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes())
    return found
