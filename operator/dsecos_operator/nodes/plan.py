"""What registers a node, and what takes it out again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dsecos_api import Node
from dsecos_api.names import OPERATOR_FINALIZER, node_namespace
from dsecos_runtime import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, NAMESPACE, Key, Object, Resource

from dsecos_operator.kinds import Stamp
from dsecos_operator.nodes.registration import node_role, objects

COMPARED = ("rules", "roleRef", "subjects", "automountServiceAccountToken")
"""What of an object decides over rights; beside it the labels are compared."""


@dataclass(frozen=True)
class Observed:
    """A node and what of its registration is there, by kind and key."""

    node: Node
    there: Mapping[tuple[str, Key], Object | Stamp]
    in_use: tuple[str, ...] = ()
    """Stacks with a guest on it."""
    attachments: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddFinalizer:
    """A node may not vanish while its namespace is there."""

    name: ClassVar[str] = "node-finalizer-add"


@dataclass(frozen=True)
class Apply:
    """Make a part of the registration so."""

    name: str
    resource: Resource[Any] = field(compare=False)
    wanted: Object = field(compare=False)


@dataclass(frozen=True)
class Remove:
    """Take a part of the registration away."""

    name: str
    resource: Resource[Any] = field(compare=False)
    key: Key


@dataclass(frozen=True)
class RemoveFinalizer:
    """Nothing of the node is left."""

    name: ClassVar[str] = "node-finalizer-remove"


Action = AddFinalizer | Apply | Remove | RemoveFinalizer


def plan(observed: Observed) -> list[Action]:
    """Registers a node; removes one that is being deleted as soon as no guest is on it."""
    node = observed.node
    if node.deleting:
        return _removal(observed)
    actions: list[Action] = []
    if OPERATOR_FINALIZER not in node.metadata.finalizers:
        actions.append(AddFinalizer())
    for resource, wanted in objects(node):
        if _gone_or_different(observed.there.get((resource.kind, Key.of(wanted))), wanted):
            actions.append(Apply(f"node-{resource.kind.lower()}-apply", resource, wanted))
    return actions


def _removal(observed: Observed) -> list[Action]:
    node = observed.node
    if OPERATOR_FINALIZER not in node.metadata.finalizers or observed.in_use or observed.attachments:
        return []
    namespace = Key("", node_namespace(node.name))
    there = observed.there.get((NAMESPACE.kind, namespace))
    if there is not None:
        going = isinstance(there, dict) and there["metadata"].get("deletionTimestamp")
        return [] if going else [Remove("node-namespace-delete", NAMESPACE, namespace)]
    actions: list[Action] = [
        Remove(f"node-{resource.kind.lower()}-delete", resource, Key("", node_role(node.name)))
        for resource in (CLUSTER_ROLE_BINDING, CLUSTER_ROLE)
        if (resource.kind, Key("", node_role(node.name))) in observed.there
    ]
    return [*actions, RemoveFinalizer()]


def _gone_or_different(there: Object | Stamp | None, wanted: Object) -> bool:
    if there is None:
        return True
    if isinstance(there, Stamp):
        return False
    labels = there["metadata"].get("labels") or {}
    if not wanted["metadata"]["labels"].items() <= labels.items():
        return True
    return any(_plain(there.get(part)) != _plain(wanted[part]) for part in COMPARED if part in wanted)


def _plain(value: Any) -> Any:
    """A value without the difference between unset and empty, which the API server does not keep."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if each not in (None, "", [])}
    return [_plain(each) for each in value] if isinstance(value, list) else value
