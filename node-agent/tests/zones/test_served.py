"""A guest of a zone asks its gateway for names: the controller and dnsmasq as they are."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.names.dnsmasq import DnsmasqServers
from dsecos_agent.names.servers import Folder, end_all

from ..guests.samples import attachment  # noqa: TID252
from ..links.netns import ip, own_network  # noqa: TID252
from ..names.query import Answer  # noqa: TID252
from ..names.world import Guest  # noqa: TID252
from .world import BRIDGE, LONG, Surroundings, Watched, Zone, by_hand

PORT = "dtg00000001"
SHOP = "shop.acme.dsecos.internal"
NAMED = {"namespace": "acme", "stack": "shop", "addresses": ["10.20.0.2"], "services": ["web"]}


class Node:
    """A zone on it, and a guest of that."""

    def __init__(self, zone: Zone, guest: Guest, folder: Folder) -> None:
        self.zone, self.guest, self.folder = zone, guest, folder

    async def plug(self) -> None:
        await self.zone.links.attach(PORT, BRIDGE)

    async def ask(self, name: str) -> Answer:
        return await asyncio.to_thread(self.guest.ask, name, server="10.20.0.1")

    async def told(self) -> str:
        async with asyncio.timeout(LONG):
            return await self.zone.around.told.get()


@pytest.fixture
def home() -> Iterator[Path]:
    """Others pass through it; what a killed run left in one is ended by the tests of name servers."""
    home = Path(tempfile.mkdtemp(prefix=f"dsecos-names-{os.getpid()}-"))
    home.chmod(0o711)
    yield home
    shutil.rmtree(home)


@pytest.fixture
async def node(home: Path) -> AsyncIterator[Node]:
    with own_network():
        around, links, servers = (
            Surroundings(),
            NetlinkLinks("dt", home),
            DnsmasqServers(home / "names", "dt"),
        )
        controller, guest = Watched(around, links, servers), Guest()
        listening = asyncio.create_task(controller.background())
        await asyncio.sleep(0)
        ip(f"link add {PORT} type veth peer eth0 netns {guest.space.path}")
        guest.space.ip(
            "link set eth0 up", "addr add 10.20.0.2/32 dev eth0", "route add 10.20.0.1/32 dev eth0"
        )
        try:
            yield Node(Zone(around, links, controller), guest, Folder(home / "names"))
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
            await servers.close()
            end_all(home / "names")
            guest.space.close()


async def test_names_are_served_as_long_as_the_zone_is_there(node: Node) -> None:
    await node.zone.wants(attachment(names=[NAMED]))
    await node.plug()
    known = Answer("NOERROR", frozenset({"10.20.0.2"}), 5)
    assert await node.ask(SHOP) == await node.ask(f"web.{SHOP}") == known
    assert (await node.ask("example.org")).code == "REFUSED", "a closed zone asks nobody"

    server = node.folder.server(BRIDGE)
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    assert await node.told() == f"the name server of {BRIDGE} had ended"
    assert await node.ask(SHOP) == known

    by_hand(f"ip link del {BRIDGE}")
    assert (await node.told()).startswith(f"bridge {BRIDGE} was deleted")
    await node.plug()
    assert await node.ask(SHOP) == known

    node.zone.around.zones.clear()
    await node.zone.controller.seed()
    assert node.folder.running() == {}
