"""HostPolicy: what a node's own firewall lets in and out. Written by the operator for the agent."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import ApiModel, KindInfo, KubeObject, PrinterColumn, rule, schema
from dsecos_api.networkzone import PortRule
from dsecos_api.shared import CheckedCidr, Status
from dsecos_api.types import Port, Protocol

HOST_POLICY_NAME = "host"
"""The one HostPolicy of a node's namespace."""


class HostAllow(ApiModel):
    """Ports of the node itself that may be reached from beyond the management networks."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule("!has(self.endPort) || self.port <= self.endPort", "port is above endPort")
        )
    )

    port: Port = Field(description="The port, or the first of a range.")
    end_port: Port | None = Field(default=None, description="The range's last port. Unset: port alone.")
    protocol: Protocol = Field(default=Protocol.TCP, description="Transport protocol.")
    from_: list[CheckedCidr] = Field(
        default_factory=list,
        alias="from",
        max_length=32,
        description="Networks that may connect. Empty: everybody may.",
        json_schema_extra=schema(list_set=True),
    )


class HostEgress(ApiModel):
    """A network that the node itself may begin connections to."""

    cidr: CheckedCidr = Field(description="Network, for example 10.0.0.0/24.")
    ports: list[PortRule] = Field(
        default_factory=list,
        max_length=32,
        description="Ports. Empty: all of them, and every protocol.",
        json_schema_extra=schema(list_map=("port", "protocol")),
    )


class HostFirewall(ApiModel):
    """What the node itself takes and begins. What is not named here, and DsecOS does not need, is dropped.

    It says nothing about guests: their zones do.
    """

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "has(self.managementNetworks) && self.managementNetworks.size() > 0 ||"
                " has(self.allow) && self.allow.size() > 0",
                "nobody could log in: name managementNetworks",
            )
        )
    )

    management_networks: list[CheckedCidr] = Field(
        default_factory=list,
        max_length=64,
        description="Networks that may reach everything on the node itself: SSH, the API server.",
        json_schema_extra=schema(list_set=True),
    )
    allow: list[HostAllow] = Field(
        default_factory=list,
        max_length=64,
        description="Ports that others may reach too.",
        json_schema_extra=schema(list_map=("port", "protocol")),
    )
    egress: list[HostEgress] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="What the node itself may begin connections to. Unset: everything.",
        json_schema_extra=schema(list_map=("cidr",)),
    )


class HostPolicySpec(ApiModel):
    """What the agent makes so."""

    nodes: list[Annotated[str, Field(max_length=45)]] = Field(
        default_factory=list,
        max_length=4096,
        description="Addresses of all nodes of the cluster: no guest reaches them, and their tunnels are let"
        " in.",
        json_schema_extra=schema(list_set=True),
    )
    zones: list[Annotated[str, Field(max_length=49)]] = Field(
        default_factory=list,
        max_length=8192,
        description="Networks of all zones of the cluster: no guest reaches another zone's by way of the"
        " world outside.",
        json_schema_extra=schema(list_set=True),
    )
    firewall: HostFirewall | None = Field(
        default=None, description="The node's own firewall. Unset: DsecOS has none on it."
    )
    paused: bool | None = Field(
        default=None, description="True: the agent looks, reports and changes nothing."
    )


class HostPolicyStatus(Status):
    """What was seen."""

    enforced: HostFirewall | None = Field(
        default=None, description="The firewall that is in force. Unset: DsecOS has none on the node."
    )


class HostPolicy(KubeObject):
    """What a node's own firewall lets in and out."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="hostpolicies",
        singular="hostpolicy",
        short_names=("hp",),
        namespaced=True,
        description="What a node's own firewall lets in and out. Written by the operator; administrators edit"
        " spec.firewall of the Node.",
        columns=(
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )

    kind: str = "HostPolicy"
    spec: HostPolicySpec
    status: HostPolicyStatus = Field(default_factory=HostPolicyStatus)
