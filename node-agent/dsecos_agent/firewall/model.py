"""What the firewall is told, and what it tells.

A `Policy` is the complete wish for this node; whatever it does not allow is dropped. The order of its parts
never matters.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Protocol

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.protocol import Watch


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

    cidr: IPv4Network
    ports: frozenset[tuple[L4, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class ZonePolicy:
    """One zone on this node."""

    bridge: str
    gateway: IPv4Interface
    egress: EgressMode = EgressMode.DENY
    egress_to: tuple[EgressRule, ...] = ()
    """Empty: everywhere outside (never other zones, never link-local, never the node itself)."""


@dataclass(frozen=True, slots=True)
class ExposedPort:
    """A guest's port that may be reached from `sources`, at the guest's address and, if given, at the node's
    host_port.
    """

    port: int
    protocol: L4 = L4.TCP
    host_port: int | None = None
    sources: tuple[IPv4Network, ...] = (IPv4Network("0.0.0.0/0"),)


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


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole node."""

    zones: tuple[ZonePolicy, ...] = ()
    guests: tuple[GuestPolicy, ...] = ()
    registry_port: int | None = None
    """The one TCP port on their gateway that guests may reach; None: not even that."""
    host_forwards: bool = True
    """False: the host was no router before us, so what neither comes from nor goes to a zone is not
    forwarded.
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
        """Replace both tables by this policy in one transaction; established connections stay.

        Counters keep counting. Raises InvalidPolicyError, FirewallRefusedError; then nothing has changed.
        """

    async def drift(self, policy: Policy) -> Drift:
        """Compare the kernel with the policy; also right after an agent's restart."""

    async def denied(self) -> Mapping[tuple[str, Direction], Denied]:
        """Counters by (guest name, direction)."""

    async def remove(self) -> None:
        """Delete both tables. For `make down`: what was exposed stays reachable, what was denied is no longer
        denied.
        """

    def subscribe(self, callback: Callable[[], None]) -> Watch:
        """Call back, on the event loop, when anybody but us changed our tables. Says only "look again"."""

    async def close(self) -> None:
        """Release sockets; the rules stay in force."""
