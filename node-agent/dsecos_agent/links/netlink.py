"""`Links` through rtnetlink(7), by pyroute2 (whose messages have no types: `Any`)."""

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from dsecos_agent.adapter_errors import AdapterError, NotFoundError, NotOursError
from dsecos_agent.engines.protocol import Watch
from dsecos_agent.links import sysctl
from dsecos_agent.links.events import NetlinkWatch
from dsecos_agent.links.protocol import ENGINE_PORT, LINK_GROUP, Bridge, ObservedBridge, ObservedPort

ALIAS = "dsecos.io/owner-uid="
IFF_UP = 1
NO_DEVICE, EXISTS = 19, 17
LINK_EVENTS, ADDRESS_EVENTS = 1, 5
"""RTNLGRP_LINK and RTNLGRP_IPV4_IFADDR (linux/rtnetlink.h)."""


def bridge_mac(name: str) -> str:
    """The same for the same bridge, so that guests' ARP entries outlive its deletion; not a vendor's."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])


ENGINE_PORT_NAME = re.compile(ENGINE_PORT.pattern.encode())


class NetlinkLinks:
    """Links that begin with `prefix`, in the network namespace that we are in."""

    def __init__(self, prefix: str, run_directory: Path) -> None:
        """`run_directory` remembers host-wide settings. Nothing is touched yet."""
        self._bridges, self._ports = f"{prefix}z", f"{prefix}g"
        self._host = sysctl.HostSettings(run_directory / "sysctl.json")

    async def list_bridges(self) -> Sequence[ObservedBridge]:
        """All bridges of ours, sorted by name."""
        async with _netlink() as ipr:
            links = [link async for link in await ipr.get_links()]
            ours = {link["index"]: link for link in links if link.get("ifname").startswith(self._bridges)}
            addresses: dict[int, list[IPv4Interface]] = {index: [] for index in ours}
            async for one in await ipr.get_addr(family=socket.AF_INET):
                if one["index"] in addresses:
                    addresses[one["index"]].append(_interface(one))
        found = [
            ObservedBridge(
                name=link.get("ifname"),
                owner_uid=_owner(link),
                addresses=tuple(sorted(addresses[index])),
                up=bool(link["flags"] & IFF_UP),
                mtu=link.get("mtu"),
                ports=tuple(sorted(port.get("ifname") for port in links if port.get("master") == index)),
            )
            for index, link in ours.items()
        ]
        return sorted(found, key=lambda bridge: bridge.name)

    async def list_ports(self) -> Sequence[ObservedPort]:
        """All guests' veths, sorted by name."""
        async with _netlink() as ipr:
            links = [link async for link in await ipr.get_links()]
        names = {link["index"]: link.get("ifname") for link in links}
        found = [
            ObservedPort(
                name=link.get("ifname"),
                bridge=names.get(link.get("master")),
                isolated=_is_isolated(link),
                up=bool(link["flags"] & IFF_UP),
            )
            for link in links
            if self._is_port(link.get("ifname"))
        ]
        return sorted(found, key=lambda port: port.name)

    async def ensure_bridge(self, bridge: Bridge) -> bool:
        """Make it as described. Raises NotOursError, AdapterError."""
        self._check_name(bridge.name)
        async with _netlink() as ipr:
            changed = False
            link = await _get(ipr, bridge.name)
            if link is None:
                link = await self._create(ipr, bridge)
                changed = True
            index = link["index"]
            if not link.get("ifalias") and not link["flags"] & IFF_UP:
                # Made and then left by an agent that was killed: nobody else makes a bridge of this name.
                await ipr.link("set", index=index, ifalias=f"{ALIAS}{bridge.owner_uid}")
            elif _owner(link) != bridge.owner_uid:
                raise NotOursError("bridge", bridge.name, wanted=bridge.owner_uid, found=_owner(link))
            if (link.get("mtu"), link.get("group")) != (bridge.mtu, LINK_GROUP):
                await ipr.link("set", index=index, mtu=bridge.mtu, group=LINK_GROUP)
                changed = True
            changed |= await asyncio.to_thread(sysctl.set_up_bridge, bridge.name)
            changed |= await _set_address(ipr, index, bridge.gateway)
            if not link["flags"] & IFF_UP:
                await ipr.link("set", index=index, state="up")
                changed = True
            return changed

    async def remove_bridge(self, name: str, owner_uid: str) -> None:
        """Delete it. Raises NotOursError."""
        self._check_name(name)
        async with _netlink() as ipr:
            link = await _get(ipr, name)
            if link is None:
                return
            if _owner(link) != owner_uid:
                raise NotOursError("bridge", name, wanted=owner_uid, found=_owner(link))
            await ipr.link("del", index=link["index"])

    async def attach(self, port: str, bridge: str) -> bool:
        """Make the veth an isolated port of the bridge. Raises NotFoundError."""
        if not self._is_port(port):
            raise AdapterError(f"{port} is not a guest's link")
        self._check_name(bridge)
        async with _netlink() as ipr:
            link, master = await _get(ipr, port), await _get(ipr, bridge)
            if link is None or master is None:
                raise NotFoundError(f"there is no {'link ' + port if link is None else 'bridge ' + bridge}")
            attached = link.get("master") == master["index"]
            if not attached:
                await ipr.link("set", index=link["index"], master=master["index"])
            isolated = attached and _is_isolated(link)
            if not isolated:
                await ipr.brport("set", index=link["index"], isolated=1)
            up = bool(link["flags"] & IFF_UP)
            if not up:
                await ipr.link("set", index=link["index"], state="up")
            return not (attached and isolated and up)

    async def ensure_forwarding(self) -> bool:
        """Let the host forward; True when it did before us."""
        return await asyncio.to_thread(self._host.put, sysctl.FORWARD, "1") == "1"

    async def restore_forwarding(self) -> None:
        """Give the host's own setting back."""
        await asyncio.to_thread(self._host.restore)

    def subscribe(self, callback: Callable[[], None]) -> Watch:
        """Be told when one of our links or its addresses changes."""
        marks = (self._bridges.encode(), self._ports.encode())
        return NetlinkWatch(
            socket.NETLINK_ROUTE,
            (LINK_EVENTS, ADDRESS_EVENTS),
            lambda message: any(mark in message for mark in marks) or is_engine_port(message),
            callback,
        )

    async def close(self) -> None:
        """Nothing is held open."""

    def _is_port(self, name: str) -> bool:
        return name.startswith(self._ports) or ENGINE_PORT.fullmatch(name) is not None

    def _check_name(self, bridge: str) -> None:
        if not bridge.startswith(self._bridges):
            raise AdapterError(f"{bridge} is not a zone's bridge")

    @staticmethod
    async def _create(ipr: Any, bridge: Bridge) -> Any:
        try:
            await ipr.link(
                "add",
                ifname=bridge.name,
                kind="bridge",
                address=bridge_mac(bridge.name),
                mtu=bridge.mtu,
                group=LINK_GROUP,
                br_stp_state=0,
                br_forward_delay=0,
                br_mcast_snooping=0,
            )
        except NetlinkError as error:
            if error.code != EXISTS:
                raise
        link = await _get(ipr, bridge.name)
        if link is None:
            raise AdapterError(f"bridge {bridge.name} was deleted while it was made")
        return link


def is_engine_port(message: bytes) -> bool:
    """Whether a message of the kernel names a port that an engine has named."""
    return ENGINE_PORT_NAME.search(message) is not None


@asynccontextmanager
async def _netlink() -> AsyncIterator[Any]:
    try:
        async with AsyncIPRoute() as ipr:
            yield ipr
    except NetlinkError as error:
        raise AdapterError(f"the kernel refused a change of links: {error}") from error


async def _get(ipr: Any, name: str) -> Any:
    try:
        return (await ipr.link("get", ifname=name))[0]
    except NetlinkError as error:
        if error.code == NO_DEVICE:
            return None
        raise


async def _set_address(ipr: Any, index: int, wanted: IPv4Interface) -> bool:
    present = {_interface(one) async for one in await ipr.get_addr(family=socket.AF_INET, index=index)}
    for extra in present - {wanted}:
        await ipr.addr("del", index=index, address=str(extra.ip), prefixlen=extra.network.prefixlen)
    if wanted not in present:
        broadcast = str(wanted.network.broadcast_address)
        await ipr.addr(
            "add",
            index=index,
            address=str(wanted.ip),
            prefixlen=wanted.network.prefixlen,
            broadcast=broadcast,
        )
    return present != {wanted}


def _interface(address: Any) -> IPv4Interface:
    return IPv4Interface(f"{address.get('local') or address.get('address')}/{address['prefixlen']}")


def _owner(link: Any) -> str | None:
    alias = link.get("ifalias") or ""
    return alias.removeprefix(ALIAS) if alias.startswith(ALIAS) else None


def _is_isolated(link: Any) -> bool:
    info = link.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_SLAVE_DATA") if info is not None else None
    return bool(data is not None and data.get_attr("IFLA_BRPORT_ISOLATED"))
