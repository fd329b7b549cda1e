"""What the agent does to the host's links: one bridge a zone, the guests' veths as its ports.

Only links whose name begins with the instance's prefix are ever looked at or changed. A bridge carries its
owner's UID in its alias (`ip link show` prints it). Veths are made by the engine together with the guest;
here they are only put back on their bridge, which loses its ports when somebody deletes it.
"""

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Protocol

from dsecos_agent.adapter_errors import AdapterError
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

MOST_VLAN = 4094
"""The greatest 802.1Q id (IEEE 802.1Q, 9.6: 0 is no VLAN, 4095 is reserved)."""


class UnderlayError(AdapterError):
    """The host's own network does not bear a link to other nodes as it is; the message says what to do."""


class MtuError(UnderlayError):
    """It bears the link, but not packets of the size that is asked for."""


class Encapsulation(enum.StrEnum):
    """How packets go from node to node; named as the API names it."""

    VXLAN = "vxlan"
    """In UDP, over any network that joins the tunnel addresses (RFC 7348)."""
    VLAN = "vlan"
    """With an 802.1Q tag, in the network of the link that has the tunnel address."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A zone's guests on another node, and the way there."""

    address: IPv4Address
    """That node's tunnel address: the VXLAN's outer destination."""
    mac: str
    """Of that node's end of the transit link."""
    guests: tuple[IPv4Address | IPv6Address, ...] = ()
    """Sorted: IPv4 before IPv6."""


@dataclass(frozen=True, slots=True)
class Transit:
    """A zone's link to other nodes: routed, no port of the bridge, nothing is learned and nothing is flooded.

    Each guest of another node has a host route through it. The next hop is that node's tunnel address (IPv4)
    or the link-local address made from its MAC (IPv6, RFC 4291 appendix A), which a permanent neighbour entry
    maps to the MAC, which one forwarding entry of a VXLAN maps to the node. An 802.1Q link has none: the
    network below finds the MAC.
    """

    name: str
    """`<prefix>v<8 hex>`"""
    owner_uid: str
    id: int
    """VXLAN network identifier, or 802.1Q id (1 to `MOST_VLAN`)."""
    address: IPv4Address
    """This node's tunnel address: the VXLAN's outer source. An 802.1Q link lies upon the link that has it."""
    mac: str
    mtu: int
    """In bytes; of an 802.1Q link at most that of the link below, which does not count the tag."""
    remotes: tuple[Remote, ...] = ()
    """Sorted by address."""
    encapsulation: Encapsulation = Encapsulation.VXLAN


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
class Carrier:
    """How a link is found to take packets to other nodes."""

    encapsulation: Encapsulation
    id: int
    addresses: tuple[IPv4Address, ...]
    """Sorted: a VXLAN's outer source, or all of the link that an 802.1Q link lies upon."""
    closed: bool
    """A VXLAN speaks on `VXLAN_PORT` and neither learns nor floods nor asks; an 802.1Q link has the protocol
    802.1Q and no part in others' (GVRP, MVRP, priorities, a state of its own).
    """

    def __str__(self) -> str:
        """For people."""
        name = "VXLAN" if self.encapsulation is Encapsulation.VXLAN else "802.1Q"
        return f"{name} id {self.id} at {', '.join(map(str, self.addresses)) or 'no address'}"


@dataclass(frozen=True, slots=True)
class ObservedTransit:
    """A transit link of ours, as found. What it carries is compared with what `Transit.remotes` asks for."""

    name: str
    owner_uid: str | None
    carrier: Carrier | None
    """None: it is neither a VXLAN nor an 802.1Q link."""
    mac: str
    mtu: int
    up: bool
    closed: bool
    """Whether the carrier is, and the link asks for nobody (NOARP) and is no bridge's port."""
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

        Raises NotOursError, UnsupportedError (this kernel has no such links), UnderlayError (there is no link
        to lie upon, or it is down: nothing was changed), MtuError (it was made as large as it can be),
        AdapterError.
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
        these. Also when any link gains or loses an IPv4 address: a tunnel address may go to another.

        Says only "look again": several changes may come as one call, and one's own changes come too.
        """

    async def close(self) -> None:
        """Release sockets; links stay."""
