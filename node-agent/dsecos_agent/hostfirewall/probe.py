"""What the node reaches: the API server, by a new connection, and its default gateways."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import psutil
from dsecos_runtime import Credentials

from dsecos_agent.adapter_errors import RetryableError
from dsecos_agent.hostfirewall.model import Address, ApiServer
from dsecos_agent.processes import run

TIME_LIMIT = 10.0
"""Seconds for one look."""
LOOK_EVERY = 0.1
KNOWN = frozenset({"REACHABLE", "PERMANENT", "NOARP"})
"""States of a neighbour (ip-neighbour(8)) in which its link-layer address is known for sure."""
PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Reach:
    """What was found; None: reached."""

    api: str | None
    name: str = ""
    """Of the API server."""
    gateways: Mapping[str, str | None] = field(default_factory=dict)


def broken(before: Reach, after: Reach) -> str | None:
    """What was reached before, or is new, and is not reached. Pure."""
    if after.api is not None:
        return after.api
    lost = [
        problem
        for name, problem in after.gateways.items()
        if problem is not None and before.gateways.get(name) is None
    ]
    return lost[0] if lost else None


def proof(reach: Reach) -> str:
    """What a change was held against. Pure."""
    parts = [f"reached with it: API server {reach.name}"]
    parts += [f"gateway {name}" for name, problem in reach.gateways.items() if problem is None]
    silent = [name for name, problem in reach.gateways.items() if problem is not None]
    text = ", ".join(parts)
    if silent:
        return f"{text}; not judged: gateway {', '.join(silent)}, silent before the change too"
    return text if reach.gateways else f"{text}; no gateway to ask: there is no default route"


class HostProbe:
    """With the credentials of the agent."""

    def __init__(self, credentials: Credentials) -> None:
        """Nothing is sent yet."""
        self._credentials = credentials

    async def look(self) -> Reach:
        """The API server and all gateways, side by side."""
        api, gateways = await asyncio.gather(self._api(), _gateways())
        return Reach(api, name=self._host_and_port(), gateways=gateways)

    async def api_server(self) -> ApiServer:
        """Where it is at present. Raises RetryableError if its name is not known."""
        host, port, _ = _place(self._credentials.server)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError as error:
            raise RetryableError(f"the API server's name {host} is not known: {error}") from error
        addresses = frozenset(_address(entry[4][0]) for entry in found)
        here = any(each.is_loopback for each in addresses) or not addresses.isdisjoint(_own_addresses())
        return ApiServer(host, port, addresses, here)

    def _host_and_port(self) -> str:
        host, port, _ = _place(self._credentials.server)
        return f"{host}:{port}"

    async def _api(self) -> str | None:
        host, port, secure = _place(self._credentials.server)
        context: ssl.SSLContext | None = None
        if secure:
            context = await asyncio.to_thread(self._credentials.ssl_context)
        try:
            async with asyncio.timeout(TIME_LIMIT):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
        except (OSError, TimeoutError) as error:
            said = str(error) or "no answer"
            return f"the API server {host}:{port} cannot be reached: {said}"
        writer.transport.abort()
        return None


def _place(server: str) -> tuple[str, int, bool]:
    url = urlsplit(server)
    return url.hostname or "", url.port or PORTS[url.scheme], url.scheme == "https"


def _own_addresses() -> set[Address]:
    return {
        _address(each.address)
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family in (socket.AF_INET, socket.AF_INET6)
    }


def _address(text: Any) -> Address:
    return ip_address(str(text).partition("%")[0])


async def _gateways() -> dict[str, str | None]:
    found = sorted({route async for route in _default_routes()})
    problems = await asyncio.gather(*(_gateway(*each) for each in found))
    return {f"{address} on {link}": problem for (address, link), problem in zip(found, problems, strict=True)}


async def _default_routes() -> AsyncIterator[tuple[str, str]]:
    for family in ("-4", "-6"):
        for route in await _ip(family, "route", "show", "default"):
            for hop in route.get("nexthops", [route]):
                if "gateway" in hop and "dev" in hop:
                    yield hop["gateway"], hop["dev"]


async def _gateway(address: str, link: str) -> str | None:
    """Have the kernel ask for its link-layer address, and wait for the answer."""
    where = (address, "dev", link)
    known = any("lladdr" in each for each in await _ip("neigh", "show", "to", *where))
    # An address that is known is asked for again; for one that is not a resolution begins.
    await _ip("neigh", *(("change", *where, "nud", "probe") if known else ("replace", *where, "use")))
    try:
        async with asyncio.timeout(TIME_LIMIT):
            while True:
                states = {
                    state for each in await _ip("neigh", "show", "to", *where) for state in each["state"]
                }
                if states & KNOWN:
                    return None
                if "FAILED" in states:
                    break
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        pass
    return f"the gateway {address} on {link} does not answer"


async def _ip(*words: str) -> list[dict[str, Any]]:
    result = await run(["ip", "-j", *words], time_limit=TIME_LIMIT)
    text = result.text().strip()
    return list(json.loads(text)) if result.exit_code == 0 and text else []
