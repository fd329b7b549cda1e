"""NetworkZone: a tenant's network. Written by users.

Nothing passes unless it is said here or a Stack exposes a port.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import IMMUTABLE, ApiModel, KindInfo, KubeObject, PrinterColumn, label_name, rule, schema
from dsecos_api.shared import CheckedCidr, Status
from dsecos_api.types import DnsLabel, Port, Protocol


class EncapsulationType(StrEnum):
    """How a zone spans nodes."""

    LOCAL = "local"
    VXLAN = "vxlan"
    VLAN = "vlan"


class Encapsulation(ApiModel):
    """How the zone spans nodes. Whichever it is, the zone is routed between them."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule("self.type != 'local' || !has(self.id)", "a local zone has no id"),
            rule(
                "self.type != 'vlan' || !has(self.id) || self.id <= 4094",
                "an 802.1Q id lies between 1 and 4094",
            ),
        )
    )

    type: EncapsulationType = Field(
        description="local: its guests reach those on the same node. vxlan: those on every node, by UDP."
        " vlan: those on every node, by 802.1Q on the link that has the node's tunnel address; the switch has"
        " to carry the id between the nodes, and to nobody else."
    )
    id: int | None = Field(
        default=None,
        ge=1,
        le=16777215,
        description="VXLAN network identifier or 802.1Q id; each of them is a space of its own; an 802.1Q"
        " id is one of the operator's DSECOS_VLAN_IDS. Unset: allocated.",
    )


class EgressMode(StrEnum):
    """What the zone's guests may reach outside of it."""

    DENY = "Deny"
    NAT = "NAT"
    ALLOW = "Allow"


class PortRule(ApiModel):
    """A port and its protocol."""

    port: Port = Field(description="Port.")
    protocol: Protocol = Field(default=Protocol.TCP, description="Transport protocol.")


class EgressRule(ApiModel):
    """A network that guests may reach."""

    cidr: CheckedCidr = Field(description="Network, for example 0.0.0.0/0.")
    ports: list[PortRule] = Field(
        default_factory=list,
        max_length=32,
        description="Ports. Empty: all of them.",
        json_schema_extra=schema(list_map=("port", "protocol")),
    )


class Egress(ApiModel):
    """What the zone's guests may reach outside of it."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "self.mode != 'Deny' || !has(self.to) || self.to.size() == 0",
                "with mode Deny nothing can be listed in `to`",
            )
        )
    )

    mode: EgressMode = Field(
        description="Deny: nothing. NAT: with the node's address. Allow: with the guest's own address."
    )
    to: list[EgressRule] = Field(
        default_factory=list,
        max_length=64,
        description="Where to. Empty: everywhere but other zones and the node itself.",
        json_schema_extra=schema(list_map=("cidr",)),
    )


class Peer(ApiModel):
    """A zone whose guests may connect to guests of this one. Both sides must name each other.

    A zone that names itself lets its own guests reach each other.
    """

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "!has(self.outboundOnly) || !self.outboundOnly || !has(self.ports) || self.ports.size() == 0",
                "with outboundOnly nothing may connect from there: remove the ports",
            )
        )
    )

    namespace: DnsLabel = Field(description="Namespace of the other zone.")
    zone: DnsLabel = Field(description="Name of the other zone.")
    ports: list[PortRule] = Field(
        default_factory=list,
        max_length=32,
        description="Ports that its guests may reach here. Empty: all of them, and every protocol.",
        json_schema_extra=schema(list_map=("port", "protocol")),
    )
    outbound_only: bool | None = Field(
        default=None,
        description="True: its guests reach nothing here; the agreement is for this zone's guests to connect"
        " there.",
    )


class ZonePolicy(ApiModel):
    """What compose documents of the zone's Stacks may ask for. Unset means no."""

    privileged_guests: bool | None = Field(
        default=None,
        description="Whether services may ask for privileged, added capabilities or host namespaces.",
    )
    host_mounts: bool | None = Field(
        default=None,
        description="Whether services may mount directories of their guest, its Docker socket included.",
    )
    devices: bool | None = Field(default=None, description="Whether services may ask for devices.")


ZONE_CIDRS_RULES = (
    rule(
        "self.filter(x, isCIDR(x) && cidr(x).ip().family() == 4).size() <= 1 &&"
        " self.filter(x, isCIDR(x) && cidr(x).ip().family() == 6).size() <= 1",
        "name at most one IPv4 and one IPv6 network",
    ),
    rule(
        "self.all(x, !isCIDR(x) || cidr(x).prefixLength() <= (cidr(x).ip().family() == 4 ? 30 : 126))",
        "a zone needs room for its gateway and a guest: a prefix of at most /30 (IPv4) or /126 (IPv6)",
    ),
)


class NetworkZoneSpec(ApiModel):
    """The network and what may pass."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "has(self.encapsulation) && has(oldSelf.encapsulation)"
                " ? self.encapsulation == oldSelf.encapsulation"
                " : (!has(self.encapsulation) || self.encapsulation.type == 'local') &&"
                " (!has(oldSelf.encapsulation) || oldSelf.encapsulation.type == 'local')",
                "encapsulation cannot change; create another NetworkZone",
                field_path=".encapsulation",
            )
        )
    )

    cidrs: list[CheckedCidr] = Field(
        min_length=1,
        max_length=2,
        description="Networks of the zone: one of IPv4, one of IPv6, or one of each; they cannot change.",
        json_schema_extra=schema(
            rule(IMMUTABLE, "cidrs cannot change; create another NetworkZone"),
            *ZONE_CIDRS_RULES,
            list_set=True,
            effect="refused: cidrs are fixed",
        ),
    )
    encapsulation: Encapsulation | None = Field(
        default=None,
        description="How the zone spans nodes; it cannot change. Unset: local.",
        json_schema_extra=schema(effect="refused: encapsulation is fixed"),
    )
    egress: Egress | None = Field(
        default=None,
        description="What guests may reach outside. Unset: nothing.",
        json_schema_extra=schema(effect="live: firewall rules change, nothing restarts"),
    )
    peers: list[Peer] = Field(
        default_factory=list,
        max_length=64,
        description="Zones whose guests may connect, if they name this zone too.",
        json_schema_extra=schema(
            list_map=("namespace", "zone"), effect="live: firewall rules change, nothing restarts"
        ),
    )
    policy: ZonePolicy | None = Field(
        default=None,
        description="What compose documents may ask for. Unset: nothing special.",
        json_schema_extra=schema(effect="each Stack of the zone is judged anew; what runs keeps running"),
    )
    paused: bool | None = Field(
        default=None, description="True: controllers look, report and change nothing."
    )


class ZoneNodeStatus(ApiModel):
    """The zone on one node."""

    name: str = Field(description="Node.")
    ready: bool = Field(default=False, description="Whether the zone is in force there.")


class AddressCount(ApiModel):
    """How many addresses the zone has for guests."""

    allocated: int = Field(ge=0, description="In use.")
    available: int = Field(ge=0, description="Left.")


class NetworkZoneStatus(Status):
    """What was seen."""

    id: int | None = Field(default=None, description="VXLAN network identifier or 802.1Q id in force.")
    gateway: str | None = Field(default=None, description="Address of the gateway on every node.")
    gateway6: str | None = Field(default=None, description="IPv6 address of the gateway on every node.")
    mtu: int | None = Field(default=None, description="Largest packet in bytes, without the encapsulation.")
    nodes: list[ZoneNodeStatus] = Field(
        default_factory=list,
        max_length=1024,
        description="Nodes that the zone is on.",
        json_schema_extra=schema(list_map=("name",)),
    )
    addresses: AddressCount | None = Field(default=None, description="Addresses for guests.")


class NetworkZone(KubeObject):
    """A tenant's network. Nothing passes unless it is said here or a Stack exposes a port."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="networkzones",
        singular="networkzone",
        short_names=("nz", "zone"),
        namespaced=True,
        description="A tenant's network. Nothing passes unless it is said here or a Stack exposes a port.",
        columns=(
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("CIDR", ".spec.cidrs[0]"),
            PrinterColumn("Gateway", ".status.gateway"),
            PrinterColumn("Egress", ".spec.egress.mode"),
            PrinterColumn("Encapsulation", ".spec.encapsulation.type", priority=1),
            PrinterColumn("ID", ".status.id", "integer", priority=1),
            PrinterColumn("MTU", ".status.mtu", "integer", priority=1),
            PrinterColumn("Peers", '.status.conditions[?(@.type=="PeersAgreed")].status', priority=1),
            PrinterColumn("Guests", ".status.addresses.allocated", "integer"),
            PrinterColumn("Free", ".status.addresses.available", "integer", priority=1),
            PrinterColumn("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        name_rules=(label_name("NetworkZone"),),
    )

    kind: str = "NetworkZone"
    spec: NetworkZoneSpec
    status: NetworkZoneStatus = Field(default_factory=NetworkZoneStatus)
