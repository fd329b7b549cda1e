"""Kinds and identities: where a kind is served, and what its objects are in memory.

Our own kinds are pydantic models of dsecos_api; core kinds are plain dicts in the form that the API has them.
A `Resource` is the one place that knows the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar, cast

from dsecos_api import (
    GROUP,
    VERSION,
    Backup,
    Guest,
    HostPolicy,
    KubeObject,
    License,
    NetworkZone,
    Node,
    Stack,
    ZoneAttachment,
)

Object = dict[str, Any]
"""An object as the API has it."""

T = TypeVar("T")
K = TypeVar("K", bound=KubeObject)


class Key(NamedTuple):
    """Identity of an object, or of anything to reconcile. `namespace` is "" for cluster-scoped ones."""

    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Any) -> Self:
        """The key of an object: a model or a dict."""
        if isinstance(obj, KubeObject):
            return cls(obj.namespace, obj.name)
        metadata = obj["metadata"]
        return cls(metadata.get("namespace") or "", metadata["name"])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True)
class Resource(Generic[T]):
    """Where a kind is served, and its model; without a model its objects are dicts."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    model: type[T] | None = None

    @staticmethod
    def of(model: type[K]) -> Resource[K]:
        """The resource of a kind of dsecos_api."""
        info = model.info
        return Resource(GROUP, VERSION, info.plural, model.__name__, info.namespaced, model)

    @property
    def api_version(self) -> str:
        """apiVersion of its objects, for example dsecos.io/v1alpha1."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of the collection, object or subresource below the server's root, without a leading slash."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *(part for part in (name, subresource) if part)])

    def decode(self, raw: Object) -> T:
        """The object in memory. Raises pydantic.ValidationError where the model does not fit."""
        raw = {**raw, "apiVersion": self.api_version, "kind": self.kind}
        if self.model is None:
            return cast(T, raw)
        return cast(T, cast(type[KubeObject], self.model).model_validate(raw))

    def encode(self, obj: T | Object) -> Object:
        """The object in its JSON form, without what is unset; apiVersion and kind are filled in."""
        raw = obj.to_dict() if isinstance(obj, KubeObject) else cast(Object, obj)
        return {**raw, "apiVersion": self.api_version, "kind": self.kind}

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


STACK = Resource.of(Stack)
NETWORK_ZONE = Resource.of(NetworkZone)
NODE = Resource.of(Node)
LICENSE = Resource.of(License)
BACKUP = Resource.of(Backup)
GUEST = Resource.of(Guest)
ZONE_ATTACHMENT = Resource.of(ZoneAttachment)
HOST_POLICY = Resource.of(HostPolicy)

SECRET: Resource[Object] = Resource("", "v1", "secrets", "Secret")
CONFIG_MAP: Resource[Object] = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACE: Resource[Object] = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE_ACCOUNT: Resource[Object] = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLE: Resource[Object] = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING: Resource[Object] = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLE: Resource[Object] = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False
)
CLUSTER_ROLE_BINDING: Resource[Object] = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
LEASE: Resource[Object] = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENT: Resource[Object] = Resource("events.k8s.io", "v1", "events", "Event")
