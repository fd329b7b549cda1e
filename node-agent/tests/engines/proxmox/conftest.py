"""A cluster of two nodes and an engine on the first, for tests that name them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine

from .world import Lab, lab


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Lab]:
    """The cluster; a file that needs one node has a fixture of its own."""
    with lab(tmp_path, nodes=("pve1", "pve2")) as cluster:
        yield cluster


@pytest.fixture
async def engine(made: Lab) -> AsyncIterator[ProxmoxEngine]:
    """The engine, with no guest in it."""
    engine = made.engine()
    yield engine
    await engine.close()
