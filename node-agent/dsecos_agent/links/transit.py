"""A zone's link to other nodes: a VXLAN that carries what is asked for and nothing else."""

import asyncio
import socket
from collections.abc import Mapping, Sequence, Set
from ipaddress import IPv4Address
from typing import Any

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.links import sysctl
from dsecos_agent.links.entries import DUMMY, Entry, Stranger, carried, steps, wanted
from dsecos_agent.links.kernel import (
    Interface,
    beside,
    claim,
    get,
    is_up,
    made,
    netlink,
    owner,
    set_addresses,
)
from dsecos_agent.links.protocol import LINK_GROUP, VXLAN_PORT, ObservedTransit, Transit
from dsecos_agent.links.rtnetlink import Channel

IFF_NOARP = 0x80

OPEN = ("LEARNING", "PROXY", "RSC", "L2MISS", "L3MISS", "COLLECT_METADATA", "GROUP", "GROUP6", "LINK")
"""What a VXLAN may be set to do that ours does not (linux/if_link.h, IFLA_VXLAN_*)."""


async def observe(prefix: str) -> Sequence[ObservedTransit]:
    """All transit links whose name begins so, sorted by name."""
    names = sorted(
        name for _, name in await asyncio.to_thread(socket.if_nameindex) if name.startswith(prefix)
    )
    if not names:
        return []
    async with netlink() as ipr:
        links = [link for link in [await get(ipr, name) for name in names] if link is not None]
        addresses, entries = await beside(lambda channel: _listed(channel, {link["index"] for link in links}))
    return [_observed(link, addresses.get(link["index"], []), entries[link["index"]]) for link in links]


async def ensure(transit: Transit) -> bool:
    """Make it as described. Raises NotOursError, AdapterError."""
    async with netlink() as ipr:
        changed = False
        link = await get(ipr, transit.name)
        if link is not None and not _same_tunnel(link, transit):
            await claim(ipr, link, "transit link", transit.owner_uid)
            await ipr.link("del", index=link["index"])
            link = None
        if link is None:
            link = await _create(ipr, transit)
            changed = True
        index = link["index"]
        await claim(ipr, link, "transit link", transit.owner_uid)
        changed |= await _set_link(ipr, link, transit)
        changed |= await asyncio.to_thread(sysctl.set_up_transit, transit.name)
        present = set((await beside(Channel.addresses)).get(index, ()))
        changed |= await set_addresses(ipr, index, present, [DUMMY])
        if not is_up(link):
            await ipr.link("set", index=index, state="up")
            changed = True
        return await beside(lambda channel: _carry(channel, index, transit)) or changed


async def _create(ipr: Any, transit: Transit) -> Any:
    link = await made(
        ipr,
        transit.name,
        otherwise=f"another link of this host has VXLAN id {transit.id}",
        kind="vxlan",
        address=transit.mac,
        mtu=transit.mtu,
        group=LINK_GROUP,
        vxlan_id=transit.id,
        vxlan_local=str(transit.address),
        vxlan_port=VXLAN_PORT,
        vxlan_learning=0,
    )
    if not _same_tunnel(link, transit):
        raise AdapterError(f"link {transit.name} was made by somebody else at the same time")
    return link


async def _set_link(ipr: Any, link: Any, transit: Transit) -> bool:
    changed = False
    as_wanted = (transit.mac, transit.mtu, LINK_GROUP)
    if (link.get("address"), link.get("mtu"), link.get("group")) != as_wanted:
        mac, mtu, group = as_wanted
        await ipr.link("set", index=link["index"], address=mac, mtu=mtu, group=group)
        changed = True
    if link.get("master"):
        await ipr.link("set", index=link["index"], master=0)
        changed = True
    if not link["flags"] & IFF_NOARP:
        await ipr.link("set", index=link["index"], arp=False)
        changed = True
    return changed


def _carry(channel: Channel, index: int, transit: Transit) -> bool:
    todo = steps(channel.entries({index})[index], wanted(transit))
    channel.carry_out(index, todo)
    return bool(todo)


def _listed(
    channel: Channel, indices: Set[int]
) -> tuple[Mapping[int, Sequence[Interface]], Mapping[int, Sequence[Entry | Stranger]]]:
    """Addresses and entries by link."""
    return channel.addresses(), channel.entries(indices)


def _observed(
    link: Any, addresses: Sequence[Interface], entries: Sequence[Entry | Stranger]
) -> ObservedTransit:
    data = _vxlan(link)
    local = None if data is None else data.get_attr("IFLA_VXLAN_LOCAL")
    strangers = [each.words for each in entries if isinstance(each, Stranger)]
    strangers += [f"the address {each}" for each in addresses if each != DUMMY]
    if DUMMY not in addresses:
        strangers.append(f"no address {DUMMY}")
    found = carried(entries)
    return ObservedTransit(
        name=link.get("ifname"),
        owner_uid=owner(link),
        id=None if data is None else data.get_attr("IFLA_VXLAN_ID"),
        address=None if local is None else IPv4Address(local),
        mac=link.get("address"),
        mtu=link.get("mtu"),
        up=is_up(link),
        closed=_is_closed(link) and not link.get("master") and bool(link["flags"] & IFF_NOARP),
        forwarding=found.forwarding,
        neighbours=found.neighbours,
        routes=found.routes,
        strangers=tuple(sorted(strangers)),
    )


def _same_tunnel(link: Any, transit: Transit) -> bool:
    """Whether it is the VXLAN that is asked for: these cannot be changed once it is made."""
    data = _vxlan(link)
    return (
        data is not None
        and data.get_attr("IFLA_VXLAN_ID") == transit.id
        and data.get_attr("IFLA_VXLAN_LOCAL") == str(transit.address)
        and _is_closed(link)
    )


def _is_closed(link: Any) -> bool:
    data = _vxlan(link)
    return (
        data is not None
        and data.get_attr("IFLA_VXLAN_PORT") == VXLAN_PORT
        and not any(data.get_attr(f"IFLA_VXLAN_{name}") for name in OPEN)
    )


def _vxlan(link: Any) -> Any:
    info = link.get_attr("IFLA_LINKINFO")
    if info is None or info.get_attr("IFLA_INFO_KIND") != "vxlan":
        return None
    return info.get_attr("IFLA_INFO_DATA")
