"""Real dnsmasq in network namespaces of the tests' own.

Servers outlive who began them, so also a test run that was killed: each run's folder carries its pid, and
the next run ends those of runs that are gone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dsecos_agent.names.dnsmasq import DnsmasqServers
from dsecos_agent.names.servers import end_all

from ..links.netns import own_network  # noqa: TID252 - tests have no package to name
from .world import Bridge, Upstream

PREFIX = "dsecos-names-"
OF_RUN = re.compile(rf"--addn-hosts=({re.escape(tempfile.gettempdir())}/{PREFIX}(\d+)-[^/]*)/")


@pytest.fixture(scope="session", autouse=True)
def sweep() -> None:
    """Ends what a killed run left."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            found = entry.name.isdecimal() and OF_RUN.search((entry / "cmdline").read_bytes().decode())
            if found and not Path("/proc", found[2]).exists():
                os.kill(int(entry.name), signal.SIGKILL)
                shutil.rmtree(found[1], ignore_errors=True)


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def state(network: None) -> Iterator[Path]:
    """As in an agent's home: others pass through what is above it, and no more."""
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    home.chmod(0o711)
    yield home / "run" / "names"
    end_all(home / "run" / "names")
    shutil.rmtree(home)


@pytest.fixture
def resolv(state: Path) -> Path:
    """The node's resolv.conf(5), which names `Upstream`."""
    folder = state.parent.parent / "etc"
    folder.mkdir(mode=0o755)
    file = folder / "resolv.conf"
    file.write_text("nameserver 192.0.2.2\n")
    return file


@pytest.fixture
async def agent(state: Path) -> AsyncIterator[Callable[..., DnsmasqServers]]:
    """Makes the servers' keeper, as each start of an agent does."""
    made: list[DnsmasqServers] = []

    def make(**options: Path) -> DnsmasqServers:
        made.append(DnsmasqServers(state, "dsnames", **options))
        return made[-1]

    yield make
    for servers in made:
        await servers.close()


@pytest.fixture
def servers(agent: Callable[..., DnsmasqServers]) -> DnsmasqServers:
    return agent()


@pytest.fixture
def one(network: None) -> Iterator[Bridge]:
    bridge = Bridge(1)
    yield bridge
    bridge.guest.space.close()


@pytest.fixture
def two(network: None) -> Iterator[Bridge]:
    bridge = Bridge(2)
    yield bridge
    bridge.guest.space.close()


@pytest.fixture
def upstream(network: None) -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()
