"""A zone's link to other nodes: it carries what is asked for and nothing else."""

import asyncio
import socket
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from dsecos_agent.adapter_errors import AdapterError, UnsupportedError
from dsecos_agent.links import sysctl, vlan, vxlan
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
from dsecos_agent.links.protocol import (
    LINK_GROUP,
    Carrier,
    Encapsulation,
    MtuError,
    ObservedTransit,
    Transit,
)
from dsecos_agent.links.rtnetlink import Channel

IFF_NOARP = 0x80
NOT_SUPPORTED = 95
"""EOPNOTSUPP: no such kind of link, or not upon that link."""


async def observe(prefix: str) -> Sequence[ObservedTransit]:
    """All transit links whose name begins so, sorted by name."""
    names = sorted(
        name for _, name in await asyncio.to_thread(socket.if_nameindex) if name.startswith(prefix)
    )
    if not names:
        return []
    async with netlink() as ipr:
        links = [link for link in [await get(ipr, name) for name in names] if link is not None]
        vxlans = {link["index"] for link in links if _kind(link) == "vxlan"}
        addresses, entries = await beside(
            lambda channel: _listed(channel, {link["index"] for link in links}, vxlans)
        )
    return [_observed(link, addresses, entries[link["index"]]) for link in links]


async def ensure(wanted: Transit) -> bool:
    """Make it as described. Raises what `Links.ensure_transit` does."""
    async with netlink() as ipr:
        link = await get(ipr, wanted.name)
        addresses = await beside(Channel.addresses)
        if wanted.encapsulation is Encapsulation.VXLAN:
            return await _ensure(ipr, wanted, link, addresses, vxlan.attributes(wanted))
        lower = await vlan.below(ipr, wanted, link, addresses)
        # As large as can be, rather than not at all: most packets are not the largest.
        fitting = replace(wanted, mtu=min(wanted.mtu, lower.get("mtu")))
        changed = await _ensure(ipr, fitting, link, addresses, vlan.attributes(wanted, lower))
    if fitting != wanted:
        raise MtuError(
            f"link {lower.get('ifname')}, which has the tunnel address {wanted.address}, takes {fitting.mtu}"
            f" bytes, and the zone's packets have up to {wanted.mtu}: raise its MTU, or lower the zone's"
        )
    return changed


async def _ensure(
    ipr: Any, transit: Transit, link: Any, addresses: vlan.Addresses, attributes: Mapping[str, Any]
) -> bool:
    """`link` is what bears the name, `attributes` is what it is made with."""
    changed = False
    if link is not None and not _is_same(link, transit, addresses):
        await claim(ipr, link, "transit link", transit.owner_uid)
        await ipr.link("del", index=link["index"])
        link = None
    if link is None:
        link = await _create(ipr, transit, addresses, attributes)
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


async def _create(
    ipr: Any, transit: Transit, addresses: vlan.Addresses, attributes: Mapping[str, Any]
) -> Any:
    try:
        link = await made(
            ipr,
            transit.name,
            otherwise=f"another link of this host has {transit.encapsulation} id {transit.id}",
            address=transit.mac,
            mtu=transit.mtu,
            group=LINK_GROUP,
            **attributes,
        )
    except NetlinkError as error:
        if error.code != NOT_SUPPORTED:
            raise
        raise UnsupportedError(
            f"this node's kernel makes no {transit.encapsulation} link at {transit.address}: it has none, or"
            " the link with this address cannot bear one"
        ) from error
    if not _is_same(link, transit, addresses):
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
    vxlans = {index} if transit.encapsulation is Encapsulation.VXLAN else set()
    todo = steps(channel.entries({index}, vxlans)[index], wanted(transit))
    channel.carry_out(index, todo)
    return bool(todo)


def _listed(
    channel: Channel, indices: Set[int], vxlans: Set[int]
) -> tuple[Mapping[int, Sequence[Interface]], Mapping[int, Sequence[Entry | Stranger]]]:
    """Addresses and entries by link."""
    return channel.addresses(), channel.entries(indices, vxlans)


def _observed(link: Any, addresses: vlan.Addresses, entries: Sequence[Entry | Stranger]) -> ObservedTransit:
    carrier = _carrier(link, addresses)
    own = addresses.get(link["index"], ())
    strangers = [each.words for each in entries if isinstance(each, Stranger)]
    strangers += [f"the address {each}" for each in own if each != DUMMY]
    if DUMMY not in own:
        strangers.append(f"no address {DUMMY}")
    found = carried(entries)
    return ObservedTransit(
        name=link.get("ifname"),
        owner_uid=owner(link),
        carrier=carrier,
        mac=link.get("address"),
        mtu=link.get("mtu"),
        up=is_up(link),
        closed=carrier is not None
        and carrier.closed
        and not link.get("master")
        and bool(link["flags"] & IFF_NOARP),
        forwarding=found.forwarding,
        neighbours=found.neighbours,
        routes=found.routes,
        strangers=tuple(sorted(strangers)),
    )


def _is_same(link: Any, transit: Transit, addresses: vlan.Addresses) -> bool:
    """Whether it carries packets as is asked for: this cannot be changed once it is made."""
    found = _carrier(link, addresses)
    return (
        found is not None
        and (found.encapsulation, found.id) == (transit.encapsulation, transit.id)
        and transit.address in found.addresses
        and found.closed
    )


def _carrier(link: Any, addresses: vlan.Addresses) -> Carrier | None:
    match _kind(link):
        case "vxlan":
            return vxlan.read(link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA"))
        case "vlan":
            return vlan.read(link, link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA"), addresses)
    return None


def _kind(link: Any) -> str | None:
    info = link.get_attr("IFLA_LINKINFO")
    return None if info is None else info.get_attr("IFLA_INFO_KIND")
