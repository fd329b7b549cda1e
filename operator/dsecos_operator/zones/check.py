"""Whether a NetworkZone's networks can be had. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from dsecos_api import NetworkZone, Node, Reason

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling import addresses

LONGEST_PREFIX = 29
"""The smallest IPv4 network: 5 guests."""
SHORTEST_PREFIX = 16
"""The largest IPv4 network: 65,533 guests."""
LONGEST_PREFIX6 = 120
SHORTEST_PREFIX6 = 48
"""What a site is given (RFC 6177): a zone has no use for more."""


Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Networks:
    """A zone's networks, and the node's addresses in them."""

    cidr: str
    gateway: str
    cidr6: str | None = None
    gateway6: str | None = None


def check(
    zone: NetworkZone,
    others: Iterable[NetworkZone],
    nodes: Iterable[Node] = (),
    allowed: Sequence[Network] = (),
) -> Networks:
    """`allowed`: networks that it may take its own from; none: it may take any.

    Raises Refused (CidrInvalid, CidrOverlaps, Unsupported).
    """
    spec = zone.spec
    cidr, cidr6 = addresses.ipv4(spec.cidrs), addresses.ipv6(spec.cidrs)
    if cidr is None:
        raise Refused(
            Reason.UNSUPPORTED,
            f"spec.cidrs: a zone with IPv6 alone is not available in this version; name an IPv4 network as"
            f" well as {cidr6}",
        )
    _check(cidr, SHORTEST_PREFIX, LONGEST_PREFIX)
    if cidr6 is not None:
        _check(cidr6, SHORTEST_PREFIX6, LONGEST_PREFIX6)
        _check_size(cidr, cidr6)
    _check_allowed(spec.cidrs, allowed)
    for node in nodes:
        _check_apart(spec.cidrs, node)
    met = [each for each in others if each.uid != zone.uid and overlap(zone, each)]
    older = min((each for each in met if age(each) < age(zone)), key=age, default=None)
    pair = overlap(zone, older) if older is not None else None
    if older is not None and pair is not None:
        raise Refused(
            Reason.CIDR_OVERLAPS,
            f"spec.cidrs: {pair[0]} overlaps {pair[1]} of NetworkZone"
            f" {older.namespace}/{older.name}, which is older; choose another network",
        )
    return Networks(
        cidr=cidr,
        gateway=addresses.gateway(cidr),
        cidr6=cidr6,
        gateway6=addresses.gateway(cidr6) if cidr6 is not None else None,
    )


def usable(zone: NetworkZone) -> bool:
    """Whether a zone can be had, as its status says."""
    return bool(zone.status.gateway) and not zone.deleting


def age(zone: NetworkZone) -> tuple[str, str, str]:
    """What orders zones: of two that want the same network or id, the first one has it."""
    return zone.metadata.creation_timestamp or "", zone.namespace, zone.name


def overlap(one: NetworkZone, other: NetworkZone) -> tuple[str, str] | None:
    """Networks of two zones that have some of the same addresses; None if there are none."""
    for mine in one.spec.cidrs:
        for theirs in other.spec.cidrs:
            one_span, other_span = _span(mine), _span(theirs)
            if one_span.version == other_span.version and (
                one_span.first <= other_span.last and other_span.first <= one_span.last
            ):
                return mine, theirs
    return None


class _Span(NamedTuple):
    version: int
    first: int
    last: int


@lru_cache(maxsize=4096)
def _span(cidr: str) -> _Span:
    """From where to where a network goes. Kept, as every zone is held against all others."""
    network = addresses.network(cidr)
    return _Span(network.version, int(network[0]), int(network[-1]))


def _check(cidr: str, shortest: int, longest: int) -> None:
    network = addresses.network(cidr)
    if cidr != str(network):
        raise Refused(
            Reason.CIDR_INVALID,
            f"spec.cidrs: {cidr} has host bits set or is not in canonical form; write {network}",
        )
    if not shortest <= network.prefixlen <= longest:
        raise Refused(
            Reason.CIDR_INVALID, f"spec.cidrs: {cidr} must have a prefix between /{shortest} and /{longest}"
        )
    if _is_special(network):
        raise Refused(Reason.CIDR_INVALID, f"spec.cidrs: {cidr} has a special meaning; use a private network")


def _check_allowed(cidrs: Iterable[str], allowed: Sequence[Network]) -> None:
    for cidr in cidrs if allowed else ():
        network = addresses.network(cidr)
        if not any(each.prefixlen <= network.prefixlen and each.overlaps(network) for each in allowed):
            raise Refused(
                Reason.CIDR_INVALID,
                f"spec.cidrs: {cidr} is in none of the networks that zones may be of:"
                f" {', '.join(map(str, allowed))}",
            )


def _check_apart(cidrs: Iterable[str], node: Node) -> None:
    """A zone that took the network of a node's address would cut the node off."""
    known = [each for each in (node.spec.addresses, node.status.addresses) if each]
    for text in filter(None, (text for each in known for text in (each.management, each.tunnel))):
        for cidr in cidrs:
            if ip_address(text) in addresses.network(cidr):
                raise Refused(
                    Reason.CIDR_OVERLAPS,
                    f"spec.cidrs: {cidr} holds {text} of Node {node.name}; choose a network that none of your"
                    " servers is in",
                )


def _is_special(network: IPv4Network | IPv6Network) -> bool:
    common = network.is_loopback or network.is_multicast or network.is_link_local or network.is_reserved
    if isinstance(network, IPv4Network):
        return common or network.network_address.packed[0] == 0
    return common or network.is_site_local


def _check_size(cidr: str, cidr6: str) -> None:
    """Each guest is as far from the beginning of both networks."""
    network, network6 = addresses.network(cidr), addresses.network(cidr6)
    if network6.num_addresses < network.num_addresses:
        longest = network6.max_prefixlen - (network.max_prefixlen - network.prefixlen)
        raise Refused(
            Reason.CIDR_INVALID,
            f"spec.cidrs: {cidr6} has fewer addresses than {cidr}; a prefix of at most /{longest} would do",
        )
