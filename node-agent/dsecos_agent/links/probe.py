"""What this host's kernel can do for zones: tried in a network namespace that nobody else sees."""

import asyncio
import ctypes
import threading
from contextlib import suppress
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from dsecos_agent.links import sysctl
from dsecos_agent.links.protocol import VXLAN_PORT

CLONE_NEWNET = 0x40000000
"""linux/sched.h"""


def abilities() -> frozenset[str]:
    """Which of `vxlan`, `vlan` and `ipv6` there are; empty where nothing can be tried. Blocks for some
    milliseconds.
    """
    found: set[str] = set()
    # A thread of its own: it never leaves the namespace, which goes with it.
    thread = threading.Thread(target=_try_all, args=(found,), name="probe")
    thread.start()
    thread.join()
    return frozenset(found)


def _try_all(found: set[str]) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return
    with suppress(NetlinkError, OSError):
        asyncio.run(_try_each(found))


async def _try_each(found: set[str]) -> None:
    async with AsyncIPRoute() as ipr:
        await ipr.link("add", ifname="lower", kind="bridge")
        (lower,) = await ipr.link_lookup(ifname="lower")
        tries: dict[str, Any] = {
            "vxlan": lambda: ipr.link(
                "add", ifname="vxlan", kind="vxlan", vxlan_id=1, vxlan_port=VXLAN_PORT, vxlan_learning=0
            ),
            "vlan": lambda: ipr.link("add", ifname="vlan", kind="vlan", link=lower, vlan_id=1),
            "ipv6": lambda: _add_ipv6(ipr, lower),
        }
        for ability, attempt in tries.items():
            with suppress(NetlinkError, OSError):
                await attempt()
                found.add(ability)


async def _add_ipv6(ipr: Any, link: int) -> None:
    sysctl.write(f"{sysctl.LINKS6}/lower/disable_ipv6", "0")
    await ipr.addr("add", index=link, address="2001:db8::1", prefixlen=64)
