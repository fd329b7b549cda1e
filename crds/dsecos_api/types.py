"""Field types that several kinds use, with the pattern that the API server checks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from dsecos_api.quantity import PATTERN, parse


def _text(value: Any) -> Any:
    """YAML's `cpu: 2` is a number; a quantity is text."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _checked(value: str) -> str:
    parse(value)
    return value


LARGEST_NUMBER = 10**15
"""Largest quantity that may be written without quotes.

The API server compares numbers as 64-bit floats, which are exact up to 2^53. With a bound beyond that it lets
pass what `dsecos_api.quantity` cannot read.
"""

Quantity = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_checked),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": PATTERN,
            "maxLength": 24,
            "minimum": 0,
            "maximum": LARGEST_NUMBER,
        }
    ),
]
"""A Kubernetes quantity such as `500m`, `2` or `2Gi`; `dsecos_api.quantity.parse` gives its value."""

DnsLabel = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""RFC 1123 label: the form of a namespace's name, and of everything that becomes a host name or a label."""

Mac = Annotated[str, Field(max_length=17, pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]
"""A link-layer address in lower case."""

ObjectName = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""RFC 1123 subdomain: the form of the names of Secrets, ConfigMaps and most other objects."""

DataKey = Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
"""A key in the data of a Secret or a ConfigMap (core/v1)."""

Uid = Annotated[str, Field(max_length=63, pattern=r"^[-a-zA-Z0-9]+$")]
"""metadata.uid of an object. The API server makes UUIDs; tests may be shorter."""

EngineId = Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]
"""What an engine calls a guest: a VMID of Proxmox VE, the name of an LXC container."""

Cidr = Annotated[str, Field(max_length=49)]
"""An IPv4 or IPv6 network such as 10.20.0.0/24. Fields that hold one carry the CEL rule `CIDR_RULE`."""

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A moment, as RFC 3339 text."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Protocol(StrEnum):
    """A transport protocol."""

    TCP = "TCP"
    UDP = "UDP"


class DeletionPolicy(StrEnum):
    """What becomes of the outside thing when its object is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"
    ORPHAN = "Orphan"


class RunPolicy(StrEnum):
    """Whether a guest runs."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"
    STOPPED = "Stopped"


class GuestType(StrEnum):
    """The kind of a guest's isolation."""

    CONTAINER = "container"
    VM = "vm"


class DriftPolicy(StrEnum):
    """What is done about a guest that was changed past DsecOS."""

    REPAIR = "Repair"
    REPORT = "Report"
