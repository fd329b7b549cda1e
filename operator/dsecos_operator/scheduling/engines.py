"""What the engines of nodes can do, as their agents report it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dsecos_api import Node, Reason
from dsecos_api.node import EngineType
from dsecos_api.types import GuestType

from dsecos_operator.scheduling.model import Occupant, Wanted
from dsecos_operator.scheduling.obstacle import Obstacle

ADOPT = "Adopt"
MIGRATE = "Migrate"
OWN_DISKS = "OwnDisks"
"""The engine makes guests' disks itself, and takes them along."""


def can(node: Node, kind: GuestType, capability: str) -> bool:
    """Whether the node's agent reports a capability for this type of guest (Node.status.capabilities)."""
    return f"{kind}/{capability}" in node.status.capabilities


def runs(node: Node, kind: GuestType) -> Iterator[Obstacle]:
    """Why guests of this type cannot be on the node. One with LXC that has not reported runs containers."""
    kinds = {each.partition("/")[0] for each in node.status.capabilities}
    if not kinds and node.spec.engine.type == EngineType.LXC:
        kinds = {GuestType.CONTAINER.value}
    if not kinds:
        why = "its agent has not told what its engine runs"
        yield Obstacle(why, passing=True, reason=Reason.UNSUPPORTED)
    elif kind.value not in kinds:
        why = f"engine {node.spec.engine.type} runs no guests of type {kind}"
        yield Obstacle(why, passing=False, reason=Reason.UNSUPPORTED)


def adopts(node: Node, kind: GuestType) -> Iterator[Obstacle]:
    """Why guests of this type that are on the node cannot be taken over."""
    missing = list(runs(node, kind))
    yield from missing
    if not missing and not can(node, kind, ADOPT):
        told = bool(node.status.capabilities)
        why = f"engine {node.spec.engine.type} cannot take over guests of type {kind}"
        silent = "its agent has not told what its engine can do"
        yield Obstacle(why if told else silent, passing=not told, reason=Reason.UNSUPPORTED)


def engine_node(node: Node) -> str | None:
    """The node's name in its engine's cluster; None where the engine has none."""
    return node.spec.engine.proxmox.node if node.spec.engine.proxmox is not None else None


def leaving(source: Node, wanted: Wanted) -> str | None:
    """Why no guest like this can leave the node for another one; None if it can."""
    engine = source.spec.engine.type
    if not can(source, wanted.type, MIGRATE) or not source.status.engine_cluster:
        return f"engine {engine} of {source.name} cannot move guests of type {wanted.type}"
    if wanted.volumes and not can(source, wanted.type, OWN_DISKS):
        return f"its volumes are in a pool of {source.name} and cannot follow"
    return None


def arriving(source: Node, target: Node, wanted: Wanted, occupants: Sequence[Occupant]) -> Iterator[Obstacle]:
    """Why a guest of `source` cannot be moved to `target`, beside what keeps any newcomer from it."""
    if target.status.engine_cluster != source.status.engine_cluster or engine_node(target) is None:
        why = f"its engine is in no cluster with that of {source.name}"
        yield Obstacle(why, passing=False, reason=Reason.UNSUPPORTED)
    elif engine_node(target) == engine_node(source):
        why = f"it is the same node of the engine's cluster as {source.name}"
        yield Obstacle(why, passing=False, reason=Reason.UNSUPPORTED)
    elif not can(target, wanted.type, MIGRATE):
        why = f"its engine cannot move guests of type {wanted.type}"
        yield Obstacle(why, passing=False, reason=Reason.UNSUPPORTED)
    for other in occupants:
        mine = other.uid == wanted.uid
        if other.node == target.name and not mine and other.id_base == wanted.id_base is not None:
            why = f"its user ids are those of Stack {other.namespace}/{other.stack} there"
            if wanted.type == GuestType.CONTAINER:
                yield Obstacle(why, passing=True)
