"""The process that renders can reach nothing, and its absence is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from dsecos_api import Reason
from dsecos_operator.rendering import Confinement, Policy, Refused, Renderer, Request, Worker
from dsecos_operator.rendering.confinement import command

PROBE = """
import os, socket
print(sorted(os.environ))
print(sorted(name for name in os.listdir('/') if os.listdir('/' + name)))
try:
    socket.create_connection(('127.0.0.1', 6443), 1)
except OSError as error:
    print(error.strerror)
print(os.path.exists(os.path.expanduser('~root/.ssh')), os.path.exists('/etc/passwd'))
try:
    open('/usr/x', 'w')
except OSError as error:
    print(error.strerror)
print(open('/proc/self/status').read() if os.path.exists('/proc/self') else 'no /proc')
"""


def request(text: str) -> Request:
    return Request(stack="acme/shop", zone="backend", policy=Policy(), text=text)


def test_nothing_can_be_reached_from_inside(compose_binary: Path) -> None:
    arguments = command(Confinement.BUBBLEWRAP, compose_binary, "x")
    program = arguments[: arguments.index("-I") + 1]
    done = subprocess.run(
        [*program, "-c", PROBE], capture_output=True, text=True, check=True, env={"SECRET": "x"}
    )
    environment, folders, network, files, writing, proc = done.stdout.strip().splitlines()
    assert "SECRET" not in environment
    assert "etc" not in folders
    assert network in ("Connection refused", "Network is unreachable")
    assert files == "False False"
    assert writing == "Read-only file system"
    assert proc == "no /proc"


async def test_a_missing_loader_is_told_with_the_way_out(tmp_path: Path) -> None:
    renderer = Renderer(Worker(tmp_path / "docker-compose"))
    with pytest.raises(Refused) as caught:
        await renderer.render(request("services: {web: {image: a}}"))
    assert caught.value.reason == Reason.COMPOSE_LOADER_MISSING
    assert "make up" in caught.value.message


async def test_without_a_sandbox_nothing_is_rendered(
    compose_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + ":" + os.environ["PATH"])
    renderer = Renderer(Worker(compose_binary))
    with pytest.raises(Refused) as caught:
        await renderer.render(request("services: {web: {image: a}}"))
    assert "No permissions to create new namespace" in caught.value.message
    assert "DSECOS_RENDERER_CONFINEMENT" in caught.value.message


async def test_a_loader_that_is_installed_later_is_used(compose_binary: Path, tmp_path: Path) -> None:
    program = tmp_path / "docker-compose"
    renderer = Renderer(Worker(program))
    await renderer.warm()
    shutil.copy(compose_binary, program)
    assert (await renderer.render(request("services: {web: {image: a}}"))).services == ("web",)
    await renderer.close()


async def test_an_administrator_can_do_without(compose_binary: Path) -> None:
    renderer = Renderer(Worker(compose_binary, Confinement.NONE))
    assert (await renderer.render(request("services: {web: {image: a}}"))).services == ("web",)
    await renderer.close()


async def test_the_process_is_gone_after_close(compose_binary: Path) -> None:
    worker = Worker(compose_binary)
    renderer = Renderer(worker)
    await renderer.render(request("services: {web: {image: a}}"))
    process = worker._process
    assert process is not None
    await renderer.close()
    assert process.returncode is not None
