"""Field types that several kinds use, with the pattern that the API server checks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from dsecos_api.quantity import PATTERN


def _text(value: Any) -> Any:
    """YAML's `cpu: 2` is a number; a quantity is text."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    BeforeValidator(_text),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": PATTERN,
        }
    ),
]
"""A Kubernetes quantity such as `500m`, `2` or `2Gi`; `dsecos_api.quantity.parse` gives its value."""

DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""RFC 1123 label."""

Cidr = Annotated[str, Field(min_length=4, max_length=49)]
"""An IPv4 or IPv6 network such as 10.20.0.0/24. Fields that hold one carry the CEL rule `CIDR_RULE`."""

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
