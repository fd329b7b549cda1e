"""Which node a Stack goes to, or the reason why to none. Pure and deterministic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dsecos_api import Node, Reason
from dsecos_api.quantity import to_bytes

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling.companions import Map, Member, awaited, liking
from dsecos_operator.scheduling.engines import arriving, leaving
from dsecos_operator.scheduling.fit import adoption_obstacles, arrival_obstacles, obstacles
from dsecos_operator.scheduling.model import Occupant, Rules, Wanted
from dsecos_operator.scheduling.obstacle import Obstacle


def place(
    wanted: Wanted,
    nodes: Sequence[Node],
    occupants: Sequence[Occupant],
    rules: Rules,
    unplaced: Sequence[Member] = (),
) -> str:
    """Name of the node that suits it best: what it prefers, then the most memory left.

    Raises Refused, naming each node and what keeps it. `unplaced`: Stacks without a place.
    """
    ahead = awaited(wanted, unplaced)
    if ahead:
        why = f"waits for {_stacks(ahead)}, which it has to be together with and which has no place yet"
        raise Refused(Reason.NO_NODE_FITS, why, stalled=False)
    places = Map(nodes)
    found = {
        node.name: obstacles(node, wanted, occupants, rules, places=places) for node in _named(wanted, nodes)
    }
    return _best(wanted, nodes, occupants, found, places)


def adopt(wanted: Wanted, name: str, nodes: Sequence[Node]) -> str:
    """Name of the node that the guest to take over is on, and nowhere else. Raises Refused."""
    node = next((each for each in nodes if each.name == name), None)
    if node is None:
        raise Refused(Reason.NO_NODE_FITS, f"spec.adopt.node: there is no Node {name}", stalled=False)
    why = adoption_obstacles(node, wanted)
    if why:
        raise _nowhere({name: why}, "it cannot be adopted")
    return name


def move(
    wanted: Wanted, source: Node, nodes: Sequence[Node], occupants: Sequence[Occupant], rules: Rules
) -> str:
    """Name of the node that a guest of `source` can be moved to. Raises Refused."""
    fixed = leaving(source, wanted)
    if fixed is not None:
        raise Refused(Reason.UNSUPPORTED, fixed)
    places = Map(nodes)
    found = {
        node.name: [
            *arriving(source, node, wanted, occupants),
            *obstacles(node, wanted, occupants, rules, places=places),
        ]
        for node in _named(wanted, nodes)
        if node.name != source.name
    }
    if not found:
        raise Refused(Reason.NO_NODE_FITS, "there is no other Node", stalled=False)
    return _best(wanted, nodes, occupants, found, places)


def follow(wanted: Wanted, target: Node, occupants: Sequence[Occupant], rules: Rules) -> str:
    """Why a guest that others have moved to `target` cannot be driven there; empty if it can."""
    return ", ".join(each.why for each in arrival_obstacles(target, wanted, occupants, rules))


def stay(wanted: Wanted, node: Node | None, name: str, occupants: Sequence[Occupant], rules: Rules) -> None:
    """Raises Refused if what `wanted` asks for now cannot be had on the node that it is on.

    A node that is gone or away keeps its guests: nobody knows whether they still write.
    """
    if node is None:
        raise Refused(Reason.NO_NODE_FITS, f"it is placed on Node {name}, which does not exist any more")
    found = obstacles(node, wanted, occupants, rules, staying=True)
    if found:
        raise _nowhere({name: found})


def _named(wanted: Wanted, nodes: Sequence[Node]) -> Sequence[Node]:
    if wanted.node is None:
        return nodes
    named = [node for node in nodes if node.name == wanted.node]
    if not named:
        why = f"spec.placement.node: there is no Node {wanted.node}"
        raise Refused(Reason.NO_NODE_FITS, why, stalled=False)
    return named


def _best(
    wanted: Wanted,
    nodes: Sequence[Node],
    occupants: Sequence[Occupant],
    found: dict[str, list[Obstacle]],
    places: Map,
) -> str:
    fitting = [node for node in nodes if found.get(node.name) == []]
    if not fitting:
        raise _nowhere(found)

    def rank(node: Node) -> tuple[int, int, str]:
        return -liking(node.name, wanted, occupants, places), -_free(node, occupants), node.name

    return min(fitting, key=rank).name


def _free(node: Node, occupants: Iterable[Occupant]) -> int:
    allocatable = node.status.allocatable
    taken = sum(each.memory for each in occupants if each.node == node.name)
    return to_bytes(allocatable.memory) - taken if allocatable else 0


def _stacks(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Stack {', '.join(names[:3])}{more}"


def _nowhere(found: dict[str, list[Obstacle]], refusal: str = "it does not fit") -> Refused:
    """`refusal`: what is said when only one Node could be had."""
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
    no = "no Node fits" if len(found) > 1 else refusal
    return Refused(reason, f"{no}: {said}", stalled=stalled)
