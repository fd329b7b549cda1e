"""What brings a zone from what is to what is wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import NetworkZone, ZoneAttachment
from dsecos_api.names import OPERATOR_FINALIZER, node_namespace
from dsecos_api.peering import spans_nodes

from dsecos_operator.zones.attachments import attachment, ends, same, transit
from dsecos_operator.zones.naming import Directory
from dsecos_operator.zones.network import Verdict, unfit
from dsecos_operator.zones.observe import Observed
from dsecos_operator.zones.peers import ingress
from dsecos_operator.zones.presence import whereabouts


@dataclass(frozen=True)
class AddFinalizer:
    """The zone may not vanish while nodes have it."""

    name = "zone-finalizer-add"


@dataclass(frozen=True)
class ApplyAttachment:
    """A node gets the zone, or gets its changes."""

    attachment: ZoneAttachment
    name = "attachment-apply"


@dataclass(frozen=True)
class DeleteAttachment:
    """A node does not need the zone any more."""

    attachment: ZoneAttachment
    name = "attachment-delete"


@dataclass(frozen=True)
class RemoveFinalizer:
    """Nothing of the zone is left."""

    name = "zone-finalizer-remove"


Action = AddFinalizer | ApplyAttachment | DeleteAttachment | RemoveFinalizer


def plan(observed: Observed, verdict: Verdict) -> list[Action]:
    """A zone that cannot be had stays where it is as it is, and nothing new comes."""
    zone = observed.zone
    if zone is None:
        # Only a finalizer that was taken away by hand leads here: the nodes are cleaned all the same.
        return [DeleteAttachment(each) for each in observed.attachments if not each.deleting]
    needed = {node_namespace(each) for each in observed.needed}
    unneeded: list[Action] = [
        DeleteAttachment(each)
        for each in observed.attachments
        if not each.deleting and (each.namespace not in needed or each.spec.zone_ref.uid != zone.uid)
    ]
    kept = OPERATOR_FINALIZER in zone.metadata.finalizers
    if zone.deleting:
        in_use = observed.stacks or observed.guests or observed.attachments
        if not kept or not in_use:
            return [RemoveFinalizer()] if kept else unneeded
    actions: list[Action] = []
    wanted = attachments(observed, verdict)
    if wanted and not kept:
        actions.append(AddFinalizer())
    there = {each.namespace: each for each in observed.attachments}
    for each in wanted:
        present = there.get(each.namespace)
        if present is None or (not present.deleting and not same(present, each)):
            actions.append(ApplyAttachment(each))
    return [*actions, *unneeded]


def attachments(observed: Observed, verdict: Verdict) -> list[ZoneAttachment]:
    """The zone on each node that should have it and can, sorted by node.

    A node that has it and cannot have it any more is told what changes all the same.
    """
    zone, networks, mtu = observed.zone, verdict.networks, verdict.mtu
    if zone is None or networks is None or mtu is None:
        return []
    there, unable = observed.there, unfit(observed)
    nodes = [each for each in observed.needed if each in there or each not in unable]
    if not spans_nodes(zone):
        agreed, known = ingress(zone, observed.zones), Directory(zone, observed.reached)
        return [attachment(zone, each, networks, mtu, ingress=agreed, names=known.on(each)) for each in nodes]
    return _spanning(zone, observed, verdict, nodes)


def _spanning(
    zone: NetworkZone, observed: Observed, verdict: Verdict, nodes: list[str]
) -> list[ZoneAttachment]:
    networks, mtu, number = verdict.networks, verdict.mtu, observed.number
    if networks is None or mtu is None or number is None:
        return []
    reach = ends(observed.nodes, observed.there, nodes)
    guests = whereabouts(observed.reached[0].places)
    agreed, known = ingress(zone, observed.zones), Directory(zone, observed.reached)
    return [
        attachment(
            zone,
            each,
            networks,
            mtu,
            ingress=agreed,
            transit=transit(zone, number, each, reach, guests),
            names=known.on(each),
        )
        for each in reach
    ]
