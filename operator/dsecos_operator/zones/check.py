"""Whether a NetworkZone can be had. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface, ip_network

from dsecos_api import NetworkZone, Reason
from dsecos_api.networkzone import EncapsulationType

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling import addresses

LONGEST_PREFIX = 29
"""The smallest network: 5 guests."""
SHORTEST_PREFIX = 16
"""The largest network: 65,533 guests."""


def check(zone: NetworkZone, others: Iterable[NetworkZone]) -> str:
    """The gateway's address. Raises Refused (CidrInvalid, CidrOverlaps, Unsupported)."""
    spec = zone.spec
    if spec.encapsulation is not None and spec.encapsulation.type != EncapsulationType.LOCAL:
        raise Refused(
            Reason.UNSUPPORTED,
            f"spec.encapsulation.type: {spec.encapsulation.type} is not available in this version; use local",
        )
    if spec.peers:
        raise Refused(
            Reason.UNSUPPORTED, "spec.peers: zones cannot be connected in this version; remove the peers"
        )
    if len(spec.cidrs) > 1:
        raise Refused(Reason.UNSUPPORTED, "spec.cidrs: this version has one IPv4 network in a zone")
    _check_network(spec.cidrs[0])
    for other in sorted(others, key=age):
        if other.uid != zone.uid and age(other) < age(zone) and overlap(zone, other):
            raise Refused(
                Reason.CIDR_OVERLAPS,
                f"spec.cidrs: {spec.cidrs[0]} overlaps {other.spec.cidrs[0]} of NetworkZone"
                f" {other.namespace}/{other.name}, which is older; choose another network",
            )
    return addresses.gateway(spec.cidrs[0])


def age(zone: NetworkZone) -> tuple[str, str, str]:
    """What orders zones: of two that want the same network, the first one has it."""
    return zone.metadata.creation_timestamp or "", zone.namespace, zone.name


def _check_network(cidr: str) -> None:
    interface = ip_interface(cidr)
    network = interface.network
    if network.version != 4:
        raise Refused(Reason.UNSUPPORTED, f"spec.cidrs: {cidr} is IPv6; this version has IPv4 only")
    if interface.ip != network.network_address:
        raise Refused(Reason.CIDR_INVALID, f"spec.cidrs: {cidr} has host bits set; write {network}")
    if not SHORTEST_PREFIX <= network.prefixlen <= LONGEST_PREFIX:
        raise Refused(
            Reason.CIDR_INVALID,
            f"spec.cidrs: {cidr} must have a prefix between /{SHORTEST_PREFIX} and /{LONGEST_PREFIX}",
        )
    special = network.is_loopback or network.is_multicast or network.is_link_local or network.is_reserved
    if special or network.network_address.packed[0] == 0:
        raise Refused(Reason.CIDR_INVALID, f"spec.cidrs: {cidr} has a special meaning; use a private network")


def overlap(one: NetworkZone, other: NetworkZone) -> bool:
    """Whether two zones want some of the same addresses."""
    return any(
        ip_network(mine, strict=False).overlaps(ip_network(theirs, strict=False))
        for mine in one.spec.cidrs
        for theirs in other.spec.cidrs
        if ip_network(mine, strict=False).version == ip_network(theirs, strict=False).version
    )
