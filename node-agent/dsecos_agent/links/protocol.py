"""What the agent does to the host's links: one bridge a zone, the guests' veths as its ports.

Only links whose name begins with the instance's prefix are ever looked at or changed. A bridge carries its
owner's UID in its alias (`ip link show` prints it). Veths are made by the engine together with the guest;
here they are only put back on their bridge, which loses its ports when somebody deletes it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Protocol

from dsecos_agent.engines.protocol import Watch

LINK_GROUP = 0xD5EC
"""The group (`ip link set ... group`) of every zone's bridge, whatever the instance: instances on one host
know each other by it.
"""


ENGINE_PORT = re.compile(r"(veth|tap)[0-9]+i[0-9]+")
"""A guest's port that its engine has named: Proxmox VE, by VMID and interface."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A zone's presence on this node."""

    name: str
    """`<prefix>z<8 hex>`"""
    owner_uid: str
    gateway: IPv4Interface
    """The bridge's own address, with the zone's prefix length."""
    mtu: int = 1500
    gateway6: IPv6Interface | None = None
    """Its IPv6 address, where the zone has an IPv6 network."""
    mac: str | None = None
    """The same on every node; None: made from the name."""


VXLAN_PORT = 4789
"""UDP port of VXLAN (RFC 7348)."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A zone's guests on another node, and the way there."""

    address: IPv4Address
    """Where that node takes the zone's traffic: the VXLAN's outer destination."""
    mac: str
    """Of that node's end of the transit link."""
    guests: tuple[IPv4Address | IPv6Address, ...] = ()
    """Sorted: IPv4 before IPv6."""


@dataclass(frozen=True, slots=True)
class Transit:
    """A zone's link to other nodes: routed, no port of the bridge, nothing is learned and nothing is flooded.

    Each guest of another node has a host route through it. The next hop is that node's tunnel address (IPv4)
    or the link-local address made from its MAC (IPv6, RFC 4291 appendix A), which a permanent neighbour entry
    maps to the MAC, which one forwarding entry maps to the node.
    """

    name: str
    """`<prefix>v<8 hex>`"""
    owner_uid: str
    id: int
    """VXLAN network identifier."""
    address: IPv4Address
    """Of this node: the VXLAN's outer source."""
    mac: str
    mtu: int
    remotes: tuple[Remote, ...] = ()
    """Sorted by address."""


@dataclass(frozen=True, slots=True)
class ObservedBridge:
    """A bridge of ours, as found."""

    name: str
    owner_uid: str | None
    addresses: tuple[IPv4Interface, ...]
    up: bool
    mtu: int
    ports: tuple[str, ...]
    addresses6: tuple[IPv6Interface, ...] = ()
    """Those that are not link-local."""
    mac: str | None = None
    unrouted: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of its addresses that are not reached over it although it is up, sorted."""


@dataclass(frozen=True, slots=True)
class ObservedTransit:
    """A transit link of ours, as found. What it carries is compared with what `Transit.remotes` asks for."""

    name: str
    owner_uid: str | None
    id: int | None
    """None: it is no VXLAN."""
    address: IPv4Address | None
    mac: str
    mtu: int
    up: bool
    closed: bool
    """Whether it speaks on `VXLAN_PORT`, neither learns nor floods nor asks, and is no bridge's port."""
    forwarding: frozenset[tuple[str, IPv4Address]]
    """MAC and outer destination."""
    neighbours: frozenset[tuple[IPv4Address | IPv6Address, str]]
    """Permanent ones: next hop and MAC."""
    routes: frozenset[tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]]
    """Guest and next hop."""
    strangers: tuple[str, ...] = ()
    """What else it has, or has not, that differs from how we make it, in words, sorted."""


@dataclass(frozen=True, slots=True)
class ObservedPort:
    """A guest's host-side veth, as found; `bridge` is None when it hangs in the air."""

    name: str
    bridge: str | None
    isolated: bool
    up: bool


class Links(Protocol):
    """Offered by `netlink.NetlinkLinks`."""

    async def list_bridges(self) -> Sequence[ObservedBridge]:
        """All bridges `<prefix>z...`, sorted by name."""

    async def list_ports(self) -> Sequence[ObservedPort]:
        """All guests' ports, sorted by name: `<prefix>g...`, and all that an engine has named, also of guests
        that are not ours.
        """

    async def host_networks(self) -> Mapping[str, Sequence[IPv4Network | IPv6Network]]:
        """Networks that the host reaches straight over links that are not ours, by link: a bridge with one of
        them would take it away from the host.
        """

    async def ensure_bridge(self, bridge: Bridge) -> bool:
        """Make it as described (addresses of its own only, sysctls, up); True when something was changed.

        Raises NotOursError, AdapterError.
        """

    async def remove_bridge(self, name: str, owner_uid: str) -> None:
        """Delete it; a missing one is fine. Raises NotOursError."""

    async def list_transits(self) -> Sequence[ObservedTransit]:
        """All transit links `<prefix>v...`, sorted by name."""

    async def ensure_transit(self, transit: Transit) -> bool:
        """Make it as described: the link, and on it nothing but what `remotes` asks for; True when something
        was changed.

        Raises NotOursError, AdapterError.
        """

    async def remove_transit(self, name: str, owner_uid: str) -> None:
        """Delete it, and with it the way to all guests of other nodes; a missing one is fine. Raises
        NotOursError.
        """

    async def attach(self, port: str, bridge: str) -> bool:
        """Make the veth a port of the bridge, isolated from the other ports, and up; True when something was
        changed.

        Raises NotFoundError when either is missing.
        """

    async def ensure_forwarding(self) -> bool:
        """Let the host forward IPv4; True when it did so before us (what was set is remembered)."""

    async def ensure_forwarding6(self) -> bool:
        """Let the host forward IPv6; True when it did so before us.

        All other links go on listening to routers as they did: the kernel's one switch would make each of
        them a router's.
        """

    async def restore_forwarding(self) -> None:
        """Set what these set back to what it was and forget it. For `make down`."""

    def subscribe(self, callback: Callable[[], None], transits: Callable[[], None] | None = None) -> Watch:
        """Call back, on the event loop, whenever a link with our prefix appears, changes or goes, or an
        address on it, or a route or an entry of a transit link; `transits` before it, when it is about one of
        these.

        Says only "look again": several changes may come as one call, and one's own changes come too.
        """

    async def close(self) -> None:
        """Release sockets; links stay."""
