"""Everything here happens in network namespaces of the tests' own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_agent.hostfirewall.table import HostTable

from ..links.netns import own_network  # noqa: TID252 - tests have no package to name
from .lan import Neighbour

INSTANCE, PREFIX = "dthf", "dt"


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def admin(network: None) -> Iterator[Neighbour]:
    """In the management network."""
    yield from _neighbour(1)


@pytest.fixture
def peer(network: None) -> Iterator[Neighbour]:
    """Another node of the cluster."""
    yield from _neighbour(2)


@pytest.fixture
def stranger(network: None) -> Iterator[Neighbour]:
    yield from _neighbour(3)


@pytest.fixture
def api(network: None) -> Iterator[Neighbour]:
    """Where the API server is."""
    yield from _neighbour(4)


@pytest.fixture
def table(network: None, tmp_path: Path) -> HostTable:
    return HostTable(INSTANCE, tmp_path / "applied.json")


def _neighbour(number: int) -> Iterator[Neighbour]:
    neighbour = Neighbour(number)
    yield neighbour
    neighbour.close()
