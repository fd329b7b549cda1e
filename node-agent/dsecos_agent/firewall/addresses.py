"""Two families of addresses, and networks as elements of sets. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_network,
)
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Family:
    """How nft speaks of one family."""

    version: int
    ip: Literal["ip", "ip6"]
    """The header."""
    type: Literal["ipv4_addr", "ipv6_addr"]
    """The type of set elements."""
    suffix: Literal["", "6"]
    """Of names: `exposed` and `exposed6`."""
    everywhere: Network
    never: tuple[Network, ...]
    """What guests never reach, whatever is allowed: what is on the link, groups, and clouds' metadata."""

    def collapsed(self, networks: Iterable[Address | Network]) -> list[Network]:
        """Those of this family, without overlaps: elements of a set of intervals must not have any."""
        if self.version == 4:
            four = (ip_network(each) for each in networks if each.version == 4)
            return list(collapse_addresses(each for each in four if isinstance(each, IPv4Network)))
        six = (ip_network(each) for each in networks if each.version == 6)
        return list(collapse_addresses(each for each in six if isinstance(each, IPv6Network)))


IPV4 = Family(
    4,
    "ip",
    "ipv4_addr",
    "",
    IPv4Network("0.0.0.0/0"),
    (
        IPv4Network("0.0.0.0/8"),
        IPv4Network("127.0.0.0/8"),
        IPv4Network("169.254.0.0/16"),
        IPv4Network("100.100.100.200/32"),
        IPv4Network("224.0.0.0/4"),
        IPv4Network("240.0.0.0/4"),
    ),
)
"""RFC 6890; 169.254.169.254 in most clouds, 100.100.100.200 in Alibaba's."""

IPV6 = Family(
    6,
    "ip6",
    "ipv6_addr",
    "6",
    IPv6Network("::/0"),
    (
        IPv6Network("::/128"),
        IPv6Network("::1/128"),
        IPv6Network("::ffff:0:0/96"),
        IPv6Network("fd00:ec2::/32"),
        IPv6Network("fd20:ce::254/128"),
        IPv6Network("fe80::/10"),
        IPv6Network("fec0::/10"),
        IPv6Network("ff00::/8"),
    ),
)
"""RFC 6890; fd00:ec2::254 (and DNS and time beside it) in Amazon's cloud, fd20:ce::254 in Google's."""

FAMILIES = (IPV4, IPV6)


def pieces(networks: Iterable[Network]) -> Mapping[Network, tuple[Network, ...]]:
    """Each network as networks that are equal or disjoint to all pieces of the others.

    The kernel refuses a set in which networks of a concatenation lie within each other. Zones' networks do
    not overlap; this is for the moment in which two do, which must not stop the rules of all others.
    """
    inside: dict[Network, list[Network]] = {}
    around: list[Network] = []
    # In this order whatever contains a network comes before it, and the smallest of these last.
    for network in sorted(set(networks), key=_order):
        while around and not _within(network, around[-1]):
            around.pop()
        if around:
            inside[around[-1]].append(network)
        inside[network] = []
        around.append(network)
    found: dict[Network, tuple[Network, ...]] = {}
    for network in reversed(inside):
        rest = [network]
        for hole in inside[network]:
            rest = [part for each in rest for part in _without(each, hole)]
        found[network] = (*rest, *(part for hole in inside[network] for part in found[hole]))
    return found


def _without(network: Network, hole: Network) -> list[Network]:
    if not _within(hole, network):
        return [network]
    if isinstance(network, IPv4Network) and isinstance(hole, IPv4Network):
        return list(network.address_exclude(hole))
    if isinstance(network, IPv6Network) and isinstance(hole, IPv6Network):
        return list(network.address_exclude(hole))
    return [network]


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
