"""A small world of real links: this namespace is the node, others are guests and the outside.

outside 192.0.2.10 --- 192.0.2.1 node 10.213.1.1 --- dtz1: one .2, two .3
                                      10.213.2.1 --- dtz2: three .2
"""

import asyncio
import itertools
import json
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from dsecos_agent.firewall.model import GuestPolicy, ZonePolicy
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Bridge

from ..links.netns import Namespace, ip  # noqa: TID252 - tests have no package to name

NODE, OUTSIDE = "192.0.2.1", "192.0.2.10"
PEER = Path(__file__).with_name("peer.py")
DROPPED = 0.25
"""Seconds of silence after which a packet counts as dropped."""
PATIENT = 10.0
"""Seconds for an answer that has to come: the machine may be busy with others."""


def bridge_port(link: str, setting: str) -> None:
    subprocess.run(["bridge", "link", "set", "dev", link, *setting.split()], check=True)


class Peer:
    """A namespace with a process in it that listens and connects."""

    def __init__(self, namespace: Namespace | None) -> None:
        """None: in the namespace that we are in."""
        self._namespace = namespace
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[str]] = {}

    @property
    def namespace(self) -> Namespace:
        assert self._namespace is not None
        return self._namespace

    async def start(self) -> None:
        argv = [sys.executable, str(PEER)]
        self._process = await asyncio.create_subprocess_exec(
            *(self._namespace.argv(*argv) if self._namespace else argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._reader.cancel()
        self._process.kill()
        await self._process.wait()
        if self._namespace is not None:
            self._namespace.close()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            self._waiting.pop(answer["id"]).set_result(answer["result"])

    async def order(self, **what: object) -> str:
        assert self._process.stdin is not None
        number = next(self._numbers)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._process.stdin.write(json.dumps({"id": number, **what}).encode() + b"\n")
        return await asyncio.wait_for(future, 30)

    async def serve(self, *ports: int, protocol: str = "tcp") -> None:
        for port in ports:
            await self.order(do="serve", port=port, protocol=protocol)

    async def connect(
        self,
        host: str,
        port: int,
        protocol: str = "tcp",
        *,
        keep: str = "",
        source: str = "",
        say: str = "",
        limit: float = DROPPED,
    ) -> str:
        return await self.order(
            do="connect",
            host=host,
            port=port,
            protocol=protocol,
            keep=keep,
            source=source,
            say=say,
            limit=limit,
        )

    async def again(self, keep: str, *, limit: float = DROPPED) -> str:
        return await self.order(do="again", keep=keep, limit=limit)

    async def frame(self, data: bytes, link: str = "eth0") -> None:
        assert await self.order(do="frame", link=link, data=data.hex()) == "sent"

    async def datagram(self, host: str, port: int, data: bytes) -> None:
        assert await self.order(do="datagram", host=host, port=port, data=data.hex()) == "sent"

    async def heard(self, last: str) -> list[str]:
        """What came by UDP, as soon as `last` has come."""
        found = (await self.order(do="heard", last=last)).split()
        assert last in found
        return found

    async def pings(self, host: str) -> bool:
        argv = ("busybox", "ping", "-c1", "-W1", host)
        return (await self.namespace.run(*argv))[0] == 0


class World:
    """Guests `one`, `two` (zone dtz1), `three` (zone dtz2), `outside`, and a peer on the node itself."""

    zones = (
        ZonePolicy("dtz1", IPv4Interface("10.213.1.1/24")),
        ZonePolicy("dtz2", IPv4Interface("10.213.2.1/24")),
    )
    guests = (
        GuestPolicy("one", "dtg1", "dtz1", "02:00:00:00:00:01", IPv4Address("10.213.1.2")),
        GuestPolicy("two", "dtg2", "dtz1", "02:00:00:00:00:02", IPv4Address("10.213.1.3")),
        GuestPolicy("three", "dtg3", "dtz2", "02:00:00:00:00:03", IPv4Address("10.213.2.2")),
    )

    def __init__(self, run_directory: Path) -> None:
        self.links = NetlinkLinks("dt", run_directory)
        self.peers: dict[str, Peer] = {}

    async def start(self) -> None:
        await self.links.ensure_forwarding()
        for zone in self.zones:
            await self.links.ensure_bridge(Bridge(zone.bridge, "owner", zone.gateway))
        for name in ("one", "two", "three", "outside"):
            self.peers[name] = Peer(Namespace())
        await asyncio.gather(*(peer.start() for peer in self.peers.values()))
        for guest in self.guests:
            await self.plug(guest)
        outside = self.peers["outside"].namespace
        outside.veth("out0")
        ip(f"addr add {NODE}/24 dev out0")
        ip("link set out0 up")
        outside.ip(f"addr add {OUTSIDE}/24 dev eth0")
        # Whoever is outside may try the zones' addresses themselves.
        outside.ip(f"route add 10.213.0.0/16 via {NODE}")

    async def plug(self, guest: GuestPolicy) -> None:
        """Give a guest its link as LXC does: its address alone, everything else through the gateway."""
        zone = next(zone for zone in self.zones if zone.bridge == guest.bridge)
        inside = self.peers[guest.name].namespace
        inside.veth(guest.link, mac=guest.mac)
        await self.links.attach(guest.link, guest.bridge)
        # Isolation of ports is a second lock; here the tables are to hold alone.
        bridge_port(guest.link, "isolated off")
        inside.ip(f"addr add {guest.address}/32 dev eth0")
        inside.ip(f"route add {zone.gateway.ip}/32 dev eth0")
        inside.ip(f"route add default via {zone.gateway.ip} dev eth0")

    async def close(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self.peers.values()))
