"""Guests that somebody else has moved to another node of their engine's cluster: by hand, or the engine's
high availability. Pure.

That is a move that has happened: the Stack follows it, in the steps of `moving`, where the engine finds it
done. What cannot be driven over there is left as it is, and told.
"""

from __future__ import annotations

from dataclasses import replace

from dsecos_api import Guest, Node, Stack
from dsecos_api.stack import FailedMove
from dsecos_runtime import timestamp

from dsecos_operator.maintenance.view import World
from dsecos_operator.scheduling import engine_node, follow
from dsecos_operator.stacks.claim import Claim
from dsecos_operator.stacks.departure import as_it_is
from dsecos_operator.stacks.guests import reported
from dsecos_operator.stacks.observe import Observed


def strayed(guest: Guest, node: Node | None) -> str | None:
    """The engine's node that a guest of `node` is on without an order of ours; None: it is where it was."""
    at, here = guest.status.engine_node, engine_node(node) if node is not None else None
    moved = here is not None and at not in (None, here)
    return at if moved and guest.spec.migrate is None and not guest.deleting and reported(guest) else None


def followed(stack: Stack, observed: Observed, world: World) -> Claim | str:
    """The claim of a Stack that follows its guest, or why it does not; empty: there is nothing to follow."""
    claim, guest, source = observed.claim, observed.guest, observed.node
    if claim is None or guest is None or source is None or stack.spec.paused:
        return ""
    at = strayed(guest, source)
    if at is None:
        return ""
    cluster = source.status.engine_cluster
    there = [each for each in world.nodes if engine_node(each) == at and each.name != source.name]
    target = next((each for each in there if each.status.engine_cluster == cluster is not None), None)
    if target is None:
        return f"somebody else moved it to {at}, which is no Node"
    why = follow(as_it_is(stack, guest, world.zones), target, world.occupants, world.rules)
    if why:
        return f"somebody else moved it to {target.name}, where it cannot stay: {why}"
    return replace(claim, moving_to=target.name, failed_move=_turned_away(stack, claim, target, world))


def _turned_away(stack: Stack, claim: Claim, target: Node, world: World) -> FailedMove | None:
    """One that is to be elsewhere (it names the node that it was taken from, or was brought to one that is
    emptied) leaves again, but not at once: whoever moved it may do so again, and again.
    """
    placement = stack.spec.placement
    named = placement is not None and placement.node == claim.node
    if not named and not target.spec.maintenance:
        return None
    return FailedMove(
        node=claim.node,
        generation=stack.metadata.generation or 0,
        time=timestamp(world.now),
        message=f"somebody else moved it from there to {target.name}",
    )
