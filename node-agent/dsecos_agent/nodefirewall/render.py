"""From the node's objects to one `Policy`. Pure.

A policy that contradicts itself would be refused as a whole, and one bad object must not hold up the others:
of two guests that claim the same address or node port the one that had it before (else the first by name)
gets it. The other is named in `conflicts`: without an address it has no rules, without the port it keeps the
rest of them.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from dsecos_api import Guest, Reason, ZoneAttachment
from dsecos_api.guest import GuestNetwork

from dsecos_agent.firewall.addresses import Address, Network
from dsecos_agent.firewall.model import (
    L4,
    EgressMode,
    EgressRule,
    GuestPolicy,
    Policy,
    ZonePolicy,
)
from dsecos_agent.links.protocol import VXLAN_PORT
from dsecos_agent.nodefirewall.reading import guest_policy
from dsecos_agent.nodefirewall.spanning import Spanning, networks_of, ports_of
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of, transit_of

Ports = Callable[[str], str | None]
"""Host's end of a guest's network interface, by the guest's name; None: its engine has not told it yet."""

Read = Callable[[str, Guest, GuestNetwork, ZonePolicy], GuestPolicy]
"""As `guest_policy`."""


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
    name_server: bool = False,
    previous: Policy,
    protected: Iterable[Address] = (),
    elsewhere: Iterable[Network] = (),
    read: Read = guest_policy,
) -> Rendered:
    """What is to be in force. Paused objects keep what they have in `previous`; a guest whose link is not
    known has no rules, and is not started. One whose network is its own has none either. No guest ever
    reaches a `protected` address, nor by way of the world outside a network of `elsewhere`.
    """
    old_zones = {zone.bridge: zone for zone in previous.zones}
    old_guests = {guest.name: guest for guest in previous.guests}
    zones: dict[str, ZonePolicy] = {}
    attached: dict[str, ZonePolicy] = {}
    spanning = Spanning(previous)
    for attachment in attachments:
        try:
            zone = zone_policy(prefix, attachment)
        except UnsupportedZoneError:
            continue
        if attachment.spec.paused and zone.bridge in old_zones:
            zone = old_zones[zone.bridge]
            spanning.keep(zone)
        else:
            spanning.add(zone, attachment.spec.ingress, transit_of(prefix, attachment))
        zones[zone.bridge] = attached[attachment.name] = zone
    wishes: list[GuestPolicy] = []
    for guest in guests:
        network = guest.spec.network
        if network is None:
            continue
        if guest.spec.paused and guest.name in old_guests:
            wishes.append(old_guests[guest.name])
        elif network.attachment in attached and (link := ports(guest.name)) is not None:
            wishes.append(read(link, guest, network, attached[network.attachment]))
    for rest in forgotten:
        # The way to other nodes went with the attachment.
        zones.setdefault(rest.zone.bridge, replace(rest.zone, transit=None, senders=()))
        wishes.append(rest.guest)
    tunnel = spanning.tunnel
    taken = {} if tunnel is None else {(L4.UDP, VXLAN_PORT): "the zones that span nodes"}
    kept, conflicts = _resolve([wish for wish in wishes if wish.bridge in zones], old_guests, taken)
    policy = Policy(
        zones=tuple(sorted(zones.values(), key=lambda zone: zone.bridge)),
        guests=kept,
        registry_port=registry_port,
        name_server=name_server,
        crossings=spanning.crossings,
        tunnel=tunnel,
        protected=tuple(sorted(set(protected), key=lambda address: (address.version, int(address)))),
        elsewhere=tuple(elsewhere),
    )
    return Rendered(policy, conflicts)


def zone_policy(prefix: str, attachment: ZoneAttachment) -> ZonePolicy:
    """One zone's part. Raises UnsupportedZoneError."""
    bridge = bridge_of(prefix, attachment)
    spec = attachment.spec
    transit = transit_of(prefix, attachment)
    zone = ZonePolicy(
        bridge=bridge.name,
        gateway=bridge.gateway,
        gateway6=bridge.gateway6,
    )
    if transit is not None:
        senders = tuple(sorted(remote.mac for remote in transit.remotes))
        zone = replace(zone, transit=transit.name, encapsulation=transit.encapsulation, senders=senders)
    families = {network.version for network in networks_of(zone)}
    rules = tuple(
        EgressRule(network, ports_of(rule.ports))
        for rule in spec.egress.to
        if (network := ip_network(rule.cidr, strict=False)).version in families
    )
    if spec.egress.to and not rules:
        return zone  # destinations of a family that the zone does not speak
    return replace(zone, egress=EgressMode(spec.egress.mode.value), egress_to=rules)


def _resolve(
    wishes: list[GuestPolicy], old: Mapping[str, GuestPolicy], taken_ports: Mapping[tuple[L4, int], str]
) -> tuple[tuple[GuestPolicy, ...], dict[str, Conflict]]:
    addresses: dict[Address, str] = {}
    host_ports = dict(taken_ports)
    kept: dict[str, GuestPolicy] = {}
    conflicts: dict[str, Conflict] = {}
    for wish in sorted(wishes, key=lambda guest: (not _held(guest, old.get(guest.name)), guest.name)):
        claimed = {(port.protocol, port.host_port) for port in wish.exposed if port.host_port is not None}
        taken = {port: host_ports[port] for port in claimed if port in host_ports}
        holders = [(address, addresses[address]) for address in _addresses(wish) if address in addresses]
        if holders:
            address, holder = holders[0]
            conflicts[wish.name] = Conflict(
                Reason.ADDRESS_CONFLICT, f"address {address} belongs to guest {holder} on this node"
            )
            continue
        if taken:
            (protocol, number), owner = min(taken.items())
            conflicts[wish.name] = Conflict(
                Reason.PORT_CONFLICT, f"{protocol} port {number} of the node belongs to {owner}"
            )
        kept[wish.name] = _without(taken, wish) if taken else wish
        addresses |= dict.fromkeys(_addresses(wish), wish.name)
        host_ports |= dict.fromkeys(claimed - taken.keys(), f"guest {wish.name}")
    return tuple(kept[name] for name in sorted(kept)), conflicts


def _addresses(guest: GuestPolicy) -> list[Address]:
    return [guest.address] if guest.address6 is None else [guest.address, guest.address6]


def _without(taken: Container[tuple[L4, int | None]], guest: GuestPolicy) -> GuestPolicy:
    """Its ports are reached at its own address only where the node's port is another's."""
    ports = (
        replace(port, host_port=None) if (port.protocol, port.host_port) in taken else port
        for port in guest.exposed
    )
    return replace(guest, exposed=tuple(ports))


def _held(wish: GuestPolicy, old: GuestPolicy | None) -> bool:
    """Whether a guest has already what it asks for: a newcomer cannot take it away."""
    if old is wish:
        return True
    if old is None or _addresses(old) != _addresses(wish):
        return False
    had = {(port.protocol, port.host_port) for port in old.exposed}
    return all(port.host_port is None or (port.protocol, port.host_port) in had for port in wish.exposed)
