"""What every kind shares: how a model becomes a structural schema, and what a kind tells the API server.

A kind is a pydantic model. Its fields carry their descriptions, bounds and CEL rules, so that one class is at
once the Python type that controllers use, the schema that the API server enforces, and the text that
`kubectl explain` prints. The generator turns these classes into YAML and knows nothing about any kind.

Source of the vocabulary: Kubernetes documentation, "CustomResourceDefinition" (apiextensions.k8s.io/v1) and
"CRD validation rules".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.alias_generators import to_camel

GROUP = "dsecos.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class ApiModel(BaseModel):
    """A part of an object. Immutable; camelCase on the wire; fields that this version lacks are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that the API server takes: camelCase keys, nothing that is unset or empty."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @model_serializer(mode="wrap")
    def _omit_empty(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An empty list or map means the same as an absent one, and whoever applies it would own it.
        fields = type(self).model_fields.items()
        optional = {key for name, info in fields if info.default_factory for key in (name, info.alias)}
        return {key: value for key, value in dump(self).items() if value or key not in optional}


class OwnerReference(ApiModel):
    """An object of the same namespace, or a cluster-scoped one, that this object goes away with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(ApiModel):
    """The part of ObjectMeta (meta/v1) that controllers read and write. Timestamps are RFC 3339 strings."""

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[OwnerReference] = Field(default_factory=list)
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


@dataclass(frozen=True)
class PrinterColumn:
    """A column of `kubectl get` (additionalPrinterColumns). `priority` 1 shows with `-o wide` only."""

    name: str
    json_path: str
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True)
class KindInfo:
    """What the CRD says beside its schema."""

    plural: str
    singular: str
    short_names: tuple[str, ...]
    namespaced: bool
    description: str
    columns: tuple[PrinterColumn, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("dsecos",)
    name_rules: tuple[Mapping[str, Any], ...] = field(default=())
    """CEL rules at the root of the object, the only place where `self.metadata.name` can be seen."""


class KubeObject(ApiModel):
    """An object of group dsecos.io. Kinds narrow `spec` and `status` to their own models."""

    info: ClassVar[KindInfo]

    api_version: str = API_VERSION
    kind: str = ""
    metadata: Metadata = Field(default_factory=Metadata)

    @classmethod
    def part(cls, name: str) -> type[ApiModel]:
        """The model of the kind's `spec` or `status`."""
        model = cls.model_fields[name].annotation
        if not (isinstance(model, type) and issubclass(model, ApiModel)):
            raise TypeError(f"{cls.__name__}.{name} is not a model")
        return model

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """Read an object as the API server gives it. Raises `pydantic.ValidationError`."""
        return cls.model_validate(raw)

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """metadata.namespace; empty where the kind is cluster-scoped."""
        return self.metadata.namespace or ""

    @property
    def uid(self) -> str:
        """metadata.uid; empty before the object was created."""
        return self.metadata.uid or ""

    @property
    def deleting(self) -> bool:
        """Whether the object waits for its finalizers."""
        return self.metadata.deletion_timestamp is not None


def rule(expression: str, message: str, *, field_path: str | None = None) -> dict[str, Any]:
    """One CEL rule (x-kubernetes-validations) that judges the value it is attached to as `self`."""
    entry: dict[str, Any] = {"rule": expression, "message": message}
    if field_path is not None:
        entry["fieldPath"] = field_path
    return entry


IMMUTABLE = "self == oldSelf"
"""Rule of a required field that is fixed.

A field that may be unset needs a rule on its parent: no transition rule runs where the old or the new object
lacks the field.
"""


def label_name(kind: str, most: int = 63) -> dict[str, Any]:
    """Root rule: the object's name is an RFC 1123 label, because labels and references carry it."""
    return rule(
        f"self.metadata.name.size() <= {most} &&"
        " self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        f"the name of a {kind} is an RFC 1123 label (a-z, 0-9 and -) of at most {most} characters",
    )


def schema(
    *rules: Mapping[str, Any],
    effect: str | None = None,
    list_map: tuple[str, ...] = (),
    list_set: bool = False,
    preserve_unknown: bool = False,
) -> dict[str, Any]:
    """What a field or a model adds to its schema, for `json_schema_extra`.

    `effect` says what a change of the field does to a running application; `dsecos diff` prints it and the
    generator leaves it out of the YAML.
    """
    extra: dict[str, Any] = {}
    if rules:
        extra["x-kubernetes-validations"] = [dict(entry) for entry in rules]
    if list_map:
        extra["x-kubernetes-list-type"] = "map"
        extra["x-kubernetes-list-map-keys"] = list(list_map)
    if list_set:
        extra["x-kubernetes-list-type"] = "set"
    if preserve_unknown:
        extra["x-kubernetes-preserve-unknown-fields"] = True
    if effect:
        extra["effect"] = effect
    return extra
