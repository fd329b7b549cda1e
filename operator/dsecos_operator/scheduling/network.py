"""What a zone asks of a node: what its kernel can do, and a way to other nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from dsecos_api import NetworkZone, Node, Reason
from dsecos_api.networkzone import EncapsulationType
from dsecos_api.peering import encapsulation

from dsecos_operator.scheduling.addresses import ipv6
from dsecos_operator.scheduling.obstacle import Obstacle

IPV6 = "zone/ipv6"

OVERHEAD = {EncapsulationType.LOCAL: 0, EncapsulationType.VXLAN: 50, EncapsulationType.VLAN: 0}
"""Bytes that it takes of the tunnel interface's MTU. VXLAN over IPv4: Ethernet 14, VXLAN 8, UDP 8, IPv4 20
(RFC 7348, section 5). A link's MTU does not count the tag of 802.1Q (IEEE 802.3ac).
"""
DEFAULT_MTU = 1500
"""Bytes: what Ethernet carries; assumed of a node that does not tell."""
LEAST_MTU = 576
"""Bytes that every IPv4 host takes (RFC 791, section 3.1)."""
LEAST_MTU6 = 1280
"""Bytes that every link of IPv6 carries (RFC 8200, section 5)."""


@dataclass(frozen=True, slots=True)
class Asks:
    """What a zone asks of each node that it is on. As it stands: nothing."""

    encapsulation: EncapsulationType = EncapsulationType.LOCAL
    ipv6: bool = False

    @property
    def spans(self) -> bool:
        """Whether its guests reach those on other nodes."""
        return self.encapsulation != EncapsulationType.LOCAL

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Of Node.status.capabilities."""
        return (*((f"zone/{self.encapsulation}",) if self.spans else ()), *((IPV6,) if self.ipv6 else ()))

    @property
    def least_mtu(self) -> int:
        """Bytes that a packet of the zone must have room for between nodes."""
        return LEAST_MTU6 if self.ipv6 else LEAST_MTU


NOTHING = Asks()

COMMONLY = {"zone/vlan": " (802.1Q)"}
"""What administrators call a capability, where its name does not say so."""


def asks(zone: NetworkZone) -> Asks:
    """What this zone asks."""
    return Asks(encapsulation(zone), ipv6(zone.spec.cidrs) is not None)


def tunnel_address(node: Node) -> str | None:
    """Where the node sends and takes traffic between nodes; None while it has no IPv4 address for that."""
    told = node.status.addresses
    found = (told.tunnel or told.management) if told is not None else None
    try:
        return str(IPv4Address(found)) if found is not None else None
    except ValueError:
        return None


def room(node: Node, wanted: Asks) -> int:
    """Bytes of the largest packet of a zone that the node can take to another one."""
    return (node.status.tunnel_mtu or DEFAULT_MTU) - OVERHEAD[wanted.encapsulation]


def lacks(node: Node, wanted: Asks) -> Iterator[Obstacle]:
    """What of it the node does not have."""
    known = node.status.capabilities
    for capability in wanted.capabilities:
        if capability not in known:
            # One whose agent has not told what it can do may have it.
            why = f"it lacks {capability}{COMMONLY.get(capability, '')}"
            yield Obstacle(why, passing=not known, reason=Reason.NODE_INCAPABLE)
    if not wanted.spans:
        return
    if tunnel_address(node) is None:
        yield _no_address(node)
    if room(node, wanted) < wanted.least_mtu:
        yield _too_small(node, wanted)


def _too_small(node: Node, wanted: Asks) -> Obstacle:
    kind = "a zone with IPv6" if wanted.ipv6 else "a zone"
    overhead = OVERHEAD[wanted.encapsulation]
    parts = f" ({wanted.least_mtu} and {overhead} for VXLAN)" if overhead else ""
    why = (
        f"the MTU {node.status.tunnel_mtu} of its tunnel interface is too small: {kind} needs"
        f" {wanted.least_mtu + overhead}{parts}"
    )
    return Obstacle(why, passing=False, reason=Reason.MTU_TOO_SMALL)


def _no_address(node: Node) -> Obstacle:
    told = node.status.addresses
    found = (told.tunnel or told.management) if told is not None else None
    if found is None:
        return Obstacle("it has told no tunnel address", passing=True, reason=Reason.NODE_INCAPABLE)
    why = f"its tunnel address {found} is not one of IPv4, as the zone needs it; set spec.addresses.tunnel"
    return Obstacle(why, passing=False, reason=Reason.NODE_INCAPABLE)
