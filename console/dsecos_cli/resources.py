"""Where the API server serves the kinds that this command reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsecos_api import API_VERSION, KINDS, KubeObject

from dsecos_cli.errors import UsageError

Object = dict[str, Any]
"""An object as the API server gives it."""


@dataclass(frozen=True)
class Resource:
    """A kind and its place in the API. `model` is set for our own kinds."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    model: type[KubeObject] | None = None

    def path(self, namespace: str | None = None, name: str = "") -> str:
        """The REST path of a collection, or of one object if `name` is given. No namespace: all of them."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}" + (f"/{name}" if name else "")


def _ours(model: type[KubeObject]) -> Resource:
    return Resource(API_VERSION, model.__name__, model.info.plural, model.info.namespaced, model)


_OURS = tuple(_ours(model) for model in KINDS)
_CORE = (
    Resource("v1", "Namespace", "namespaces", namespaced=False),
    Resource("v1", "Secret", "secrets", namespaced=True),
    Resource("v1", "ConfigMap", "configmaps", namespaced=True),
    Resource("v1", "Event", "events", namespaced=True),
)
_BY_KIND: Mapping[tuple[str, str], Resource] = {(r.api_version, r.kind): r for r in (*_OURS, *_CORE)}

STACK = _BY_KIND[API_VERSION, "Stack"]
ZONE = _BY_KIND[API_VERSION, "NetworkZone"]
NODE = _BY_KIND[API_VERSION, "Node"]
GUEST = _BY_KIND[API_VERSION, "Guest"]
LICENSE = _BY_KIND[API_VERSION, "License"]
NAMESPACE = _BY_KIND["v1", "Namespace"]
SECRET = _BY_KIND["v1", "Secret"]
EVENT = _BY_KIND["v1", "Event"]


def resource_of(obj: Mapping[str, Any]) -> Resource:
    """The place of an object read from a file.

    Raises UsageError for kinds that this command does not know.
    """
    api_version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    found = _BY_KIND.get((api_version, kind))
    if found is None:
        known = ", ".join(sorted(resource.kind for resource in (*_OURS, *_CORE) if resource is not EVENT))
        raise UsageError(
            f"{kind or 'a document'} of {api_version or 'no apiVersion'} is not known here",
            f"Known kinds: {known}.",
        )
    return found
