"""`Links` through rtnetlink(7), by pyroute2 (whose messages have no types: `Any`)."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from dsecos_agent.adapter_errors import AdapterError, NotFoundError
from dsecos_agent.engines.protocol import Watch
from dsecos_agent.links import sysctl, transit
from dsecos_agent.links.concern import Concern, link_watch
from dsecos_agent.links.kernel import (
    Interface,
    beside,
    claim,
    get,
    is_up,
    looked,
    made,
    netlink,
    owner_in,
    remove,
    set_addresses,
)
from dsecos_agent.links.linkmessages import Link
from dsecos_agent.links.messages import Network
from dsecos_agent.links.protocol import (
    ENGINE_PORT,
    LINK_GROUP,
    Bridge,
    ObservedBridge,
    ObservedPort,
    ObservedTransit,
    Transit,
)
from dsecos_agent.links.rtnetlink import Channel


def bridge_mac(name: str) -> str:
    """The same for the same bridge, so that guests' ARP entries outlive its deletion; not a vendor's."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])


class NetlinkLinks:
    """Links that begin with `prefix`, in the network namespace that we are in."""

    def __init__(self, prefix: str, run_directory: Path) -> None:
        """`run_directory` remembers host-wide settings. Nothing is touched yet."""
        self._bridges, self._ports, self._transits = f"{prefix}z", f"{prefix}g", f"{prefix}v"
        self._host = sysctl.HostSettings(run_directory / "sysctl.json")

    async def list_bridges(self) -> Sequence[ObservedBridge]:
        """All bridges of ours, sorted by name."""
        host = await looked(_look)
        found = [_bridge(link, host) for link in host.links if link.name.startswith(self._bridges)]
        return sorted(found, key=lambda bridge: bridge.name)

    async def list_ports(self) -> Sequence[ObservedPort]:
        """All guests' veths, sorted by name."""
        links = await looked(Channel.links)
        names = {link.index: link.name for link in links}
        found = [
            ObservedPort(link.name, names.get(link.master), isolated=link.isolated, up=link.up)
            for link in links
            if self._is_port(link.name)
        ]
        return sorted(found, key=lambda port: port.name)

    async def host_networks(self) -> Mapping[str, Sequence[Network]]:
        """What the host reaches straight over links that are not ours, by link."""
        host = await looked(_look)
        ours = (self._bridges, self._ports, self._transits)
        others = (link for link in host.links if not link.name.startswith(ours))
        found = {link.name: host.networks.get(link.index, frozenset()) for link in others}
        return {
            name: sorted(each, key=lambda one: (one.version, one)) for name, each in found.items() if each
        }

    async def ensure_bridge(self, bridge: Bridge) -> bool:
        """Make it as described. Raises NotOursError, AdapterError."""
        self._check_name(bridge.name)
        async with netlink() as ipr:
            changed = False
            link = await get(ipr, bridge.name)
            if link is None:
                link = await _create(ipr, bridge)
                changed = True
            index = link["index"]
            await claim(ipr, link, "bridge", bridge.owner_uid)
            if (link.get("mtu"), link.get("group")) != (bridge.mtu, LINK_GROUP):
                await ipr.link("set", index=index, mtu=bridge.mtu, group=LINK_GROUP)
                changed = True
            if bridge.mac not in {None, link.get("address")}:
                await ipr.link("set", index=index, address=bridge.mac)
                changed = True
            ipv6 = bridge.gateway6 is not None
            changed |= await asyncio.to_thread(sysctl.set_up_bridge, bridge.name, ipv6=ipv6)
            addresses = (await beside(Channel.addresses)).get(index, ())
            wanted: list[Interface] = [bridge.gateway]
            if bridge.gateway6 is not None:
                wanted.append(bridge.gateway6)
            changed |= await set_addresses(ipr, index, set(_given(addresses)), wanted)
            if not is_up(link):
                await ipr.link("set", index=index, state="up")
                changed = True
            present = (await beside(Channel.networks)).get(index, ())
            for gateway in wanted:
                if gateway.network not in present:
                    await _route(ipr, index, gateway)
                    changed = True
            return changed

    async def remove_bridge(self, name: str, owner_uid: str) -> None:
        """Delete it. Raises NotOursError."""
        self._check_name(name)
        await remove(name, "bridge", owner_uid)

    async def list_transits(self) -> Sequence[ObservedTransit]:
        """All transit links of ours, sorted by name."""
        return await transit.observe(self._transits)

    async def ensure_transit(self, wanted: Transit) -> bool:
        """Make it as described. Raises NotOursError, AdapterError."""
        self._check_transit(wanted.name)
        return await transit.ensure(wanted)

    async def remove_transit(self, name: str, owner_uid: str) -> None:
        """Delete it. Raises NotOursError."""
        self._check_transit(name)
        await remove(name, "transit link", owner_uid)

    async def attach(self, port: str, bridge: str) -> bool:
        """Make the veth an isolated port of the bridge. Raises NotFoundError."""
        if not self._is_port(port):
            raise AdapterError(f"{port} is not a guest's link")
        self._check_name(bridge)
        async with netlink() as ipr:
            link, master = await get(ipr, port), await get(ipr, bridge)
            if link is None or master is None:
                raise NotFoundError(f"there is no {'link ' + port if link is None else 'bridge ' + bridge}")
            attached = link.get("master") == master["index"]
            if not attached:
                await ipr.link("set", index=link["index"], master=master["index"])
            isolated = attached and _is_isolated(link)
            if not isolated:
                await ipr.brport("set", index=link["index"], isolated=1)
            up = is_up(link)
            if not up:
                await ipr.link("set", index=link["index"], state="up")
            return not (attached and isolated and up)

    async def ensure_forwarding(self) -> bool:
        """Let the host forward; True when it did before us."""
        return await asyncio.to_thread(self._host.put, sysctl.FORWARD, "1") == "1"

    async def ensure_forwarding6(self) -> bool:
        """Let the host forward IPv6; True when it did before us."""
        return await asyncio.to_thread(self._host.forward6) == "1"

    async def restore_forwarding(self) -> None:
        """Give the host's own setting back."""
        await asyncio.to_thread(self._host.restore)

    def subscribe(self, callback: Callable[[], None], transits: Callable[[], None] | None = None) -> Watch:
        """Be told when one of our links, its addresses or what it carries changes."""
        return link_watch(Concern(self._bridges, self._ports, self._transits), callback, transits)

    async def close(self) -> None:
        """Nothing is held open."""

    def _is_port(self, name: str) -> bool:
        return name.startswith(self._ports) or ENGINE_PORT.fullmatch(name) is not None

    def _check_name(self, bridge: str) -> None:
        if not bridge.startswith(self._bridges):
            raise AdapterError(f"{bridge} is not a zone's bridge")

    def _check_transit(self, link: str) -> None:
        if not link.startswith(self._transits):
            raise AdapterError(f"{link} is not a zone's transit link")


async def _create(ipr: Any, bridge: Bridge) -> Any:
    return await made(
        ipr,
        bridge.name,
        otherwise="somebody deleted it at once",
        kind="bridge",
        address=bridge.mac or bridge_mac(bridge.name),
        mtu=bridge.mtu,
        group=LINK_GROUP,
        br_stp_state=0,
        br_forward_delay=0,
        br_mcast_snooping=0,
    )


async def _route(ipr: Any, index: int, gateway: Interface) -> None:
    """What the kernel made when the address was given and somebody took away."""
    source = {"prefsrc": str(gateway.ip), "scope": "link"} if gateway.version == 4 else {"priority": 256}
    await ipr.route("replace", dst=str(gateway.network), oif=index, proto="kernel", **source)


@dataclass(frozen=True, slots=True)
class _Host:
    """All that bridges are seen in; addresses and networks by link."""

    links: Sequence[Link]
    ports: Mapping[int, Sequence[str]]
    addresses: Mapping[int, Sequence[Interface]]
    networks: Mapping[int, Set[Network]]


def _look(channel: Channel) -> _Host:
    links = channel.links()
    ports: dict[int, list[str]] = {}
    for link in sorted(links, key=lambda link: link.name):
        ports.setdefault(link.master, []).append(link.name)
    return _Host(links, ports, channel.addresses(), channel.networks())


def _bridge(link: Link, host: _Host) -> ObservedBridge:
    given = _given(host.addresses.get(link.index, ()))
    missing = {each.network for each in given} - host.networks.get(link.index, frozenset())
    return ObservedBridge(
        name=link.name,
        owner_uid=owner_in(link.alias),
        addresses=tuple(sorted(each for each in given if isinstance(each, IPv4Interface))),
        up=link.up,
        mtu=link.mtu,
        ports=tuple(host.ports.get(link.index, ())),
        addresses6=tuple(sorted(each for each in given if isinstance(each, IPv6Interface))),
        mac=link.mac,
        unrouted=tuple(sorted(missing, key=lambda each: (each.version, each))) if link.up else (),
    )


def _given(addresses: Sequence[Interface]) -> list[Interface]:
    """But for those that the kernel makes."""
    return [each for each in addresses if each.version == 4 or not each.ip.is_link_local]


def _is_isolated(link: Any) -> bool:
    info = link.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_SLAVE_DATA") if info is not None else None
    return bool(data is not None and data.get_attr("IFLA_BRPORT_ISOLATED"))
