"""Guest: one container or VM on one node, fully resolved.

Written by the operator, converged by the node's agent.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import IMMUTABLE, ApiModel, KindInfo, KubeObject, PrinterColumn, rule, schema
from dsecos_api.lifecycle import Lifecycle
from dsecos_api.shared import CheckedAddress, Expose, Resources, Startup, Status, Volume
from dsecos_api.stack import ServiceStatus
from dsecos_api.types import (
    DeletionPolicy,
    DnsLabel,
    DriftPolicy,
    EngineId,
    GuestType,
    Mac,
    RunPolicy,
    Time,
    Uid,
)

MAX_DOCUMENT = 1_048_576
"""Largest normalised compose document in characters; etcd takes objects of 1.5 MiB."""

MAX_ID = 4_294_967_294
"""Largest user or group id; the one above it means "none" (chown(2))."""


class StackRef(ApiModel):
    """The Stack that the guest belongs to."""

    namespace: DnsLabel = Field(description="Namespace of the Stack.")
    name: DnsLabel = Field(description="Name of the Stack.")
    uid: Uid = Field(description="UID of the Stack; the container outside carries it as its owner.")


class GuestNetwork(ApiModel):
    """The guest's place in its zone."""

    attachment: DnsLabel = Field(description="Name of the ZoneAttachment in the same namespace.")
    address: CheckedAddress = Field(description="Address of the guest.")
    prefix_length: int = Field(ge=1, le=128, description="Length of the zone's network prefix in bits.")
    gateway: CheckedAddress = Field(description="Default route.")
    mac: Mac = Field(description="Link-layer address.")
    address6: CheckedAddress | None = Field(
        default=None, description="IPv6 address of the guest, where its zone has an IPv6 network."
    )
    gateway6: CheckedAddress | None = Field(default=None, description="IPv6 default route.")
    ports: list[Expose] = Field(
        default_factory=list,
        max_length=32,
        description="Ports that may be reached from outside of the zone.",
        json_schema_extra=schema(list_map=("port", "protocol")),
    )


class IdMap(ApiModel):
    """The guest's own range of user and group ids (user_namespaces(7))."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(f"self.base + self.count <= {MAX_ID + 1}", f"the range ends above the largest id, {MAX_ID}")
        )
    )

    base: int = Field(ge=65536, le=MAX_ID - 65535, description="Host id of the guest's root.")
    count: int = Field(ge=65536, description="Number of ids.")


class GuestCompose(ApiModel):
    """What Docker Compose runs inside the guest."""

    document: str = Field(
        max_length=MAX_DOCUMENT,
        description="Normalised compose document. It holds no secret: those are named as ${name}.",
    )
    digest: str = Field(
        max_length=128,
        description="SHA-256 over the document and the secrets; a change brings the services up anew.",
    )
    secret_name: DnsLabel | None = Field(
        default=None, description="Secret in the same namespace whose keys the document names."
    )


class Migration(ApiModel):
    """The order to move the guest to another node of the same engine's cluster."""

    node: DnsLabel = Field(description="Node to move to.")
    engine_node: DnsLabel = Field(description="Name of that node in the engine's cluster.")


class GuestSpec(ApiModel):
    """What the agent makes so."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "has(self.adopt)"
                " ? !(has(self.image) || has(self.idMap) || has(self.network) || has(self.compose))"
                " : has(self.image) && has(self.idMap) && has(self.network) && has(self.compose)",
                "name image, idMap, network and compose, or adopt alone",
            ),
            rule(
                "has(self.adopt) == has(oldSelf.adopt) && (!has(self.adopt) || self.adopt == oldSelf.adopt)",
                "adopt cannot change",
                field_path=".adopt",
            ),
        )
    )

    stack_ref: StackRef = Field(
        description="The Stack that the guest belongs to.",
        json_schema_extra=schema(rule(IMMUTABLE, "stackRef cannot change")),
    )
    type: GuestType = Field(description="container or vm.")
    hostname: DnsLabel = Field(description="Host name in the guest.")
    epoch: int = Field(ge=1, description="Assignment epoch; raised whenever the Stack is placed.")
    adopt: EngineId | None = Field(
        default=None,
        description="Id in the engine of a guest that is there and is taken over as it is.",
    )
    image: DnsLabel | None = Field(default=None, description="Guest template to clone.")
    pool: DnsLabel | None = Field(
        default=None, description="Storage pool of the guest. Unset: the node's first pool."
    )
    resources: Resources = Field(description="What the guest may use at most.")
    id_map: IdMap | None = Field(default=None, description="The guest's own range of user and group ids.")
    network: GuestNetwork | None = Field(default=None, description="The guest's place in its zone.")
    volumes: list[Volume] = Field(
        default_factory=list,
        max_length=32,
        description="Directories that outlive the guest.",
        json_schema_extra=schema(list_map=("name",)),
    )
    compose: GuestCompose | None = Field(
        default=None, description="What Docker Compose runs inside the guest."
    )
    run_policy: RunPolicy = Field(description="Running, Suspended or Stopped.")
    maintenance: bool | None = Field(
        default=None,
        description="True: runPolicy is Stopped because the node is in maintenance; the user did not ask.",
    )
    restart: str | None = Field(
        default=None,
        max_length=253,
        description="Any text; a running guest is restarted once for each new one.",
    )
    startup: Startup | None = Field(default=None, description="When the guest is started after its node was.")
    drift_policy: DriftPolicy | None = Field(
        default=None,
        description="Repair or Report: what is done when the guest was changed past DsecOS. Unset: Repair.",
    )
    migrate: Migration | None = Field(default=None, description="Where to move the guest to.")
    deletion_policy: DeletionPolicy = Field(
        description="What becomes of the guest when this object is deleted."
    )
    paused: bool | None = Field(
        default=None, description="True: the agent looks, reports and changes nothing."
    )


class GuestStatus(Status):
    """What was seen."""

    epoch: int | None = Field(default=None, ge=0, description="Assignment epoch that the agent acts on.")
    image: str | None = Field(
        default=None, description="Digest of the guest template that the guest was cloned from."
    )
    compose_digest: str | None = Field(
        default=None, description="Digest of the compose document that was last brought up."
    )
    started_at: Time | None = Field(default=None, description="When the guest was last started.")
    lifecycle: Lifecycle | None = Field(
        default=None, description="Where the guest is in its life, and how it came there."
    )
    engine_id: str | None = Field(
        default=None, max_length=63, description="Id in the engine: a VMID, or the container's name."
    )
    engine_node: str | None = Field(
        default=None, max_length=63, description="Node of the engine's cluster that the guest is on now."
    )
    restart: str | None = Field(
        default=None, max_length=253, description="The restart request that was last carried out."
    )
    drift: list[str] = Field(
        default_factory=list,
        max_length=64,
        description="What was changed past DsecOS: names of the engine's settings.",
        json_schema_extra=schema(list_set=True),
    )
    services: list[ServiceStatus] = Field(
        default_factory=list,
        max_length=128,
        description="The services and their health.",
        json_schema_extra=schema(list_map=("name",)),
    )


class Guest(KubeObject):
    """One container or VM on one node, fully resolved."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="guests",
        singular="guest",
        short_names=("gu",),
        namespaced=True,
        description="One container or VM on one node, fully resolved. Written by the operator; users edit the"
        " Stack.",
        columns=(
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("State", ".status.lifecycle.state"),
            PrinterColumn("Stack", ".spec.stackRef.name"),
            PrinterColumn("Tenant", ".spec.stackRef.namespace"),
            PrinterColumn("Address", ".spec.network.address"),
            PrinterColumn("Started", ".status.startedAt", "date"),
            PrinterColumn("Id", ".status.engineId", priority=1),
            PrinterColumn("Cause", ".status.lifecycle.cause", priority=1),
            PrinterColumn("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".spec.stackRef.namespace", ".spec.stackRef.name"),
    )

    kind: str = "Guest"
    spec: GuestSpec
    status: GuestStatus = Field(default_factory=GuestStatus)
