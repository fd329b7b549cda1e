"""What is served to whom. The contract of every implementation of `NameServers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from dsecos_agent.adapter_errors import AdapterError

Address = IPv4Address | IPv6Address


class NameServerError(AdapterError):
    """A zone's name server is not there, or does not start; says what to do."""


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone's name server on this node: it answers at its bridge alone, and knows these names alone."""

    bridge: str
    gateways: tuple[Address, ...]
    """Its own addresses, which are on the bridge: port 53, UDP and TCP."""
    hosts: Mapping[str, tuple[Address, ...]]
    """Addresses by full name, without a dot at the end. No other name of DOMAIN exists,
    but for REGISTRY_HOST: that is at the gateway.
    """
    forwards: bool
    """Whether names outside of DOMAIN are asked of the node's own resolvers (resolv.conf(5)), or refused."""


class NameServers(Protocol):
    """Offered by `dnsmasq.DnsmasqServers`. A server outlives the agent; the next agent goes on with it."""

    async def ensure(self, zone: Zone) -> bool:
        """Make the zone's server run and know these names. Whether anything had to be changed.

        A change of names takes effect without an interruption. Raises NameServerError.
        """

    async def remove(self, bridge: str) -> None:
        """End a bridge's server and take its files away; one that is not there is fine."""

    async def serving(self) -> frozenset[str]:
        """Bridges whose servers run, whoever began them."""

    def subscribe(self, ended: Callable[[str], None]) -> Callable[[], None]:
        """Call back, on the event loop, with the bridge of a server that ended unasked; returns the way to
        stop that.
        """

    async def close(self) -> None:
        """Release what we hold; servers go on."""
