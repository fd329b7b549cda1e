"""What a policy must not say, and what this instance's links are called."""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from dsecos_agent.firewall.addresses import Address
from dsecos_agent.firewall.model import L4, GuestPolicy, InvalidPolicyError, Policy
from dsecos_agent.links.protocol import ENGINE_PORT, VXLAN_PORT, Encapsulation

LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}")
GUEST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Names:
    """What this instance's things are called."""

    instance: str
    link_prefix: str

    @property
    def bridges(self) -> str:
        """Matches every zone's bridge."""
        return f'"{self.link_prefix}z*"'

    @property
    def ports(self) -> str:
        """Matches every guest's link."""
        return f'"{self.link_prefix}g*"'

    @property
    def transits(self) -> str:
        """Matches every zone's link to other nodes."""
        return f'"{self.link_prefix}v*"'

    @property
    def neither_from(self) -> str:
        """Matches what comes by no link of a zone."""
        return f"iifname != {self.bridges} iifname != {self.transits}"

    @property
    def neither_to(self) -> str:
        """Matches what leaves by no link of a zone."""
        return f"oifname != {self.bridges} oifname != {self.transits}"

    def is_port(self, link: str) -> bool:
        """Whether a guest's link has a name that we have given it."""
        return link.startswith(f"{self.link_prefix}g")


def validate(policy: Policy, names: Names) -> None:
    """Refuse what contradicts itself. Raises InvalidPolicyError."""
    bridges = {zone.bridge for zone in policy.zones}
    _unique("bridge", (zone.bridge for zone in policy.zones))
    _unique("guest", (guest.name for guest in policy.guests))
    _unique("link", (guest.link for guest in policy.guests))
    _unique("MAC", (guest.mac for guest in policy.guests))
    _unique("transit link", (zone.transit for zone in policy.zones if zone.transit is not None))
    _unique("address", _addresses(policy))
    _unique(
        "host port", (f"{p.protocol}/{p.host_port}" for g in policy.guests for p in g.exposed if p.host_port)
    )
    for zone in policy.zones:
        _validate_link(zone.bridge, f"{names.link_prefix}z", "a zone's bridge")
        if zone.transit is not None:
            _validate_link(zone.transit, f"{names.link_prefix}v", "a zone's transit link")
        for mac in zone.senders:
            _validate_mac(mac)
    for guest in policy.guests:
        _validate_guest(guest, bridges, names)
    for crossing in policy.crossings:
        if crossing.source.version != crossing.destination.version:
            raise InvalidPolicyError(
                f"nothing crosses from {crossing.source} to {crossing.destination}: one is IPv4, one is IPv6"
            )
    _validate_tunnel(policy)
    ports = [
        port for g in policy.guests for p in g.exposed for port in (p.port, p.host_port) if port is not None
    ]
    ports += [port for zone in policy.zones for rule in zone.egress_to for _, port in rule.ports]
    ports += [port for crossing in policy.crossings for _, port in crossing.ports]
    ports += [policy.registry_port] if policy.registry_port is not None else []
    if wrong := [port for port in ports if not 0 < port < 65536]:
        raise InvalidPolicyError(f"{wrong[0]} is not a port")


def _addresses(policy: Policy) -> Iterator[Address]:
    for guest in policy.guests:
        yield guest.address
        if guest.address6 is not None:
            yield guest.address6
    for zone in policy.zones:
        yield zone.gateway.ip
        if zone.gateway6 is not None:
            yield zone.gateway6.ip


def _validate_link(link: str, beginning: str, what: str) -> None:
    if not LINK.fullmatch(link) or not link.startswith(beginning):
        raise InvalidPolicyError(f"{link!r} is not the name of {what}")


def _validate_tunnel(policy: Policy) -> None:
    """A VXLAN that nobody guards takes guests' packets from everybody."""
    vxlans = [z.transit for z in policy.zones if z.transit and z.encapsulation is Encapsulation.VXLAN]
    if policy.tunnel is None:
        if vxlans:
            raise InvalidPolicyError(f"there is a transit link and no tunnel: {min(vxlans)}")
        return
    if wrong := [number for number in policy.tunnel.ids if not 0 < number < 1 << 24]:
        raise InvalidPolicyError(f"{wrong[0]} is not a VXLAN network identifier")
    for guest in policy.guests:
        if any(port.protocol is L4.UDP and port.host_port == VXLAN_PORT for port in guest.exposed):
            raise InvalidPolicyError(
                f"guest {guest.name} cannot have the node's udp port {VXLAN_PORT}: zones span nodes by it"
            )


def _validate_guest(guest: GuestPolicy, bridges: set[str], names: Names) -> None:
    if not GUEST.fullmatch(guest.name):
        raise InvalidPolicyError(f"{guest.name!r} is not a guest's name")
    known = names.is_port(guest.link) or ENGINE_PORT.fullmatch(guest.link)
    if not LINK.fullmatch(guest.link) or not known:
        raise InvalidPolicyError(f"{guest.link!r} is not the name of a guest's link")
    _validate_mac(guest.mac)
    if guest.bridge not in bridges:
        raise InvalidPolicyError(f"guest {guest.name} is in a zone that is not on this node: {guest.bridge}")
    if guest.address6 is not None and (guest.address6.is_link_local or guest.address6.is_multicast):
        raise InvalidPolicyError(f"{guest.address6} is no address of a guest")


def _validate_mac(mac: str) -> None:
    if not MAC.fullmatch(mac):
        raise InvalidPolicyError(f"{mac!r} is not a MAC address")


def _unique(what: str, values: Iterable[Hashable]) -> None:
    found = Counter(values)
    if len(found) < found.total():
        raise InvalidPolicyError(f"{what} {found.most_common(1)[0][0]} is there twice")
