"""Parts of specs and statuses that more than one kind has."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from dsecos_api.base import ApiModel, rule, schema
from dsecos_api.conditions import Condition
from dsecos_api.types import Cidr, DataKey, DeletionPolicy, DnsLabel, ObjectName, Port, Protocol, Quantity

CIDR_RULE = rule(
    "isCIDR(self) && cidr(self) == cidr(self).masked()",
    "must be a network in CIDR form without host bits, for example 10.20.0.0/24 or fd00:20::/64",
)
IP_RULE = rule("isIP(self)", "must be an IPv4 or IPv6 address, for example 10.20.0.5")

LIMITS_EFFECT = "live: cgroup limits change, nothing restarts"
QUOTA_EFFECT = "live: the pool's quota changes, nothing restarts"

CheckedCidr = Annotated[Cidr, Field(json_schema_extra=schema(CIDR_RULE))]
CheckedAddress = Annotated[str, Field(max_length=45, json_schema_extra=schema(IP_RULE))]


def at_least(quantity: str, example: str) -> dict[str, Any]:
    """Rule of a quantity that makes sense from some size on; catches a forgotten unit, as in `memory: 2`."""
    return rule(
        f"quantity(string(self)).compareTo(quantity('{quantity}')) >= 0",
        f"must be at least {quantity}; write for example {example}",
    )


class Status(ApiModel):
    """The part that every status has."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that the controller last looked at."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=32,
        description="What holds now: Ready first of all, and one condition for each step.",
        json_schema_extra=schema(list_map=("type",)),
    )


class SecretKeyRef(ApiModel):
    """One key of a Secret in the object's own namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field(description="Key in the Secret's data.")


class SecretValue(ApiModel):
    """A secret that the compose document may use as ${name} in `environment`."""

    name: str = Field(
        description="Name by which the compose document refers to the value.",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=63,
    )
    secret_key_ref: SecretKeyRef = Field(description="Where the value comes from.")


class Resources(ApiModel):
    """What a guest may use at most, and what it is counted for when it is placed."""

    cpu: Quantity = Field(
        description="CPU cores, for example 2 or 500m.",
        json_schema_extra=schema(at_least("10m", "2 or 500m"), effect=LIMITS_EFFECT),
    )
    memory: Quantity = Field(
        description="Memory in bytes, for example 2Gi.",
        json_schema_extra=schema(at_least("16Mi", "2Gi"), effect=LIMITS_EFFECT),
    )
    disk: Quantity = Field(
        description="Size of the guest's own file systems in bytes, for example 10Gi. Volumes count apart.",
        json_schema_extra=schema(at_least("16Mi", "10Gi"), effect=QUOTA_EFFECT),
    )


class Expose(ApiModel):
    """A port that may be reached from outside of the zone. What is not named here is dropped."""

    port: Port = Field(description="Port in the guest.")
    protocol: Protocol = Field(default=Protocol.TCP, description="Transport protocol.")
    from_: list[CheckedCidr] = Field(
        default_factory=list,
        alias="from",
        max_length=32,
        description="Networks that may connect. Empty: nobody may.",
        json_schema_extra=schema(list_set=True),
    )
    host_port: Port | None = Field(
        default=None,
        description="Port on the node that is passed to the guest, of the Node's spec.hostPorts.",
    )


class Volume(ApiModel):
    """A directory that outlives the guest, mounted in it at /srv/volumes/<name>."""

    name: DnsLabel = Field(description="Name of the volume; a compose volume of the same name is kept on it.")
    size: Quantity = Field(
        description="Largest size in bytes, for example 5Gi.",
        json_schema_extra=schema(at_least("1Mi", "5Gi"), effect=QUOTA_EFFECT),
    )
    pool: DnsLabel | None = Field(
        default=None,
        description="Storage pool of the node. Unset: the node's first pool.",
        json_schema_extra=schema(
            effect="the guest restarts with an empty volume there; the data stays in the former pool"
        ),
    )
    deletion_policy: DeletionPolicy | None = Field(
        default=None,
        description="What becomes of the data when the Stack is deleted. Unset: the Stack's policy, or Retain"
        " if that is unset too.",
        json_schema_extra=schema(effect="none until the Stack is deleted"),
    )


class Startup(ApiModel):
    """When a guest is started after its node was."""

    autostart: bool | None = Field(
        default=None,
        description="False: not started with the node while the API server is away. Unset: true.",
        json_schema_extra=schema(effect="none until the node starts"),
    )
    order: int | None = Field(
        default=None,
        ge=0,
        le=9999,
        description="Guests with lower numbers are started first and, in maintenance, stopped last."
        " Unset: 100.",
        json_schema_extra=schema(effect="none until the node starts"),
    )
    delay_seconds: int | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="Seconds to wait after this guest before the next order is started. Unset: 0.",
        json_schema_extra=schema(effect="none until the node starts"),
    )
