"""A transit link as an 802.1Q link upon the link that has the node's tunnel address (linux/if_vlan.h)."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from dsecos_agent.links.kernel import Interface, is_up
from dsecos_agent.links.protocol import Carrier, Encapsulation, Transit, UnderlayError

PROTOCOL = 0x8100
"""ETH_P_8021Q (linux/if_ether.h)."""
REORDER_HDR = 1
"""VLAN_FLAG_REORDER_HDR, the default. The others tell switches of the VLAN (GVRP, MVRP), or leave the link up
without the one below (loose binding, bridge binding).
"""
MAPS = ("IFLA_VLAN_EGRESS_QOS", "IFLA_VLAN_INGRESS_QOS")

Addresses = Mapping[int, Sequence[Interface]]
"""Of all links, by index."""


async def below(ipr: Any, transit: Transit, link: Any, addresses: Addresses) -> Any:
    """The link of the host to lie upon; of several that have the address the one that `link` lies upon, if it
    is there. Raises UnderlayError where there is none, or it is down.
    """
    having = sorted(index for index in addresses if transit.address in _ipv4(addresses, index))
    if not having:
        raise UnderlayError(
            f"no link of this node has its tunnel address {transit.address}, so there is none for 802.1Q id"
            f" {transit.id}: give the address back, or correct spec.addresses.tunnel of the Node"
        )
    present = None if link is None else link.get_attr("IFLA_LINK")
    (found,) = await ipr.link("get", index=present if present in having else having[0])
    if not is_up(found):
        raise UnderlayError(
            f"link {found.get('ifname')}, which has the tunnel address {transit.address}, is down:"
            f" 802.1Q id {transit.id} goes over it; set it up"
        )
    return found


def attributes(transit: Transit, lower: Any) -> Mapping[str, Any]:
    """What it is made with and what cannot be changed afterwards."""
    return {
        "kind": "vlan",
        "link": lower["index"],
        "vlan_id": transit.id,
        "vlan_protocol": PROTOCOL,
    }


def read(link: Any, data: Any, addresses: Addresses) -> Carrier:
    """From the kernel's answer (the link, its IFLA_INFO_DATA)."""
    # An index counts in its own namespace alone.
    elsewhere = link.get_attr("IFLA_LINK_NETNSID") is not None
    flags = data.get_attr("IFLA_VLAN_FLAGS")
    return Carrier(
        Encapsulation.VLAN,
        data.get_attr("IFLA_VLAN_ID"),
        () if elsewhere else _ipv4(addresses, link.get_attr("IFLA_LINK")),
        closed=data.get_attr("IFLA_VLAN_PROTOCOL") == PROTOCOL
        and flags is not None
        and flags["flags"] == REORDER_HDR
        and not any(data.get_attr(name) for name in MAPS),
    )


def _ipv4(addresses: Addresses, index: int) -> tuple[IPv4Address, ...]:
    return tuple(sorted(each.ip for each in addresses.get(index, ()) if isinstance(each.ip, IPv4Address)))
