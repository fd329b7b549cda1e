"""Which zones have agreed that their guests may connect. Pure; shared by operator and command line.

An entry of `spec.peers` is a consent: it says what the peer's guests may reach here. It counts only if the
peer names this zone as well, whatever that entry allows in its own direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dsecos_api.networkzone import EncapsulationType, NetworkZone, Peer, PortRule


class Agreement(StrEnum):
    """What the other side says to an entry of `spec.peers`."""

    AGREED = "Agreed"
    NOT_NAMED = "NotNamed"
    """The peer does not name this zone."""
    NOT_FOUND = "NotFound"


ZoneKey = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Consent:
    """Guests of `peer` may connect to those of the zone that says so, at `ports` (empty: at all of them)."""

    peer: NetworkZone
    ports: tuple[PortRule, ...]


def key(zone: NetworkZone) -> ZoneKey:
    """Namespace and name."""
    return zone.namespace, zone.name


def by_key(zones: Iterable[NetworkZone]) -> dict[ZoneKey, NetworkZone]:
    """Zones that others can agree with: those that are not about to go."""
    return {key(zone): zone for zone in zones if not zone.deleting}


def agreement(zone: NetworkZone, peer: Peer, zones: Mapping[ZoneKey, NetworkZone]) -> Agreement:
    """Of one entry. A zone that names itself agrees with itself."""
    other = zones.get((peer.namespace, peer.zone))
    if other is None:
        return Agreement.NOT_FOUND
    named = any((each.namespace, each.zone) == key(zone) for each in other.spec.peers)
    return Agreement.AGREED if named else Agreement.NOT_NAMED


def agreed(zone: NetworkZone, zones: Mapping[ZoneKey, NetworkZone]) -> list[NetworkZone]:
    """The zones that this one and they have agreed on, in the order of `spec.peers`; maybe itself."""
    return [
        zones[peer.namespace, peer.zone]
        for peer in zone.spec.peers
        if agreement(zone, peer, zones) is Agreement.AGREED
    ]


def consents(zone: NetworkZone, zones: Mapping[ZoneKey, NetworkZone]) -> list[Consent]:
    """Who may connect to this zone's guests, in the order of `spec.peers`."""
    return [
        Consent(zones[peer.namespace, peer.zone], tuple(peer.ports))
        for peer in zone.spec.peers
        if not peer.outbound_only and agreement(zone, peer, zones) is Agreement.AGREED
    ]


def encapsulation(zone: NetworkZone) -> EncapsulationType:
    """How the zone spans nodes. Unset: local."""
    wanted = zone.spec.encapsulation
    return wanted.type if wanted is not None else EncapsulationType.LOCAL


def spans_nodes(zone: NetworkZone) -> bool:
    """Whether the zone's guests reach, and are reached from, other nodes than their own."""
    return encapsulation(zone) != EncapsulationType.LOCAL
