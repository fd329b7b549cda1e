"""A node's guests as the drain sees them: read off Nodes, Stacks and Guests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dsecos_api import Guest, NetworkZone, Node, Reason, Stack, Type
from dsecos_api.lifecycle import LifecycleState
from dsecos_api.names import node_namespace
from dsecos_api.node import DrainPolicy
from dsecos_api.types import RunPolicy
from dsecos_runtime import is_true

from dsecos_operator.kinds import node_of
from dsecos_operator.maintenance.drain import Drain, Orders, Peer, Resident, Standing, plan
from dsecos_operator.maintenance.upkeep import Upkeep
from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling import Occupant, Rules
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.departure import Surroundings, departure
from dsecos_operator.stacks.guests import reported
from dsecos_operator.stacks.moving import has_failed

DEFAULT_ORDER = 100


@dataclass(frozen=True)
class World:
    """Everything that a drain depends on."""

    nodes: Sequence[Node]
    zones: Sequence[NetworkZone]
    stacks: Sequence[Stack]
    guests: Sequence[Guest]
    occupants: Sequence[Occupant]
    rules: Rules
    now: datetime


def orders(node: Node) -> Orders:
    """What the Node says about its drain, with what holds where it says nothing."""
    drain = node.spec.drain
    if drain is None:
        return Orders()
    return Orders(
        policy=drain.policy or DrainPolicy.MOVE_OR_STOP,
        most=drain.max_unavailable or 1,
        ignore_groups=bool(drain.ignore_disruption_groups),
    )


def drain(node: Node, world: World) -> tuple[list[Resident], Drain]:
    """Who is on the node, and what is next."""
    stacks = {each.uid: each for each in world.stacks}
    guests = {each.spec.stack_ref.uid: each for each in _on(node, world.guests)}
    residents = [_resident(each, stacks.get(uid), node) for uid, each in guests.items()]

    def choose(resident: Resident, promised: Mapping[str, str]) -> str:
        stack, guest = stacks[resident.uid], guests[resident.uid]
        failed = has_failed(stack, world.now)
        if failed is not None:
            raise Refused(Reason.MIGRATION_FAILED, f"moving to {failed.node} failed: {failed.message}")
        promises = [
            replace(each, node=promised[each.uid])
            for each in world.occupants
            if each.uid in promised and each.node == node.name
        ]
        around = Surroundings(world.nodes, world.zones, [*world.occupants, *promises], world.rules, world.now)
        return departure(stack, guest, node, around)

    return residents, plan(orders(node), residents, _peers(world), choose)


def upkeep(stack: Stack, node: Node | None, world: World) -> Upkeep:
    """What the maintenance of the node that a Stack is on means for it."""
    if node is None or not node.spec.maintenance:
        return Upkeep()
    starts = orders(node).policy == DrainPolicy.STAY
    _, next_steps = drain(node, world)
    stop, move_to = stack.uid in next_steps.stop, next_steps.move.get(stack.uid)
    return Upkeep(active=True, starts=starts, stop=stop, move_to=move_to)


def is_down(guest: Guest) -> bool:
    """Whether a guest that is to be stopped is. One that its agent could not make has no life: it is."""
    lifecycle, status = guest.status.lifecycle, guest.status
    idle = is_true(status, Type.READY) or is_true(status, Type.STALLED)
    return reported(guest) and (lifecycle.state == LifecycleState.STOPPED if lifecycle else idle)


def is_up(stack: Stack, guest: Guest | None) -> bool:
    """Whether the Stack is Ready, by what is known of its present generation and of its Guest's."""
    current = stack.status.observed_generation == stack.metadata.generation
    agreed = guest is not None and reported(guest) and is_true(guest.status, Type.READY)
    return current and agreed and is_true(stack.status, Type.READY)


def _on(node: Node, guests: Sequence[Guest]) -> list[Guest]:
    return [each for each in guests if each.namespace == node_namespace(node.name)]


def _resident(guest: Guest, stack: Stack | None, node: Node) -> Resident:
    startup = guest.spec.startup
    return Resident(
        namespace=guest.spec.stack_ref.namespace,
        stack=guest.spec.stack_ref.name,
        uid=guest.spec.stack_ref.uid,
        standing=_standing(guest, stack, node),
        order=DEFAULT_ORDER if startup is None or startup.order is None else startup.order,
        group=stack.spec.disruption_group if stack is not None else None,
    )


def _standing(guest: Guest, stack: Stack | None, node: Node) -> Standing:
    claim = claim_of(stack) if stack is not None else None
    moving = claim is not None and (claim.node != node.name or claim.moving_to is not None)
    if stack is None or stack.deleting or (guest.deleting and not moving):
        found = Standing.GOING
    elif moving:
        found = Standing.MOVING
    elif guest.spec.maintenance:
        found = Standing.DOWN if is_down(guest) else Standing.STOPPING
    elif guest.spec.run_policy == RunPolicy.STOPPED:
        found = Standing.OFF
    else:
        paused = stack.spec.paused or guest.spec.paused or node.spec.paused
        found = Standing.PAUSED if paused else Standing.RUNS
    return found


def _peers(world: World) -> list[Peer]:
    guests = {(node_of(each.namespace), each.spec.stack_ref.uid): each for each in world.guests}
    found = []
    for stack in world.stacks:
        if stack.spec.disruption_group is None or stack.deleting:
            continue
        claim = claim_of(stack)
        guest = guests.get((claim.node, stack.uid)) if claim is not None else None
        if claim is not None and claim.moving_to is not None:
            away = f"is on its way to {claim.moving_to}"
        elif guest is not None and guest.spec.maintenance:
            away = f"is stopped while {node_of(guest.namespace)} is in maintenance"
        else:
            away = "" if is_up(stack, guest) else "is not"
        found.append(Peer(stack.namespace, stack.name, stack.uid, stack.spec.disruption_group, away))
    return found
