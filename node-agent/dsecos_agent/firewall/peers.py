"""Whose packets were dropped, from the sets that the kernel fills. Pure.

An element of `nft -j list set` is `{"elem": {"val": {"concat": [guest, peer, protocol, port]}, "counter":
{"packets": n}}}` (libnftables-json(5)).
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any

from dsecos_agent.firewall.addresses import Address
from dsecos_agent.firewall.model import DeniedPeer, Direction, GuestPolicy
from dsecos_agent.links.entries import link_local

WITH_PORTS = frozenset({"tcp", "udp"})


def denied_peers(
    listing: Iterable[Mapping[str, Any]], direction: Direction, owners: Mapping[Address, str]
) -> Iterator[DeniedPeer]:
    """Of one set. Whom nobody knows any more is passed over."""
    # A full set has thousands of elements of few guests.
    guest_at = cache(lambda own: owners.get(ip_address(own)))
    for one in listing:
        for element in one.get("set", {}).get("elem", ()):
            own, peer, protocol, port = element["elem"]["val"]["concat"]
            guest = guest_at(own)
            if guest is not None:
                yield DeniedPeer(
                    guest,
                    direction,
                    ip_address(peer),
                    str(protocol),
                    int(port) if protocol in WITH_PORTS else None,
                    int(element["elem"]["counter"]["packets"]),
                )


def owners(guests: Iterable[GuestPolicy]) -> dict[Address, str]:
    """Guests by the addresses that they may use."""
    found: dict[Address, str] = {}
    for guest in guests:
        found[guest.address] = guest.name
        if guest.address6 is not None:
            found[guest.address6] = found[link_local(guest.mac)] = guest.name
    return found
