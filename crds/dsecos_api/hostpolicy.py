"""HostPolicy: a node's own firewall and uplinks. Written by the operator for the agent."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import ApiModel, KindInfo, KubeObject, PrinterColumn, rule, schema
from dsecos_api.networkzone import PortRule
from dsecos_api.shared import CheckedCidr, Status
from dsecos_api.types import Port, Protocol

InterfaceAddress = Annotated[
    str,
    Field(
        max_length=49,
        json_schema_extra=schema(
            rule("isCIDR(self)", "must be an address with its prefix length, for example 10.0.0.5/24")
        ),
    ),
]
"""An IPv4 or IPv6 address of an interface and the length of its network's prefix."""

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


class Uplink(ApiModel):
    """An interface of the node itself. What is unset is left alone."""

    interface: str = Field(
        description="Name of an interface that is there already, for example eth0. None of DsecOS' own.",
        max_length=15,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        json_schema_extra=schema(rule("self != 'lo'", "lo is no uplink")),
    )
    mtu: int | None = Field(
        default=None, ge=1280, le=65535, description="Largest packet in bytes. Unset: left alone."
    )
    addresses: list[InterfaceAddress] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="All global addresses that it is to have, but for those that IPv6 routers announce."
        " Unset: left alone.",
        json_schema_extra=schema(list_set=True),
    )
    gateway: str | None = Field(
        default=None,
        max_length=15,
        description="Where the IPv4 default route goes. Unset: left alone.",
        json_schema_extra=schema(
            rule("isIP(self) && ip(self).family() == 4", "must be an IPv4 address, for example 10.0.0.1")
        ),
    )
    gateway6: str | None = Field(
        default=None,
        max_length=45,
        description="Where the IPv6 default route goes. Unset: left alone.",
        json_schema_extra=schema(
            rule("isIP(self) && ip(self).family() == 6", "must be an IPv6 address, for example fe80::1")
        ),
    )


Uplinks = Annotated[
    list[Uplink],
    Field(
        max_length=16,
        json_schema_extra=schema(
            rule("self.filter(each, has(each.gateway)).size() <= 1", "only one uplink has the gateway"),
            rule("self.filter(each, has(each.gateway6)).size() <= 1", "only one uplink has the gateway6"),
            list_map=("interface",),
        ),
    ),
]
"""The interfaces of one node."""


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
    uplinks: Uplinks = Field(
        default_factory=list, description="The node's own interfaces. Not named: DsecOS leaves them alone."
    )
    paused: bool | None = Field(
        default=None, description="True: the agent looks, reports and changes nothing."
    )


class HostPolicyStatus(Status):
    """What was seen."""

    enforced: HostFirewall | None = Field(
        default=None, description="The firewall that is in force. Unset: DsecOS has none on the node."
    )
    uplinks: Uplinks = Field(
        default_factory=list, description="The uplinks that were confirmed, and are kept so."
    )


class HostPolicy(KubeObject):
    """A node's own firewall and uplinks."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="hostpolicies",
        singular="hostpolicy",
        short_names=("hp",),
        namespaced=True,
        description="A node's own firewall and uplinks. Written by the operator; administrators edit"
        " spec.firewall and spec.uplinks of the Node.",
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
