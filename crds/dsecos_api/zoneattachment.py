"""ZoneAttachment: one zone's presence on one node. Written by the operator, converged by the node's agent."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dsecos_api.base import IMMUTABLE, ApiModel, KindInfo, KubeObject, PrinterColumn, rule, schema
from dsecos_api.networkzone import Egress, Encapsulation
from dsecos_api.shared import CheckedAddress, CheckedCidr, Status
from dsecos_api.types import DnsLabel, Uid


class ZoneRef(ApiModel):
    """The zone."""

    namespace: DnsLabel = Field(description="Namespace of the NetworkZone.")
    name: DnsLabel = Field(description="Name of the NetworkZone.")
    uid: Uid = Field(description="UID of the NetworkZone.")


class ZoneAttachmentSpec(ApiModel):
    """What the agent makes so."""

    zone_ref: ZoneRef = Field(
        description="The zone.", json_schema_extra=schema(rule(IMMUTABLE, "zoneRef cannot change"))
    )
    cidrs: list[CheckedCidr] = Field(
        min_length=1,
        max_length=2,
        description="Networks of the zone.",
        json_schema_extra=schema(list_set=True),
    )
    gateway: CheckedAddress = Field(description="Address of the node in the zone.")
    prefix_length: int = Field(ge=1, le=128, description="Length of the network prefix in bits.")
    encapsulation: Encapsulation = Field(description="How the zone spans nodes.")
    mtu: int = Field(ge=576, le=65535, description="Largest packet in bytes.")
    egress: Egress = Field(description="What guests may reach outside.")
    paused: bool | None = Field(
        default=None, description="True: the agent looks, reports and changes nothing."
    )


class ZoneAttachmentStatus(Status):
    """What was seen."""

    bridge: str | None = Field(default=None, description="Bridge on the node.")


class ZoneAttachment(KubeObject):
    """One zone's presence on one node."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="zoneattachments",
        singular="zoneattachment",
        short_names=("za",),
        namespaced=True,
        description="One zone's presence on one node. Written by the operator; users edit the NetworkZone.",
        columns=(
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Zone", ".spec.zoneRef.name"),
            PrinterColumn("Tenant", ".spec.zoneRef.namespace"),
            PrinterColumn("CIDR", ".spec.cidrs[0]"),
            PrinterColumn("Bridge", ".status.bridge"),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".spec.zoneRef.namespace", ".spec.zoneRef.name"),
    )

    kind: str = "ZoneAttachment"
    spec: ZoneAttachmentSpec
    status: ZoneAttachmentStatus = Field(default_factory=ZoneAttachmentStatus)
