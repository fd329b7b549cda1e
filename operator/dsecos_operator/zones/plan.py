"""What brings a zone from what is to what is wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import Metadata, NetworkZone, ZoneAttachment
from dsecos_api.names import (
    LABEL_MANAGED_BY,
    LABEL_ZONE,
    LABEL_ZONE_NAMESPACE,
    OPERATOR_FINALIZER,
    attachment_name,
    node_namespace,
)
from dsecos_api.networkzone import Egress, EgressMode, Encapsulation, EncapsulationType
from dsecos_api.zoneattachment import ZoneAttachmentSpec, ZoneRef

from dsecos_operator.zones.observe import Observed

MTU = 1500
"""Bytes: a local zone has no encapsulation that takes some of it."""


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


def plan(observed: Observed, gateway: str | None) -> list[Action]:
    """`gateway` None: the zone cannot be had, so what is there stays as it is and nothing new comes."""
    zone = observed.zone
    if zone is None:
        # Only a finalizer that was taken away by hand leads here: the nodes are cleaned all the same.
        return [DeleteAttachment(each) for each in observed.attachments if not each.deleting]
    needed = set(observed.nodes)
    unneeded: list[Action] = [
        DeleteAttachment(each)
        for each in observed.attachments
        if not each.deleting
        and (
            each.metadata.namespace not in {node_namespace(node) for node in needed}
            or each.spec.zone_ref.uid != zone.uid
        )
    ]
    if zone.deleting:
        if OPERATOR_FINALIZER not in zone.metadata.finalizers:
            return unneeded
        in_use = observed.stacks or observed.guests or observed.attachments
        return unneeded if in_use else [RemoveFinalizer()]
    if gateway is None:
        return unneeded
    actions: list[Action] = []
    if OPERATOR_FINALIZER not in zone.metadata.finalizers and needed:
        actions.append(AddFinalizer())
    there = {each.namespace: each for each in observed.attachments}
    for node in sorted(needed):
        wanted = attachment(zone, node, gateway)
        present = there.get(wanted.namespace)
        if present is None or (not present.deleting and not _same(present, wanted)):
            actions.append(ApplyAttachment(wanted))
    return [*actions, *unneeded]


def attachment(zone: NetworkZone, node: str, gateway: str) -> ZoneAttachment:
    """The zone's presence on a node."""
    cidr = zone.spec.cidrs[0]
    return ZoneAttachment(
        metadata=Metadata(
            name=attachment_name(zone.namespace, zone.name),
            namespace=node_namespace(node),
            labels={
                LABEL_ZONE: zone.name,
                LABEL_ZONE_NAMESPACE: zone.namespace,
                LABEL_MANAGED_BY: "dsecos-operator",
            },
        ),
        kind="ZoneAttachment",
        spec=ZoneAttachmentSpec(
            zone_ref=ZoneRef(namespace=zone.namespace, name=zone.name, uid=zone.uid),
            cidrs=zone.spec.cidrs,
            gateway=gateway,
            prefix_length=int(cidr.rpartition("/")[2]),
            encapsulation=zone.spec.encapsulation or Encapsulation(type=EncapsulationType.LOCAL),
            mtu=MTU,
            egress=zone.spec.egress or Egress(mode=EgressMode.DENY),
            paused=zone.spec.paused or None,
        ),
    )


def _same(present: ZoneAttachment, wanted: ZoneAttachment) -> bool:
    return present.spec == wanted.spec and wanted.metadata.labels.items() <= present.metadata.labels.items()
