"""Everything here happens in network namespaces of the tests' own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from dsecos_agent.firewall.nft import NftFirewall

from ..links.encapsulations import ENCAPSULATIONS  # noqa: TID252 - tests have no package to name
from ..links.netns import own_network  # noqa: TID252 - tests have no package to name
from .nodes import Nodes
from .world import World


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
async def firewall(network: None, tmp_path: Path) -> AsyncIterator[NftFirewall]:
    firewall = NftFirewall("dtfw", "dt", tmp_path / "run")
    yield firewall
    await firewall.close()


@pytest.fixture
async def world(firewall: NftFirewall, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "run")
    await world.start()
    yield world
    await world.close()


@pytest.fixture(params=ENCAPSULATIONS, ids=str)
async def nodes(
    request: pytest.FixtureRequest, firewall: NftFirewall, tmp_path: Path
) -> AsyncIterator[Nodes]:
    nodes = Nodes(firewall, tmp_path / "run", request.param)
    try:
        await nodes.start()
        yield nodes
    finally:
        await nodes.close()
