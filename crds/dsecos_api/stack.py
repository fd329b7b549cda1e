"""Stack: an application. Written by users."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import IMMUTABLE, ApiModel, KindInfo, KubeObject, PrinterColumn, label_name, rule, schema
from dsecos_api.lifecycle import LifecycleState
from dsecos_api.shared import CheckedAddress, Expose, Resources, SecretValue, Startup, Status, Volume
from dsecos_api.types import (
    DataKey,
    DeletionPolicy,
    DnsLabel,
    DriftPolicy,
    EngineId,
    GuestType,
    ObjectName,
    RunPolicy,
    Time,
)

MAX_INLINE_COMPOSE = 262_144
"""Largest inline compose document in characters; a ConfigMap's may be as large, not larger."""


class TemplateSource(ApiModel):
    """An entry of the catalog with values for its variables."""

    name: DnsLabel = Field(description="Name of the catalog entry, for example node-postgres.")
    values: dict[str, Any] = Field(
        default_factory=dict,
        description="Values for the template's variables, checked against its values.schema.json.",
        json_schema_extra=schema(preserve_unknown=True),
    )
    secret_values: list[SecretValue] = Field(
        default_factory=list,
        max_length=64,
        description="Secrets that the document may use as ${name} in `environment`.",
        json_schema_extra=schema(list_map=("name",)),
    )


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the Stack's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(
        default="compose.yaml", description="Key in the ConfigMap's data. Unset: compose.yaml."
    )


class ComposeSource(ApiModel):
    """A compose document of the user's own."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule("has(self.inline) != has(self.configMapRef)", "name exactly one of inline and configMapRef")
        )
    )

    inline: str | None = Field(
        default=None,
        max_length=MAX_INLINE_COMPOSE,
        min_length=1,
        description="The document itself, as YAML text.",
    )
    config_map_ref: ConfigMapKeyRef | None = Field(
        default=None, description="A ConfigMap that holds the document."
    )
    secret_values: list[SecretValue] = Field(
        default_factory=list,
        max_length=64,
        description="Secrets that the document may use as ${name} in `environment`.",
        json_schema_extra=schema(list_map=("name",)),
    )


class Adoption(ApiModel):
    """A container or VM that is there already and is taken over as it is."""

    node: DnsLabel = Field(description="Node that it is on.")
    id: EngineId = Field(
        description="Its id in that node's engine: the VMID (Proxmox VE), the name that lxc-ls shows (LXC)."
    )


class Companions(ApiModel):
    """Other Stacks of the same namespace, and how near "together" is."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "(has(self.stacks) && self.stacks.size() > 0) || (has(self.zones) && self.zones.size() > 0)",
                "name stacks, zones, or both",
            ),
        )
    )

    stacks: list[DnsLabel] = Field(
        default_factory=list,
        max_length=32,
        description="Names of Stacks.",
        json_schema_extra=schema(list_set=True),
    )
    zones: list[DnsLabel] = Field(
        default_factory=list,
        max_length=32,
        description="All Stacks of these NetworkZones.",
        json_schema_extra=schema(list_set=True),
    )
    topology_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=316,
        description="Label of Nodes; those with the same value count as one place, and one without the label"
        " as a place of its own. Unset: each Node is one.",
    )
    preferred: bool | None = Field(
        default=None, description="True: if possible. Unset: the Stack waits until it is possible."
    )


_BOTH_DEMANDED = (
    "!(has(self.affinity) && has(self.antiAffinity))"
    " || (has(self.affinity.preferred) && self.affinity.preferred)"
    " || (has(self.antiAffinity.preferred) && self.antiAffinity.preferred)"
    " || (has(self.affinity.topologyKey) ? self.affinity.topologyKey : '')"
    " != (has(self.antiAffinity.topologyKey) ? self.antiAffinity.topologyKey : '')"
)
"""Holds unless both companions are demanded at the same topology."""


def _no_common(names: str) -> str:
    both = f"has(self.affinity.{names}) && has(self.antiAffinity.{names})"
    return f"!({both}) || !self.affinity.{names}.exists(x, x in self.antiAffinity.{names})"


class Placement(ApiModel):
    """Where the Stack may run."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                f"{_BOTH_DEMANDED} || (({_no_common('stacks')}) && ({_no_common('zones')}))",
                "affinity and antiAffinity demand the same companion",
            )
        )
    )

    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=16, description="Labels that the Node must have, all of them."
    )
    node: DnsLabel | None = Field(
        default=None,
        description="Name of the Node to run on. Another name moves the Stack there if its engine can.",
        json_schema_extra=schema(
            effect="the guest is migrated where the engine can, else Ready says why not"
        ),
    )
    affinity: Companions | None = Field(default=None, description="Stacks to be together with.")
    anti_affinity: Companions | None = Field(default=None, description="Stacks to be apart from.")


class StackSpec(ApiModel):
    """What should run."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "[has(self.template), has(self.compose), has(self.adopt)].exists_one(x, x)",
                "name exactly one of template, compose and adopt",
            ),
            rule("has(self.zone) || has(self.adopt)", "zone is required", field_path=".zone"),
            rule(
                "!has(self.adopt) || !(has(self.zone) || has(self.address)"
                " || (has(self.expose) && self.expose.size() > 0)"
                " || (has(self.volumes) && self.volumes.size() > 0))",
                "what is adopted keeps its network and disks: leave out zone, address, expose and volumes",
                field_path=".adopt",
            ),
            rule(
                "has(self.adopt) == has(oldSelf.adopt) && (!has(self.adopt) || self.adopt == oldSelf.adopt)",
                "adopt cannot change; create another Stack",
                field_path=".adopt",
            ),
            rule(
                "!has(self.expose) || self.expose.all(x, !has(x.hostPort) || self.expose.exists_one(y,"
                " has(y.hostPort) && y.hostPort == x.hostPort && y.protocol == x.protocol))",
                "a hostPort can be given to one exposed port only",
            ),
            rule(
                "(has(self.type) ? self.type : 'container') =="
                " (has(oldSelf.type) ? oldSelf.type : 'container')",
                "type cannot change; create another Stack",
                field_path=".type",
            ),
        )
    )

    template: TemplateSource | None = Field(
        default=None,
        description="A catalog entry and its values.",
        json_schema_extra=schema(effect="compose up: services whose definition changed are re-created"),
    )
    compose: ComposeSource | None = Field(
        default=None,
        description="A compose document of your own, in place of a template.",
        json_schema_extra=schema(effect="compose up: services whose definition changed are re-created"),
    )
    adopt: Adoption | None = Field(
        default=None,
        description="An existing container or VM to take over, in place of template and compose; it cannot"
        " change. Needs the right to `adopt` on the Node. Its network and disks stay its own.",
        json_schema_extra=schema(effect="refused: adopt is fixed"),
    )
    type: GuestType | None = Field(
        default=None,
        description="container or vm; it cannot change. Unset: container.",
        json_schema_extra=schema(effect="refused: type is fixed"),
    )
    zone: DnsLabel | None = Field(
        default=None,
        description="NetworkZone of the same namespace; it cannot change. Required unless `adopt` is set.",
        json_schema_extra=schema(
            rule(IMMUTABLE, "zone cannot change; create another Stack"), effect="refused: zone is fixed"
        ),
    )
    address: CheckedAddress | None = Field(
        default=None,
        description="Address in the zone. Unset: one is allocated and kept for the Stack's life.",
        json_schema_extra=schema(effect="the guest is restarted with the new address"),
    )
    expose: list[Expose] = Field(
        default_factory=list,
        max_length=32,
        description="Ports that may be reached from outside of the zone.",
        json_schema_extra=schema(
            list_map=("port", "protocol"), effect="live: firewall rules change, nothing restarts"
        ),
    )
    resources: Resources = Field(description="What the guest may use at most.")
    volumes: list[Volume] = Field(
        default_factory=list,
        max_length=32,
        description="Directories that outlive the guest.",
        json_schema_extra=schema(list_map=("name",), effect="a volume added or removed restarts the guest"),
    )
    placement: Placement | None = Field(
        default=None,
        description="Where the Stack may run.",
        json_schema_extra=schema(
            effect="none while the Stack has a place: it stays where it is, unless `node` names another one"
        ),
    )
    run_policy: RunPolicy | None = Field(
        default=None,
        description="Running, Suspended or Stopped. Unset: Running.",
        json_schema_extra=schema(effect="the guest is started, suspended or stopped"),
    )
    startup: Startup | None = Field(default=None, description="When the guest is started after its node was.")
    disruption_group: DnsLabel | None = Field(
        default=None,
        description="Stacks of the same group and namespace: maintenance takes down at most one of them at a"
        " time, and none while another of them is not Ready.",
        json_schema_extra=schema(effect="none until a node is in maintenance"),
    )
    drift_policy: DriftPolicy | None = Field(
        default=None,
        description="Repair or Report: what is done when the guest was changed past DsecOS. Unset: Repair.",
        json_schema_extra=schema(effect="what was changed past DsecOS is repaired, or reported only"),
    )
    deletion_policy: DeletionPolicy | None = Field(
        default=None,
        description="What becomes of the guest when the Stack is deleted: Delete destroys it, Retain stops"
        " and keeps it, Orphan leaves it running. Volumes have a policy of their own. Unset: Delete; for what"
        " was adopted Orphan, which releases it.",
        json_schema_extra=schema(effect="none until the Stack is deleted"),
    )
    paused: bool | None = Field(
        default=None,
        description="True: controllers look, report and change nothing.",
        json_schema_extra=schema(effect="none"),
    )


class ServiceStatus(ApiModel):
    """One service of the compose document, as Docker reports it."""

    name: str = Field(description="Name of the service.")
    image: str = Field(default="", description="Image that it runs.")
    state: str = Field(default="", description="Docker's state: running, exited, restarting and so on.")
    health: str | None = Field(
        default=None, description="Docker's health, where the service has a health check."
    )
    restarts: int = Field(default=0, ge=0, description="How often Docker restarted it.")


class FailedMove(ApiModel):
    """A move that did not come to pass; it is tried again when the Stack changes, or after ten minutes."""

    node: str = Field(description="Node that the Stack was to move to.")
    generation: int = Field(ge=0, description="The metadata.generation of the Stack that was tried with.")
    time: Time = Field(description="When it failed.")
    message: str = Field(default="", max_length=1024, description="Why, in the engine's words.")


class StackStatus(Status):
    """What was seen."""

    node: str | None = Field(default=None, description="Node that the Stack is placed on.")
    moving_to: str | None = Field(
        default=None, description="Node that the Stack is on its way to; room is reserved there."
    )
    failed_move: FailedMove | None = Field(default=None, description="The last move, if it failed.")
    guest: str | None = Field(default=None, description="Name of its Guest in that node's namespace.")
    epoch: int | None = Field(
        default=None, ge=0, description="Assignment epoch; raised whenever the Stack is placed."
    )
    address: str | None = Field(default=None, description="Address of the guest in its zone.")
    address6: str | None = Field(
        default=None,
        description="IPv6 address of the guest, as far from its network's beginning as the IPv4 address.",
    )
    state: LifecycleState | None = Field(default=None, description="Where the guest is in its life.")
    endpoints: list[str] = Field(
        default_factory=list, max_length=64, description="Where the application answers."
    )
    services: list[ServiceStatus] = Field(
        default_factory=list,
        max_length=128,
        description="The services and their health.",
        json_schema_extra=schema(list_map=("name",)),
    )


class Stack(KubeObject):
    """An application."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="stacks",
        singular="stack",
        short_names=("st",),
        namespaced=True,
        description="An application: a catalog template or a compose document, with its resources, network,"
        " ports and volumes.",
        columns=(
            PrinterColumn(
                "Ready", '.status.conditions[?(@.type=="Ready")].status', description="Whether it serves"
            ),
            PrinterColumn(
                "Reason", '.status.conditions[?(@.type=="Ready")].reason', description="Why, or why not"
            ),
            PrinterColumn("Node", ".status.node", description="Where it runs"),
            PrinterColumn("Address", ".status.address", description="Its address in the zone"),
            PrinterColumn("Endpoint", ".status.endpoints[0]", description="Where it answers"),
            PrinterColumn(
                "Since",
                '.status.conditions[?(@.type=="Ready")].lastTransitionTime',
                "date",
                description="Since when",
            ),
            PrinterColumn("State", ".status.state", description="Where its guest is in its life", priority=1),
            PrinterColumn("Moving", ".status.movingTo", description="Where it is on its way to", priority=1),
            PrinterColumn("Template", ".spec.template.name", description="Catalog entry", priority=1),
            PrinterColumn(
                "Message",
                '.status.conditions[?(@.type=="Ready")].message',
                description="What to do next",
                priority=1,
            ),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".spec.zone", ".status.node"),
        name_rules=(label_name("Stack"),),
    )

    kind: str = "Stack"
    spec: StackSpec
    status: StackStatus = Field(default_factory=StackStatus)
