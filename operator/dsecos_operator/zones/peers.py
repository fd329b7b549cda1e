"""What zones have agreed on, as nodes are told and as users read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsecos_api import NetworkZone, Type
from dsecos_api.networkzone import Peer
from dsecos_api.peering import Agreement, ZoneKey, agreed, agreement, consents, key, spans_nodes
from dsecos_api.zoneattachment import Ingress
from dsecos_runtime import is_true

from dsecos_operator.zones.check import usable


@dataclass(frozen=True, slots=True)
class Agreements:
    """What `spec.peers` of a zone comes to."""

    open: tuple[str, ...] = ()
    """Each peer that nothing passes to, and why."""
    notes: tuple[str, ...] = ()
    """What has to be known of those that are agreed."""


def ingress(zone: NetworkZone, zones: Mapping[ZoneKey, NetworkZone]) -> list[Ingress]:
    """Whose guests may connect: peers that consent, and can be had."""
    found = [
        Ingress(
            zone=each.peer.name,
            namespace=each.peer.namespace,
            cidrs=each.peer.spec.cidrs,
            ports=sorted(each.ports, key=lambda rule: (rule.port, rule.protocol)),
        )
        for each in consents(zone, zones)
        if each.peer.uid == zone.uid or usable(each.peer)
    ]
    return sorted(found, key=lambda each: (each.namespace, each.zone))


def open_to(zone: NetworkZone, zones: Mapping[ZoneKey, NetworkZone]) -> list[NetworkZone]:
    """Other zones whose guests those of this one may connect to: peers that let them, and can be had."""
    if zone.deleting:
        return []
    return [
        each
        for each in agreed(zone, zones)
        if each.uid != zone.uid
        and usable(each)
        and any(consent.peer.uid == zone.uid for consent in consents(each, zones))
    ]


def across(zone: NetworkZone, zones: Mapping[ZoneKey, NetworkZone]) -> list[NetworkZone]:
    """Other zones that packets pass to or from between nodes: where they are, this zone has to be too."""
    if not spans_nodes(zone) or zone.deleting:
        return []
    others = [each for each in agreed(zone, zones) if each.uid != zone.uid]
    return [each for each in others if spans_nodes(each) and usable(each)]


def agreements(zone: NetworkZone, zones: Mapping[ZoneKey, NetworkZone]) -> Agreements:
    """What there is to tell of the peers."""
    missing, notes = [], []
    for peer in zone.spec.peers:
        why = _why(zone, peer, zones)
        if why:
            missing.append(f"{peer.namespace}/{peer.zone} {why}")
            continue
        other = zones[peer.namespace, peer.zone]
        local = [key(each) for each in (zone, other) if not spans_nodes(each)]
        if local and other.uid != zone.uid:
            which = " and ".join(sorted({"/".join(each) for each in local}))
            verb = "are" if len(set(local)) > 1 else "is"
            notes.append(
                f"guests reach those of {peer.namespace}/{peer.zone} on the same node only, as {which} {verb}"
                " local"
            )
    return Agreements(tuple(missing), tuple(notes))


def _why(zone: NetworkZone, peer: Peer, zones: Mapping[ZoneKey, NetworkZone]) -> str:
    """Why nothing passes between the zone and this peer; empty if it is agreed."""
    match agreement(zone, peer, zones):
        case Agreement.NOT_FOUND:
            return "does not exist, or is being deleted"
        case Agreement.NOT_NAMED:
            return "does not name this zone in its spec.peers"
    other = zones[peer.namespace, peer.zone]
    if other.uid == zone.uid or usable(other):
        return ""
    reason = next((each.reason for each in other.status.conditions if each.type == Type.STALLED), "")
    stalled = is_true(other.status, Type.STALLED)
    return f"cannot be had ({reason})" if stalled else "has not been judged yet"
