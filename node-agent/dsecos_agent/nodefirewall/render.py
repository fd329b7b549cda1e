"""From the node's objects to one `Policy`. Pure.

A policy that contradicts itself would be refused as a whole, and one bad object must not hold up the others:
of two guests that claim the same address or node port the one that had it before (else the first by name)
gets it. The other is named in `conflicts`: without an address it has no rules, without the port it keeps the
rest of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_network

from dsecos_api import Guest, Reason, ZoneAttachment
from dsecos_api.guest import GuestNetwork
from dsecos_api.shared import Expose

from dsecos_agent.firewall.model import (
    L4,
    EgressMode,
    EgressRule,
    ExposedPort,
    GuestPolicy,
    Policy,
    ZonePolicy,
)
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of

Ports = Callable[[str], str | None]
"""Host's end of a guest's network interface, by the guest's name; None: its engine has not told it yet."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a guest does not have what it asks for."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What goes on running although its object is gone (deletionPolicy Orphan)."""

    zone: ZonePolicy
    guest: GuestPolicy


@dataclass(frozen=True, slots=True)
class Rendered:
    """The wish for the whole node."""

    policy: Policy = field(default_factory=Policy)
    conflicts: Mapping[str, Conflict] = field(default_factory=dict)
    """By guest."""


def render(
    attachments: Iterable[ZoneAttachment],
    guests: Iterable[Guest],
    forgotten: Iterable[Forgotten] = (),
    *,
    prefix: str,
    ports: Ports,
    registry_port: int | None,
    previous: Policy,
) -> Rendered:
    """What is to be in force. Paused objects keep what they have in `previous`; a guest whose link is not
    known has no rules, and is not started. One whose network is its own has none either.
    """
    old_zones = {zone.bridge: zone for zone in previous.zones}
    old_guests = {guest.name: guest for guest in previous.guests}
    zones: dict[str, ZonePolicy] = {}
    bridges: dict[str, str] = {}
    for attachment in attachments:
        try:
            zone = zone_policy(prefix, attachment)
        except UnsupportedZoneError:
            continue
        if attachment.spec.paused and zone.bridge in old_zones:
            zone = old_zones[zone.bridge]
        zones[zone.bridge] = zone
        bridges[attachment.name] = zone.bridge
    wishes: list[GuestPolicy] = []
    for guest in guests:
        network = guest.spec.network
        if network is None:
            continue
        if guest.spec.paused and guest.name in old_guests:
            wishes.append(old_guests[guest.name])
        elif network.attachment in bridges and (link := ports(guest.name)) is not None:
            wishes.append(guest_policy(link, guest.name, network, bridges[network.attachment]))
    for rest in forgotten:
        zones.setdefault(rest.zone.bridge, rest.zone)
        wishes.append(rest.guest)
    kept, conflicts = _resolve([wish for wish in wishes if wish.bridge in zones], old_guests)
    policy = Policy(
        zones=tuple(sorted(zones.values(), key=lambda zone: zone.bridge)),
        guests=kept,
        registry_port=registry_port,
    )
    return Rendered(policy, conflicts)


def zone_policy(prefix: str, attachment: ZoneAttachment) -> ZonePolicy:
    """One zone's part. Raises UnsupportedZoneError."""
    bridge = bridge_of(prefix, attachment)
    egress = attachment.spec.egress
    rules = []
    for rule in egress.to:
        network = ip_network(rule.cidr, strict=False)
        if isinstance(network, IPv4Network):
            ports = frozenset((L4(port.protocol.lower()), port.port) for port in rule.ports)
            rules.append(EgressRule(network, ports))
    if egress.to and not rules:
        return ZonePolicy(
            bridge=bridge.name, gateway=bridge.gateway
        )  # IPv6 destinations only: none of IPv4's
    return ZonePolicy(
        bridge=bridge.name,
        gateway=bridge.gateway,
        egress=EgressMode(egress.mode.value),
        egress_to=tuple(rules),
    )


def guest_policy(link: str, name: str, network: GuestNetwork, bridge: str) -> GuestPolicy:
    """One guest's part."""
    exposed = (_exposed(port) for port in network.ports)
    return GuestPolicy(
        name=name,
        link=link,
        bridge=bridge,
        mac=network.mac,
        address=IPv4Address(network.address),
        exposed=tuple(
            sorted((port for port in exposed if port), key=lambda port: (port.port, port.protocol))
        ),
    )


def _exposed(port: Expose) -> ExposedPort | None:
    networks = (ip_network(source, strict=False) for source in port.from_)
    sources = tuple(sorted(network for network in networks if isinstance(network, IPv4Network)))
    if not sources:
        return None
    return ExposedPort(port.port, L4(port.protocol.lower()), port.host_port, sources)


def _resolve(
    wishes: list[GuestPolicy], old: Mapping[str, GuestPolicy]
) -> tuple[tuple[GuestPolicy, ...], dict[str, Conflict]]:
    addresses: dict[IPv4Address, str] = {}
    host_ports: dict[tuple[L4, int], str] = {}
    kept: dict[str, GuestPolicy] = {}
    conflicts: dict[str, Conflict] = {}
    for wish in sorted(wishes, key=lambda guest: (not _held(guest, old.get(guest.name)), guest.name)):
        claimed = {(port.protocol, port.host_port) for port in wish.exposed if port.host_port is not None}
        taken = {port: host_ports[port] for port in claimed if port in host_ports}
        if wish.address in addresses:
            holder = addresses[wish.address]
            conflicts[wish.name] = Conflict(
                Reason.ADDRESS_CONFLICT, f"address {wish.address} belongs to guest {holder} on this node"
            )
        elif taken:
            (protocol, number), holder = min(taken.items())
            conflicts[wish.name] = Conflict(
                Reason.PORT_CONFLICT, f"{protocol} port {number} of the node belongs to guest {holder}"
            )
            addresses[wish.address] = wish.name
            kept[wish.name] = replace(wish, exposed=tuple(_without(taken, port) for port in wish.exposed))
            host_ports |= dict.fromkeys(claimed - taken.keys(), wish.name)
        else:
            kept[wish.name] = wish
            addresses[wish.address] = wish.name
            host_ports |= dict.fromkeys(claimed, wish.name)
    return tuple(kept[name] for name in sorted(kept)), conflicts


def _without(taken: Mapping[tuple[L4, int], str], port: ExposedPort) -> ExposedPort:
    if port.host_port is None or (port.protocol, port.host_port) not in taken:
        return port
    return replace(port, host_port=None)


def _held(wish: GuestPolicy, old: GuestPolicy | None) -> bool:
    """Whether a guest has already what it asks for: a newcomer cannot take it away."""
    if old is None or old.address != wish.address:
        return False
    had = {(port.protocol, port.host_port) for port in old.exposed}
    return all(port.host_port is None or (port.protocol, port.host_port) in had for port in wish.exposed)
