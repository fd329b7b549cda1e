"""What the firewall is told, and what it tells.

A `Policy` is the complete wish for this node; whatever it does not allow is dropped. The order of its parts
never matters.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Protocol

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.protocol import Watch
from dsecos_agent.links.protocol import Encapsulation


class FirewallRefusedError(AdapterError):
    """nft or the kernel did not take the ruleset; the rules before it stay in force."""


class InvalidPolicyError(AdapterError):
    """The policy contradicts itself: two guests with one address, one host port twice, a name that is no
    link's.
    """


class L4(enum.StrEnum):
    """Transport protocols that a port can be of."""

    TCP = "tcp"
    UDP = "udp"


class EgressMode(enum.StrEnum):
    """What a zone's guests may begin by themselves."""

    DENY = "Deny"
    NAT = "NAT"
    """To the outside, behind the node's own address."""
    ALLOW = "Allow"
    """To the outside, with the guest's own address: the network around has to know the way back."""


@dataclass(frozen=True, slots=True)
class EgressRule:
    """One destination; no ports: every port and protocol."""

    cidr: IPv4Network | IPv6Network
    ports: frozenset[tuple[L4, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class ZonePolicy:
    """One zone on this node."""

    bridge: str
    gateway: IPv4Interface
    egress: EgressMode = EgressMode.DENY
    egress_to: tuple[EgressRule, ...] = ()
    """Empty: everywhere outside. Rules of one family alone: nowhere in the other. Never other zones,
    link-local, cloud metadata or the node itself.
    """
    gateway6: IPv6Interface | None = None
    """None: the zone has no IPv6 network."""
    transit: str | None = None
    """The link that brings the zone's traffic from other nodes, and takes it there."""
    encapsulation: Encapsulation = Encapsulation.VXLAN
    """Of that link."""
    senders: tuple[str, ...] = ()
    """MACs of the other nodes' ends of it: what comes from another is dropped."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Guests at `source` may begin connections to guests at `destination`: two zones have agreed, or one with
    itself. Networks of the same family.
    """

    source: IPv4Network | IPv6Network
    destination: IPv4Network | IPv6Network
    ports: frozenset[tuple[L4, int]] = frozenset()
    """Empty: every port and protocol."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Who may bring traffic of other nodes' guests to this node, by VXLAN."""

    address: IPv4Address
    """Of this node."""
    ids: tuple[int, ...]
    """Network identifiers of those of this node's transit links that are VXLANs. The kernel takes them at
    every address that it has; what bears another is somebody else's.
    """
    peers: tuple[IPv4Address, ...] = ()
    """Tunnel addresses of the other nodes."""


@dataclass(frozen=True, slots=True)
class ExposedPort:
    """A guest's port that may be reached from `sources`, at the guest's address and, if given, at the node's
    host_port.
    """

    port: int
    protocol: L4 = L4.TCP
    host_port: int | None = None
    sources: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("0.0.0.0/0"),)
    """None of a family: closed to it."""


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """One guest: who it is (what it may claim to be) and what may reach it."""

    name: str
    """Names its counters; a guest's name."""
    link: str
    """Host side of its veth."""
    bridge: str
    mac: str
    address: IPv4Address
    exposed: tuple[ExposedPort, ...] = ()
    address6: IPv6Address | None = None
    """None: it speaks no IPv6. Otherwise it also has the link-local address that is made from its MAC."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole node."""

    zones: tuple[ZonePolicy, ...] = ()
    guests: tuple[GuestPolicy, ...] = ()
    registry_port: int | None = None
    """The TCP port of the node's registry, which guests may reach at their gateway; None: it is closed."""
    name_server: bool = False
    """Whether guests may ask a name server at their gateway: port 53, UDP and TCP."""
    crossings: tuple[Crossing, ...] = ()
    """What may pass from zone to zone. Judged on the sender's node and on the receiver's."""
    tunnel: Tunnel | None = None
    """None: no zone of this node spans nodes by VXLAN."""
    protected: tuple[IPv4Address | IPv6Address, ...] = ()
    """Addresses of the cluster's nodes, which no guest ever reaches, whatever its zone's egress says."""
    elsewhere: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of all zones of the cluster, on this node or not: no guest reaches one by way of the world
    outside, where a router may know it.
    """


class Direction(enum.StrEnum):
    """Seen from the guest."""

    INGRESS = "ingress"
    EGRESS = "egress"
    SPOOFED = "spoofed"
    """What it sent under a name that is not its own, or straight to a neighbour."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Packets dropped since the counter was made; carried over a replace, reset by a reboot."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DeniedPeer:
    """Whom a guest did not reach, or who did not reach it, in the last minutes."""

    guest: str
    direction: Direction
    peer: IPv4Address | IPv6Address
    protocol: str
    """As in protocols(5)."""
    port: int | None
    """Destination port; None: the protocol has none."""
    packets: int


class Drift(enum.StrEnum):
    """How the kernel's rules compare with the policy."""

    NONE = "None"
    NEVER_APPLIED = "NeverApplied"
    """Nothing of ours is there."""
    MISSING = "Missing"
    """One or both tables were deleted."""
    CHANGED = "Changed"
    """Tables are there but are not what we put there, or what we put there is not this policy."""


class Firewall(Protocol):
    """Offered by `nft.NftFirewall`. One caller at a time: calls are serialised inside."""

    async def apply(self, policy: Policy) -> None:
        """Make both tables what this policy says, in one transaction; established connections stay.

        Where only elements of sets change, they alone are sent.

        Counters keep counting. Raises InvalidPolicyError, FirewallRefusedError; then nothing has changed.
        """

    async def remember(self) -> None:
        """Note what the kernel lists after a change by elements, if that was not done: what others change
        later is compared with it. Raises FirewallRefusedError.
        """

    async def drift(self, policy: Policy) -> Drift:
        """Compare the kernel with the policy; also right after an agent's restart."""

    def changes(self) -> Sequence[str]:
        """What the last `drift` found that others had changed since our last apply, in words; none when that
        is not known: then it was before a restart of ours.
        """

    async def denied(self) -> Mapping[tuple[str, Direction], Denied]:
        """Counters by (guest name, direction)."""

    async def denied_peers(self) -> Sequence[DeniedPeer]:
        """Whose packets were dropped lately, as far as they are remembered: a bounded number, and none of
        before the last apply.
        """

    async def remove(self) -> None:
        """Delete both tables. For `make down`: what was exposed stays reachable, what was denied is no longer
        denied.
        """

    def subscribe(self, callback: Callable[[], None]) -> Watch:
        """Call back, on the event loop, when anybody but us changed our tables. Says only "look again"."""

    async def close(self) -> None:
        """Release sockets; the rules stay in force."""
