"""A transit link as a VXLAN that neither learns nor floods nor asks (RFC 7348, linux/if_link.h)."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from dsecos_agent.links.protocol import VXLAN_PORT, Carrier, Encapsulation, Transit

OPEN = ("LEARNING", "PROXY", "RSC", "L2MISS", "L3MISS", "COLLECT_METADATA", "GROUP", "GROUP6", "LINK")
"""What a VXLAN may be set to do that ours does not (IFLA_VXLAN_*)."""


def attributes(transit: Transit) -> Mapping[str, Any]:
    """What it is made with and what cannot be changed afterwards."""
    return {
        "kind": "vxlan",
        "vxlan_id": transit.id,
        "vxlan_local": str(transit.address),
        "vxlan_port": VXLAN_PORT,
        "vxlan_learning": 0,
    }


def read(data: Any) -> Carrier:
    """From the kernel's answer (IFLA_INFO_DATA)."""
    local = data.get_attr("IFLA_VXLAN_LOCAL")
    return Carrier(
        Encapsulation.VXLAN,
        data.get_attr("IFLA_VXLAN_ID"),
        () if local is None else (IPv4Address(local),),
        closed=data.get_attr("IFLA_VXLAN_PORT") == VXLAN_PORT
        and not any(data.get_attr(f"IFLA_VXLAN_{name}") for name in OPEN),
    )
