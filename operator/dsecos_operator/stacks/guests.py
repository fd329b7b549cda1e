"""Guests as they are applied, and whether an apply would change one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsecos_api import Guest, Metadata
from dsecos_api.names import AGENT_FINALIZER
from dsecos_api.shared import Expose
from pydantic import BaseModel


def with_spec(guest: Guest, **changes: Any) -> Guest:
    """The Guest with some fields of its spec changed, as it is applied."""
    update: dict[str, Any] = {"resource_version": None, "annotations": {}, "owner_references": []}
    # An apply that no longer names the finalizer would take it away.
    metadata = guest.metadata.model_copy(update={**update, "finalizers": [AGENT_FINALIZER]})
    return guest.model_copy(update={"metadata": metadata, "spec": guest.spec.model_copy(update=changes)})


def elsewhere(guest: Guest, namespace: str, **changes: Any) -> Guest:
    """A Guest of the same name and spec, but for the changes, in another node's namespace."""
    metadata = Metadata(
        name=guest.name,
        namespace=namespace,
        labels=guest.metadata.labels,
        finalizers=[AGENT_FINALIZER],
    )
    return Guest(kind="Guest", metadata=metadata, spec=guest.spec.model_copy(update=changes))


def address_of(guest: Guest) -> str | None:
    """Its address in its zone; None for one that was adopted."""
    return guest.spec.network.address if guest.spec.network is not None else None


def ports_of(guest: Guest) -> Sequence[Expose]:
    """What of it may be reached from outside of its zone; none of one that was adopted."""
    return guest.spec.network.ports if guest.spec.network is not None else ()


def id_base_of(guest: Guest) -> int | None:
    """First host id of the range that we gave it; None for one that was adopted."""
    return guest.spec.id_map.base if guest.spec.id_map is not None else None


def secret_of(guest: Guest) -> str | None:
    """Name of its Secret, if it needs one."""
    return guest.spec.compose.secret_name if guest.spec.compose is not None else None


def same(present: Guest, wanted: Guest) -> bool:
    """Whether an apply would change nothing. The order in lists that are maps means nothing."""
    labelled = wanted.metadata.labels.items() <= present.metadata.labels.items()
    return labelled and _canonical(present.spec) == _canonical(wanted.spec)


def reported(guest: Guest) -> bool:
    """Whether what the agent says is about this generation of the Guest."""
    return guest.status.observed_generation == guest.metadata.generation


def _canonical(spec: BaseModel) -> Any:
    raw = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["volumes"] = sorted(raw.get("volumes", []), key=lambda each: each["name"])
    if "network" in raw:
        ports = raw["network"].get("ports", [])
        raw["network"]["ports"] = sorted(
            ({**each, "from": sorted(each.get("from", []))} for each in ports),
            key=lambda each: (each["port"], each["protocol"]),
        )
    return raw
