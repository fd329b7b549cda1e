"""What the operator's tests share: the real compose program, and a renderer in its real sandbox."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from dsecos_operator.rendering import Renderer, Worker


@pytest.fixture(scope="session")
def compose_binary() -> Path:
    """Docker Compose as the guest template has it. `dsecos-images build` leaves it in the cache."""
    named = os.environ.get("DSECOS_COMPOSE_BINARY")
    if named:
        return Path(named)
    cache = Path(os.environ.get("DSECOS_CACHE", "~/.cache/dsecos")).expanduser()
    found = sorted(cache.glob("images/guest/*/docker-compose"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.fail("no docker-compose: build the guest template, or name one with DSECOS_COMPOSE_BINARY")
    return found[-1]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def renderer(compose_binary: Path) -> AsyncIterator[Renderer]:
    """The real thing: sandbox, Jinja, Docker Compose's loader."""
    renderer = Renderer(Worker(compose_binary))
    yield renderer
    await renderer.close()
