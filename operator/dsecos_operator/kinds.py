"""The kinds that the operator watches beside those of dsecos.io, in the little that it needs to know of them.

Of a Secret or ConfigMap the cache holds the identity and version only: that is enough to see that something
changed, and no tenant's secret stays in the operator's memory. Contents are read when they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsecos_api import KubeObject, Metadata
from dsecos_api.names import LABEL_STACK, LABEL_STACK_NAMESPACE, NODE_NAMESPACE_PREFIX
from dsecos_runtime import Key, Resource
from pydantic import Field, model_validator

LABEL_RETAINED = "dsecos.io/retained"
ANNOTATION_DIGEST = "dsecos.io/digest"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Stamp(KubeObject):
    """An object's metadata: that it is there, and in which version."""

    @model_validator(mode="before")
    @classmethod
    def _metadata_only(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        # kubectl keeps what it applied in an annotation: with a Secret that is the secret itself.
        metadata = dict(raw["metadata"])
        annotations = metadata.get("annotations") or {}
        metadata["annotations"] = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
        return {**raw, "metadata": metadata}

    @property
    def version(self) -> tuple[str, str]:
        """Changes with every change of the object."""
        return self.uid, self.metadata.resource_version or ""


class ConfigMapStamp(Stamp):
    """A ConfigMap's metadata; and the data of those that the operator writes itself."""

    data: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _own_data_only(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and LABEL_RETAINED not in (raw["metadata"].get("labels") or {}):
            return {name: value for name, value in raw.items() if name != "data"}
        return raw


SECRET_STAMP: Resource[Stamp] = Resource("", "v1", "secrets", "Secret", model=Stamp)
CONFIG_MAP_STAMP: Resource[ConfigMapStamp] = Resource(
    "", "v1", "configmaps", "ConfigMap", model=ConfigMapStamp
)


def labelled_stack(metadata: Metadata) -> Key | None:
    """The Stack that an object in a node's namespace was made for."""
    name, namespace = metadata.labels.get(LABEL_STACK), metadata.labels.get(LABEL_STACK_NAMESPACE)
    return Key(namespace, name) if name and namespace else None


def node_of(namespace: str) -> str:
    """The node whose namespace it is; empty if it is none's."""
    prefixed = namespace.startswith(NODE_NAMESPACE_PREFIX)
    return namespace[len(NODE_NAMESPACE_PREFIX) :] if prefixed else ""
