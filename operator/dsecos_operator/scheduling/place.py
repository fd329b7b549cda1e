"""Which node a Stack goes to, or the reason why to none. Pure and deterministic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dsecos_api import Node, Reason
from dsecos_api.quantity import to_bytes

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling.fit import Obstacle, obstacles
from dsecos_operator.scheduling.model import Occupant, Rules, Wanted


def place(wanted: Wanted, nodes: Sequence[Node], occupants: Sequence[Occupant], rules: Rules) -> str:
    """Name of the node with the most memory left. Raises Refused, naming each node and what keeps it."""
    found = {node.name: obstacles(node, wanted, occupants, rules) for node in nodes}
    fitting = [node for node in nodes if not found[node.name]]
    if not fitting:
        raise _nowhere(found)
    return min(fitting, key=lambda node: (-_free(node, occupants), node.name)).name


def stay(wanted: Wanted, node: Node | None, name: str, occupants: Sequence[Occupant], rules: Rules) -> None:
    """Raises Refused if what `wanted` asks for now cannot be had on the node that it is on.

    A node that is gone, away or in maintenance keeps its guests: they are not placed anew in this version.
    """
    if node is None:
        raise Refused(Reason.NO_NODE_FITS, f"it is placed on Node {name}, which does not exist any more")
    found = obstacles(node, wanted, occupants, rules, staying=True)
    if found:
        raise _nowhere({name: found})


def _free(node: Node, occupants: Iterable[Occupant]) -> int:
    allocatable = node.status.allocatable
    taken = sum(each.memory for each in occupants if each.node == node.name)
    return to_bytes(allocatable.memory) - taken if allocatable else 0


def _nowhere(found: dict[str, list[Obstacle]]) -> Refused:
    if not found:
        return Refused(Reason.NO_NODE_FITS, "there is no Node; apply one", stalled=False)
    said = "; ".join(f"{name}: {', '.join(each.why for each in why)}" for name, why in sorted(found.items()))
    # The nearest miss names the reason: what alone keeps a Stack from some node is what to change.
    nearest = min(
        found.values(), key=lambda why: (len({each.reason for each in why}), any(not e.passing for e in why))
    )
    reasons = {each.reason for each in nearest}
    reason = reasons.pop() if len(reasons) == 1 else Reason.NO_NODE_FITS
    stalled = all(any(not each.passing for each in why) for why in found.values())
    fit = "no Node fits" if len(found) > 1 else "it does not fit"
    return Refused(reason, f"{fit}: {said}", stalled=stalled)
