"""Addresses of guests in their zone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from dsecos_api import Reason

from dsecos_operator.rendering.refused import Refused

Network = IPv4Network | IPv6Network


def gateway(cidr: str) -> str:
    """The node's address in a zone: the first of its network."""
    return str(ip_network(cidr)[1])


def count(cidr: str) -> int:
    """How many guests a network has addresses for: all but network, gateway and (IPv4) broadcast."""
    return max(0, ip_network(cidr).num_addresses - (3 if ip_network(cidr).version == 4 else 2))


def allocate(cidr: str, taken: Mapping[str, str]) -> str:
    """The lowest free address. Raises Refused (AddressesExhausted)."""
    network = ip_network(cidr)
    for offset in range(2, 2 + count(cidr)):
        address = str(network[offset])
        if address not in taken:
            return address
    raise Refused(
        Reason.ADDRESSES_EXHAUSTED, f"all {count(cidr)} addresses of {cidr} are taken", stalled=False
    )


def belongs(cidr: str, address: str) -> bool:
    """Whether this text is an address that a guest of the network can have."""
    network = ip_network(cidr)
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return found in network and found not in _reserved(network)


def _reserved(network: Network) -> dict[IPv4Address | IPv6Address, str]:
    reserved = {network[0]: "the network itself", network[1]: "the gateway"}
    if network.version == 4:
        reserved[network[-1]] = "the broadcast address"
    return reserved


def check(cidr: str, wanted: str, taken: Mapping[str, str]) -> str:
    """An address that the user chose, in canonical form. Raises Refused (AddressInvalid, AddressConflict)."""
    network = ip_network(cidr)
    address = ip_address(wanted)
    if address not in network:
        raise Refused(Reason.ADDRESS_INVALID, f"spec.address: {wanted} is not in the zone's network {cidr}")
    reserved = _reserved(network)
    if address in reserved:
        raise Refused(Reason.ADDRESS_INVALID, f"spec.address: {wanted} is {reserved[address]} of {cidr}")
    owner = taken.get(str(address))
    if owner is not None:
        raise Refused(
            Reason.ADDRESS_CONFLICT, f"spec.address: {wanted} is taken by Stack {owner}", stalled=False
        )
    return str(address)
