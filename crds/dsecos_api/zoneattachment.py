"""ZoneAttachment: one zone's presence on one node. Written by the operator, converged by the node's agent."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from dsecos_api.base import IMMUTABLE, ApiModel, KindInfo, KubeObject, PrinterColumn, rule, schema
from dsecos_api.networkzone import Egress, Encapsulation, PortRule
from dsecos_api.shared import CheckedAddress, CheckedCidr, Status
from dsecos_api.types import DnsLabel, Mac, Uid


class ZoneRef(ApiModel):
    """The zone."""

    namespace: DnsLabel = Field(description="Namespace of the NetworkZone.")
    name: DnsLabel = Field(description="Name of the NetworkZone.")
    uid: Uid = Field(description="UID of the NetworkZone.")


class Ingress(ApiModel):
    """Networks whose guests may begin connections to guests of this zone. Both zones have agreed."""

    zone: DnsLabel = Field(description="Name of the other zone, or of this one.")
    namespace: DnsLabel = Field(description="Namespace of that zone.")
    cidrs: list[CheckedCidr] = Field(
        min_length=1, max_length=2, description="Its networks.", json_schema_extra=schema(list_set=True)
    )
    ports: list[PortRule] = Field(
        default_factory=list,
        max_length=32,
        description="Ports. Empty: all of them, and every protocol.",
        json_schema_extra=schema(list_map=("port", "protocol")),
    )


class Remote(ApiModel):
    """Another node of the zone, and the zone's guests there."""

    node: DnsLabel = Field(description="Node.")
    address: str = Field(max_length=45, description="Where it takes the zone's traffic: its tunnel address.")
    mac: Mac = Field(description="Link-layer address of its end of the zone's transit link.")
    guests: list[Annotated[str, Field(max_length=45)]] = Field(
        default_factory=list,
        max_length=8192,
        description="Addresses of the zone's guests there, of IPv4 and IPv6.",
        json_schema_extra=schema(list_set=True),
    )


class Transit(ApiModel):
    """The link that carries the zone between nodes; it is no port of the bridge."""

    id: int = Field(ge=1, le=16777215, description="VXLAN network identifier or 802.1Q id.")
    address: CheckedAddress = Field(description="This node's tunnel address.")
    mac: Mac = Field(description="Link-layer address of this node's end; each node has another one.")
    remotes: list[Remote] = Field(
        default_factory=list,
        max_length=1024,
        description="The other nodes of the zone.",
        json_schema_extra=schema(list_map=("node",)),
    )


class Name(ApiModel):
    """A Stack that guests of the zone can find: by name, `<stack>.<namespace>.dsecos.internal`, and each of
    its services, `<service>.<stack>.<namespace>.dsecos.internal`.
    """

    namespace: DnsLabel = Field(description="Namespace of the Stack.")
    stack: DnsLabel = Field(description="Name of the Stack.")
    addresses: list[Annotated[str, Field(max_length=45)]] = Field(
        min_length=1,
        max_length=2,
        description="Its guest's addresses: IPv4, IPv6, or both.",
        json_schema_extra=schema(list_set=True),
    )
    services: list[DnsLabel] = Field(
        default_factory=list,
        max_length=128,
        description="Its services, those whose names are DNS labels.",
        json_schema_extra=schema(list_set=True),
    )


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
    gateway6: CheckedAddress | None = Field(
        default=None, description="IPv6 address of the node in the zone, where that has an IPv6 network."
    )
    mac: Mac | None = Field(
        default=None,
        description="Link-layer address of the gateway, the same on every node. Unset: made from the"
        " bridge's name.",
    )
    encapsulation: Encapsulation = Field(description="How the zone spans nodes.")
    mtu: int = Field(ge=576, le=65535, description="Largest packet in bytes.")
    egress: Egress = Field(description="What guests may reach outside.")
    ingress: list[Ingress] = Field(
        default_factory=list,
        max_length=65,
        description="Zones whose guests may connect, as both sides have agreed.",
        json_schema_extra=schema(list_map=("namespace", "zone")),
    )
    transit: Transit | None = Field(
        default=None, description="The zone's way to other nodes. Unset: it has none."
    )
    names: list[Name] = Field(
        default_factory=list,
        max_length=4096,
        description="Stacks that guests of the zone may find by name: the zone's own, and those of zones that"
        " they may connect to.",
        json_schema_extra=schema(list_map=("namespace", "stack")),
    )
    paused: bool | None = Field(
        default=None, description="True: the agent looks, reports and changes nothing."
    )


class ZoneAttachmentStatus(Status):
    """What was seen."""

    bridge: str | None = Field(default=None, description="Bridge on the node.")
    transit: str | None = Field(default=None, description="Link to the zone's other nodes.")


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
