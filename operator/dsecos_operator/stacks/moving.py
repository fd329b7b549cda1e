"""A Stack's way from one node to another. Pure.

    reserve     status.movingTo: room, address, ports and user ids are the Stack's on both nodes
    order       when the zone is in force there: spec.migrate of the Guest that is left
    arrive      when the engine has it there: status.node, with a new epoch
    take over   its Secret, then its Guest in the other node's namespace
    forget      the Guest that was left goes without touching anything; then its Secret

Which step comes next is read off the objects, so whoever is killed between two of them goes on with the next.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dsecos_api import Guest, Node, Reason, Stack, Type
from dsecos_api.guest import Migration
from dsecos_api.names import node_namespace
from dsecos_api.stack import FailedMove
from dsecos_api.types import DeletionPolicy
from dsecos_runtime import is_true, timestamp

from dsecos_operator.kinds import ANNOTATION_DIGEST, node_of
from dsecos_operator.scheduling import engine_node
from dsecos_operator.stacks.actions import Action, ApplyGuest, CopySecret, DeleteGuest, WriteClaim
from dsecos_operator.stacks.claim import Claim, has_arrived
from dsecos_operator.stacks.guests import elsewhere, reported, same, secret_of, with_spec
from dsecos_operator.stacks.observe import Observed
from dsecos_operator.zones.status import in_force

RETRY = 600.0
"""Seconds after which a move that failed is tried again, if nothing has changed before."""


def has_failed(stack: Stack, now: datetime) -> FailedMove | None:
    """The move that failed a short while ago, of the Stack as it is now."""
    failed = stack.status.failed_move
    if failed is None or failed.generation != stack.metadata.generation:
        return None
    return failed if (now - datetime.fromisoformat(failed.time)).total_seconds() < RETRY else None


def under_way(observed: Observed, claim: Claim, now: datetime) -> list[Action]:
    """The next steps of a Stack that has a reservation; empty while it waits for an agent."""
    source = observed.guest
    if source is None:
        return [_give_back(claim)]
    if source.deleting:
        return []
    if has_arrived(source, claim.moving_to or ""):
        epoch = claim.epoch + 1
        failed = claim.failed_move if _against(claim) else None
        there = replace(claim, node=claim.moving_to or "", epoch=epoch, moving_to=None, failed_move=failed)
        return [WriteClaim(there, "stack-arrive"), *_take_over(observed, there, source)]
    if source.spec.paused or source.spec.migrate is not None:
        return _ordered(observed, claim, source, now)
    if claim.failed_move is not None and not _against(claim):
        return _after_failure(observed, claim, source)
    return _order(observed, claim, source)


def _against(claim: Claim) -> bool:
    """Whether it is taken from the node that it was to be on: `strays`."""
    return claim.failed_move is not None and claim.failed_move.node == claim.node


def _ordered(observed: Observed, claim: Claim, source: Guest, now: datetime) -> list[Action]:
    """The order stands until the agent says how it ended; a pause that is over must reach it."""
    if source.spec.paused:
        return [ApplyGuest(with_spec(source, paused=None))]
    why = _failure(source)
    return _withdrawn(observed, claim, source, why, now) if why is not None else []


def _after_failure(observed: Observed, claim: Claim, source: Guest) -> list[Action]:
    """The order is withdrawn. When its agent knows that, the guest cannot arrive any more."""
    target = observed.target
    if not reported(source):
        return []
    name = engine_node(target) if target is not None else None
    if target is not None and name is not None and source.status.engine_node == name:
        # It has arrived all the same: the order says again how it came there.
        order = Migration(node=target.name, engine_node=name)
        return [ApplyGuest(with_spec(source, migrate=order), "guest-migrate")]
    return [_give_back(claim)]


def _order(observed: Observed, claim: Claim, source: Guest) -> list[Action]:
    target = observed.target
    name = engine_node(target) if target is not None else None
    if target is None or name is None or not _still_wanted(observed, claim, target):
        return [_give_back(claim)]
    zone = observed.target_attachment
    if source.spec.network is not None and (zone is None or not in_force(zone)):
        return []
    order = Migration(node=target.name, engine_node=name)
    return [ApplyGuest(with_spec(source, migrate=order), "guest-migrate")]


def called_off(observed: Observed, claim: Claim, source: Guest) -> list[Action] | None:
    """What comes before a guest that has not arrived is removed; None: nothing does.

    Its agent may be moving it just now: what it was told to remove meanwhile would be left over there.
    """
    if source.spec.migrate is not None:
        return [ApplyGuest(with_spec(source, migrate=None, paused=None), "guest-migrate-withdraw")]
    left = _after_failure(observed, claim, source)
    return None if left == [_give_back(claim)] else left


def _give_back(claim: Claim) -> Action:
    return WriteClaim(replace(claim, moving_to=None), "stack-give-back")


def arrived(observed: Observed, claim: Claim) -> list[Action]:
    """What is left to do after the Stack's place is another one: empty when it was done."""
    for source in observed.own:
        if node_of(source.namespace) != claim.node and has_arrived(source, claim.node):
            return _take_over(observed, claim, source)
    return []


def _take_over(observed: Observed, claim: Claim, source: Guest) -> list[Action]:
    actions: list[Action] = []
    namespace = node_namespace(claim.node)
    if not any(each.namespace == namespace for each in observed.own):
        actions += _secret(observed, source, namespace)
        taken = elsewhere(source, namespace, epoch=claim.epoch, migrate=None, paused=None)
        actions.append(ApplyGuest(taken, "guest-take-over"))
    if source.deleting:
        return actions
    volumes = [
        each.model_copy(update={"deletion_policy": DeletionPolicy.ORPHAN}) for each in source.spec.volumes
    ]
    released = with_spec(source, deletion_policy=DeletionPolicy.ORPHAN, volumes=volumes, paused=None)
    if not same(source, released):
        actions.append(ApplyGuest(released, "guest-release"))
    return [*actions, DeleteGuest(source, "guest-forget")]


def _secret(observed: Observed, source: Guest, namespace: str) -> list[Action]:
    name = secret_of(source)
    stamps = {each.namespace: each for each in observed.secrets if each.name == name}
    here, there = stamps.get(source.namespace), stamps.get(namespace)
    if here is None:
        return []
    digests = [each.metadata.annotations.get(ANNOTATION_DIGEST) for each in (here, there) if each is not None]
    return [] if len(digests) == 2 and digests[0] == digests[1] else [CopySecret(here, namespace)]


def _failure(source: Guest) -> str | None:
    """Why the agent gave the move up, or waits for somebody to change something; None while it does not."""
    if not reported(source):
        return None
    told = {each.type: each for each in source.status.conditions}
    guest, stalled = told.get(Type.GUEST_READY), told.get(Type.STALLED)
    gave_up = [each for each in told.values() if each.reason == Reason.MIGRATION_FAILED]
    if guest is not None and stalled is not None and guest.reason == stalled.reason:
        gave_up.append(guest)
    return (gave_up[0].message or str(gave_up[0].reason)) if gave_up else None


def _withdrawn(observed: Observed, claim: Claim, source: Guest, why: str, now: datetime) -> list[Action]:
    stack = observed.stack
    generation = stack.metadata.generation if stack is not None else None
    failed = FailedMove(
        node=claim.moving_to or "",
        generation=generation or 0,
        time=timestamp(now),
        message=why[:1024],
    )
    recorded = replace(claim, failed_move=failed)
    first = [WriteClaim(recorded, "stack-move-failed")] if claim.failed_move is None else []
    return [*first, ApplyGuest(with_spec(source, migrate=None), "guest-migrate-withdraw")]


def _still_wanted(observed: Observed, claim: Claim, target: Node) -> bool:
    """Whether the move that was reserved for is still to be, and can be. Asked before the order is given."""
    source = observed.guest
    if source is not None and source.status.engine_node == engine_node(target):
        return not target.deleting  # it is there already
    if observed.stack is None or not _takes_guests(target):
        return False
    placement = observed.stack.spec.placement
    if placement is not None and placement.node is not None:
        return placement.node == claim.moving_to
    return observed.node is not None and bool(observed.node.spec.maintenance)


def _takes_guests(node: Node) -> bool:
    return is_true(node.status, Type.READY) and not node.deleting and not node.spec.maintenance
