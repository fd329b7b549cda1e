"""Looking at the host's links and changing them, with ip(8), in the network namespace that we are in."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_interface
from typing import Any

import psutil
from dsecos_api.hostpolicy import Uplink

from dsecos_agent.processes import run
from dsecos_agent.uplinks.check import IP
from dsecos_agent.uplinks.model import Address, Interface, Link, Network, Route, Script
from dsecos_agent.uplinks.plan import script, target

BATCH = ("ip", "-force", "-batch", "-")
"""Goes on after a line that fails."""
TIME_LIMIT = 30.0
LISTING_LIMIT = 1 << 20
ATTEMPTS = 3
UNIQUE_TIME_LIMIT = 5.0
"""Seconds that the kernel may take to find out whether somebody else has an IPv6 address (RFC 4862 5.4)."""
LOOK_EVERY = 0.1
FOREVER = 2**32 - 1
ANNOUNCED = frozenset({"mngtmpaddr", "temporary"})
"""Flags of addresses that the kernel made of a router's announcement."""
NOT_OF_THE_ROUTE = frozenset(
    {"linkdown", "dead", "offload", "offload_failed", "trap", "rt_offload", "rt_trap"}
)
"""What ip-route(8) prints of a route's state, and does not take."""


async def observe(interfaces: Iterable[str]) -> Network:
    """These links and their routes, and the host's default routes."""
    links: dict[str, Link] = {}
    routes: list[Route] = []
    for name in interfaces:
        found = await _addresses_of(name)
        if found:
            links[name] = _link(found)
            for family in (4, 6):
                for words in await _routes(family, "dev", name):
                    if words[0] != "default":
                        routes.append(Route(family, (*words[:1], "dev", name, *words[1:])))
    for family in (4, 6):
        routes += [Route(family, words) for words in await _routes(family, "default")]
    return Network(links, tuple(routes))


async def bring(uplinks: Sequence[Uplink]) -> str | None:
    """Make them so; what the kernel does not take, or None."""
    names = [each.interface for each in uplinks]
    before = await observe(names)
    wanted = target(uplinks, before)
    said, now = "", before
    for _ in range(ATTEMPTS):
        if target(uplinks, now) == now:
            break
        said = await apply(script(now, wanted)) or said
        now = await observe(names)
    if target(uplinks, now) != now:
        return f"the kernel does not take them: {said}"
    return await _duplicate(uplinks)


async def apply(steps: Script) -> str:
    """Run it; what was wrong with its second part, or nothing."""
    for text in filter(None, (steps.drop, steps.put)):
        result = await run(BATCH, stdin=text.encode(), time_limit=TIME_LIMIT)
    return result.text_err().strip()[-1000:] if steps.put and result.exit_code else ""


def addresses_elsewhere(interfaces: Iterable[str]) -> frozenset[IP]:
    """Of all other links."""
    named = set(interfaces)
    return frozenset(
        ip_address(each.address.partition("%")[0])
        for name, addresses in psutil.net_if_addrs().items()
        if name not in named
        for each in addresses
        if each.family != psutil.AF_LINK
    )


async def _duplicate(uplinks: Sequence[Uplink]) -> str | None:
    """Why one of them cannot be used, once the kernel knows."""
    wanted = {ip_interface(text) for uplink in uplinks for text in uplink.addresses or ()}
    try:
        async with asyncio.timeout(UNIQUE_TIME_LIMIT):
            while True:
                found = [each for uplink in uplinks for each in await _held(uplink.interface)]
                judged = [each for each in found if _interface(each) in wanted]
                failed = [each["local"] for each in judged if "dadfailed" in each]
                if failed:
                    return f"somebody else has {failed[0]} already"
                if not any("tentative" in each for each in judged):
                    return None
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        return None


async def _held(name: str) -> list[dict[str, Any]]:
    return [each for each in (await _addresses_of(name)).get("addr_info", []) if "local" in each]


def _interface(address: dict[str, Any]) -> Interface:
    return ip_interface(f"{address['local']}/{address['prefixlen']}")


async def _addresses_of(name: str) -> dict[str, Any]:
    """Empty: there is no such link."""
    result = await _ip("-d", "-j", "addr", "show", "dev", name)
    return dict(json.loads(result)[0]) if result.strip() else {}


def _link(found: dict[str, Any]) -> Link:
    addresses = [
        Address(_interface(each), tuple(_words(each)))
        for each in found["addr_info"]
        if each.get("scope") == "global" and "local" in each and not _announced(each)
    ]
    return Link(found["mtu"], tuple(addresses), found.get("min_mtu", 0), found.get("max_mtu", 0))


def _announced(address: dict[str, Any]) -> bool:
    return bool(ANNOUNCED & address.keys()) or address.get("protocol") == "kernel_ra"


def _words(address: dict[str, Any]) -> Iterable[str]:
    if "address" in address:
        yield from ("peer", f"{address['address']}/{address['prefixlen']}")
    for word in ("broadcast", "label", "metric"):
        if word in address:
            yield from (word, str(address[word]))
    yield from (flag for flag in ("nodad", "noprefixroute", "autojoin") if flag in address)
    for key, word in (("valid_life_time", "valid_lft"), ("preferred_life_time", "preferred_lft")):
        if address.get(key, FOREVER) != FOREVER:
            yield from (word, str(address[key]))


async def _routes(family: int, *which: str) -> list[tuple[str, ...]]:
    listing = await _ip("-o", f"-{family}", "route", "show", *which)
    lines = [_taken(line.replace("\\", " ").split()) for line in listing.splitlines()]
    return [words for words in lines if words and not _by_kernel(words)]


def _taken(words: list[str]) -> tuple[str, ...]:
    found = [each for each in words if each not in NOT_OF_THE_ROUTE]
    if "expires" in found:
        at = found.index("expires")
        del found[at : at + 2]
    return tuple(found)


def _by_kernel(words: tuple[str, ...]) -> bool:
    """Also what IPv6 routers announce: the kernel hears it again."""
    origin = words[words.index("proto") + 1] if "proto" in words else ""
    return origin in {"kernel", "ra"} or words[0] in {"unreachable", "blackhole", "prohibit"}


async def _ip(*words: str) -> str:
    """What it prints; nothing when there is no such link."""
    result = await run(["ip", *words], time_limit=TIME_LIMIT, output_limit=LISTING_LIMIT)
    return result.text() if result.exit_code == 0 else ""
