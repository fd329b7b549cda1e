"""What a policy must not say, and what this instance's links are called."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dsecos_agent.firewall.model import GuestPolicy, InvalidPolicyError, Policy
from dsecos_agent.links.protocol import ENGINE_PORT

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
    addresses = [str(guest.address) for guest in policy.guests] + [
        str(zone.gateway.ip) for zone in policy.zones
    ]
    _unique("address", addresses)
    _unique(
        "host port", (f"{p.protocol}/{p.host_port}" for g in policy.guests for p in g.exposed if p.host_port)
    )
    for zone in policy.zones:
        if not LINK.fullmatch(zone.bridge) or not zone.bridge.startswith(f"{names.link_prefix}z"):
            raise InvalidPolicyError(f"{zone.bridge!r} is not the name of a zone's bridge")
    for guest in policy.guests:
        _validate_guest(guest, bridges, names)
    ports = [
        port for g in policy.guests for p in g.exposed for port in (p.port, p.host_port) if port is not None
    ]
    ports += [port for zone in policy.zones for rule in zone.egress_to for _, port in rule.ports]
    ports += [policy.registry_port] if policy.registry_port is not None else []
    if wrong := [port for port in ports if not 0 < port < 65536]:
        raise InvalidPolicyError(f"{wrong[0]} is not a port")


def _validate_guest(guest: GuestPolicy, bridges: set[str], names: Names) -> None:
    if not GUEST.fullmatch(guest.name):
        raise InvalidPolicyError(f"{guest.name!r} is not a guest's name")
    known = names.is_port(guest.link) or ENGINE_PORT.fullmatch(guest.link)
    if not LINK.fullmatch(guest.link) or not known:
        raise InvalidPolicyError(f"{guest.link!r} is not the name of a guest's link")
    if not MAC.fullmatch(guest.mac):
        raise InvalidPolicyError(f"{guest.mac!r} is not a MAC address")
    if guest.bridge not in bridges:
        raise InvalidPolicyError(f"guest {guest.name} is in a zone that is not on this node: {guest.bridge}")


def _unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InvalidPolicyError(f"{what} {value} is there twice")
        seen.add(value)
