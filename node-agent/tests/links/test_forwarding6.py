"""A node becomes an IPv6 router, and its uplink goes on listening to the routers that it had."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_agent.links.netlink import NetlinkLinks

from .netns import ip, own_network
from .nodes import Inside

ALL, UPLINK, OTHER = "all/forwarding", "uplink/forwarding", "other/forwarding"
ALL_NODES = "ff02::1"


def conf(name: str) -> str:
    return Path("/proc/sys/net/ipv6/conf", name).read_text().strip()


def put(name: str, value: str) -> None:
    Path("/proc/sys/net/ipv6/conf", name).write_text(value)


def memory_of(home: Path) -> Path:
    return home / "sysctl.json"


@pytest.fixture
def router() -> Iterator[Inside]:
    """We are in a namespace with an uplink; at its other end is a router."""
    with own_network():
        inside = Inside()
        try:
            for name in ("default", "all"):
                put(f"{name}/accept_dad", "0")
            inside.namespace.veth("uplink")
            inside.ip("addr add fe80::1/64 dev eth0 nodad")
            ip("link add other type bridge")
            put(OTHER, "1")
            put("uplink/accept_dad", "0")
            ip("link set uplink up")
            yield inside
        finally:
            inside.close()


def advertise(router: Inside) -> None:
    """A router advertisement without options: a default router for 1800 s (RFC 4861, 4.2)."""

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            raw.bind(("fe80::1", 0, 0, socket.if_nametoindex("eth0")))
            message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
            raw.sendto(message, (ALL_NODES, 0, 0, socket.if_nametoindex("eth0")))

    router.call(send)


async def learnt(router: Inside) -> None:
    """Our uplink has the router's default route."""
    async with asyncio.timeout(60):
        while "default via fe80::1" not in ip("-6 route show default"):
            advertise(router)
            await asyncio.sleep(0.05)  # the kernel tells no program that it has read an advertisement


async def test_learnt_routes_stay_and_are_learnt_on(router: Inside, tmp_path: Path) -> None:
    await learnt(router)
    links = NetlinkLinks("dt", tmp_path)
    assert await links.ensure_forwarding6() is False
    assert conf(ALL) == "1"
    assert (conf(UPLINK), conf("uplink/accept_ra"), conf("default/forwarding")) == ("0", "1", "0")
    assert conf(OTHER) == "1"
    assert "default via fe80::1" in ip("-6 route show default")
    ip("-6 route flush default")
    await learnt(router)


async def test_all_is_given_back(router: Inside, tmp_path: Path) -> None:
    links = NetlinkLinks("dt", tmp_path)
    await links.ensure_forwarding6()
    assert await NetlinkLinks("dt", tmp_path).ensure_forwarding6() is False, "what was before the first of us"
    await links.restore_forwarding()
    assert [conf(name) for name in (ALL, UPLINK, OTHER)] == ["0", "0", "1"]
    assert not memory_of(tmp_path).exists()


async def test_an_agent_that_was_killed_in_between_ends_it(router: Inside, tmp_path: Path) -> None:
    await NetlinkLinks("dt", tmp_path).ensure_forwarding6()
    memory = memory_of(tmp_path)
    written = memory.read_text()
    put("uplink/accept_ra", "2")
    put(UPLINK, "1")
    assert await NetlinkLinks("dt", tmp_path).ensure_forwarding6() is False
    assert (conf(UPLINK), conf("uplink/accept_ra"), conf(ALL)) == ("0", "1", "1")
    assert json.loads(memory.read_text()) == json.loads(written)


async def test_a_router_stays_as_it_is(router: Inside, tmp_path: Path) -> None:
    put(ALL, "1")
    put(UPLINK, "0")
    links = NetlinkLinks("dt", tmp_path)
    assert await links.ensure_forwarding6() is True
    assert [conf(name) for name in (ALL, UPLINK, OTHER)] == ["1", "0", "1"]
    await links.restore_forwarding()
    assert conf(ALL) == "1"


async def test_an_administrators_later_choice_is_left_alone(router: Inside, tmp_path: Path) -> None:
    links = NetlinkLinks("dt", tmp_path)
    await links.ensure_forwarding6()
    put(UPLINK, "1")
    await links.ensure_forwarding6()
    assert conf(UPLINK) == "1"
