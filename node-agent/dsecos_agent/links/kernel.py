"""What bridges and transit links have in common, by pyroute2 (whose messages have no types: `Any`)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, TypeVar

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from dsecos_agent.adapter_errors import AdapterError, NotOursError
from dsecos_agent.links.rtnetlink import Channel

ALIAS = "dsecos.io/owner-uid="
IFF_UP = 1
NO_DEVICE, EXISTS = 19, 17
IFA_F_NODAD = 2
RT_SCOPE_HOST = 254

Interface = IPv4Interface | IPv6Interface
T = TypeVar("T")


@asynccontextmanager
async def netlink() -> AsyncIterator[Any]:
    """A connection to the kernel. Its refusals become AdapterErrors."""
    try:
        async with AsyncIPRoute() as ipr:
            yield ipr
    except (NetlinkError, OSError) as error:
        raise AdapterError(f"the kernel refused a change of links: {error}") from error


async def beside(call: Callable[[Channel], T]) -> T:
    """Have something done over a channel, beside the event loop. Raises OSError."""

    def work() -> T:
        with Channel() as channel:
            return call(channel)

    return await asyncio.to_thread(work)


async def looked(look: Callable[[Channel], T]) -> T:
    """Have something looked at over a channel, beside the event loop. Raises AdapterError."""
    try:
        return await beside(look)
    except OSError as error:
        raise AdapterError(f"the kernel does not tell its links: {error}") from error


async def get(ipr: Any, name: str) -> Any:
    """A link; None: there is none of this name."""
    try:
        return (await ipr.link("get", ifname=name))[0]
    except NetlinkError as error:
        if error.code == NO_DEVICE:
            return None
        raise


async def made(ipr: Any, name: str, *, otherwise: str, **attributes: Any) -> Any:
    """Make a link, were it at the same time as somebody else, and return it. `otherwise` says why there may
    be none.
    """
    try:
        await ipr.link("add", ifname=name, **attributes)
    except NetlinkError as error:
        if error.code != EXISTS:
            raise
    link = await get(ipr, name)
    if link is None:
        raise AdapterError(f"link {name} was not made: {otherwise}")
    return link


async def claim(ipr: Any, link: Any, kind: str, owner_uid: str) -> None:
    """See that a link is its owner's. Raises NotOursError."""
    if not link.get("ifalias") and not is_up(link):
        # Made and then left by an agent that was killed: nobody else makes a link of this name.
        await ipr.link("set", index=link["index"], ifalias=f"{ALIAS}{owner_uid}")
    elif owner(link) != owner_uid:
        raise NotOursError(kind, link.get("ifname"), wanted=owner_uid, found=owner(link))


async def remove(name: str, kind: str, owner_uid: str) -> None:
    """Delete a link of its owner's; a missing one is fine. Raises NotOursError."""
    async with netlink() as ipr:
        link = await get(ipr, name)
        if link is None:
            return
        if owner(link) != owner_uid:
            raise NotOursError(kind, name, wanted=owner_uid, found=owner(link))
        await ipr.link("del", index=link["index"])


async def set_addresses(ipr: Any, index: int, present: set[Interface], wanted: Iterable[Interface]) -> bool:
    """A link has these addresses and no others; True when something was changed."""
    asked = set(wanted)
    for extra in present - asked:
        await ipr.addr("del", index=index, address=str(extra.ip), prefixlen=extra.network.prefixlen)
    for missing in asked - present:
        prefix = missing.network
        form: dict[str, Any] = {}
        if missing.version == 6:
            # No other node is asked whether it has the gateway's address: all of them have.
            form["flags"] = IFA_F_NODAD
        elif prefix.num_addresses == 1:
            form["scope"] = RT_SCOPE_HOST
        else:
            form["broadcast"] = str(prefix.broadcast_address)
        await ipr.addr("add", index=index, address=str(missing.ip), prefixlen=prefix.prefixlen, **form)
    return present != asked


def is_up(link: Any) -> bool:
    """Whether somebody wants it up."""
    return bool(link["flags"] & IFF_UP)


def owner(link: Any) -> str | None:
    """Whose UID its alias bears."""
    return owner_in(link.get("ifalias") or "")


def owner_in(alias: str) -> str | None:
    """Whose UID an alias bears."""
    return alias.removeprefix(ALIAS) if alias.startswith(ALIAS) else None
