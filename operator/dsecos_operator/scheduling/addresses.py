"""Addresses of guests in their zone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from dsecos_api import Reason

from dsecos_operator.rendering.refused import Refused

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=4096)
def network(cidr: str) -> Network:
    """A network from its text, host bits ignored. Kept, as the same ones are asked for again and again."""
    return ip_network(cidr, strict=False)


def ipv4(cidrs: Sequence[str]) -> str | None:
    """The IPv4 network of a zone."""
    return _of_version(cidrs, 4)


def ipv6(cidrs: Sequence[str]) -> str | None:
    """The IPv6 network of a zone."""
    return _of_version(cidrs, 6)


def _of_version(cidrs: Sequence[str], version: int) -> str | None:
    return next((each for each in cidrs if network(each).version == version), None)


def beside(address: str, cidrs: Sequence[str]) -> str | None:
    """The IPv6 address of the guest that has an IPv4 address: as far from its network's beginning.

    None where the zone has no IPv6 network, or the address is not in its IPv4 network.
    """
    cidr, cidr6 = ipv4(cidrs), ipv6(cidrs)
    if cidr is None or cidr6 is None or not belongs(cidr, address):
        return None
    return str(network(cidr6)[int(ip_address(address)) - int(network(cidr)[0])])


def gateway(cidr: str) -> str:
    """The node's address in a zone: the first of its network."""
    return str(network(cidr)[1])


def count(cidr: str) -> int:
    """How many guests a network has addresses for: all but network, gateway and (IPv4) broadcast."""
    return max(0, network(cidr).num_addresses - (3 if network(cidr).version == 4 else 2))


def allocate(cidr: str, taken: Mapping[str, str]) -> str:
    """The lowest free address. Raises Refused (AddressesExhausted)."""
    for offset in range(2, 2 + count(cidr)):
        address = str(network(cidr)[offset])
        if address not in taken:
            return address
    raise Refused(
        Reason.ADDRESSES_EXHAUSTED, f"all {count(cidr)} addresses of {cidr} are taken", stalled=False
    )


def belongs(cidr: str, address: str) -> bool:
    """Whether this text is an address that a guest of the network can have."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return found in network(cidr) and found not in _reserved(cidr)


@lru_cache(maxsize=4096)
def _reserved(cidr: str) -> Mapping[IPv4Address | IPv6Address, str]:
    reserved = {network(cidr)[0]: "the network itself", network(cidr)[1]: "the gateway"}
    if network(cidr).version == 4:
        reserved[network(cidr)[-1]] = "the broadcast address"
    return reserved


def check(cidr: str, wanted: str, taken: Mapping[str, str]) -> str:
    """An address that the user chose, in canonical form. Raises Refused (AddressInvalid, AddressConflict)."""
    address = ip_address(wanted)
    if address not in network(cidr):
        raise Refused(Reason.ADDRESS_INVALID, f"spec.address: {wanted} is not in the zone's network {cidr}")
    reserved = _reserved(cidr)
    if address in reserved:
        raise Refused(Reason.ADDRESS_INVALID, f"spec.address: {wanted} is {reserved[address]} of {cidr}")
    owner = taken.get(str(address))
    if owner is not None:
        raise Refused(
            Reason.ADDRESS_CONFLICT, f"spec.address: {wanted} is taken by Stack {owner}", stalled=False
        )
    return str(address)
