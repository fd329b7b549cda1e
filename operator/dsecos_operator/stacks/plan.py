"""What brings a Stack from what is to what is wanted: actions, none when all is so. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dsecos_api import Guest, Stack
from dsecos_api.names import OPERATOR_FINALIZER
from dsecos_api.types import RunPolicy

from dsecos_operator.kinds import ANNOTATION_DIGEST, node_of
from dsecos_operator.maintenance.upkeep import NO_MAINTENANCE, Upkeep
from dsecos_operator.stacks import moving, retained
from dsecos_operator.stacks.actions import (
    Action,
    AddFinalizer,
    ApplyGuest,
    ApplySecret,
    DeleteGuest,
    DeleteSecret,
    Remember,
    RemoveFinalizer,
    WriteClaim,
)
from dsecos_operator.stacks.claim import Claim, claim_of, has_arrived
from dsecos_operator.stacks.guests import same, secret_of, with_spec
from dsecos_operator.stacks.observe import Observed


@dataclass(frozen=True)
class Desired:
    """What should be. None where it could not be found out: then what is there stays."""

    claim: Claim | None = None
    guest: Guest | None = None
    secret_digest: str | None = None
    """None: the guest needs no secrets."""
    upkeep: Upkeep = NO_MAINTENANCE
    """What the maintenance of its node means for it."""


def plan(observed: Observed, desired: Desired, now: datetime) -> list[Action]:
    """Every action is idempotent, and the list is empty after all were done. `now`: when a move failed."""
    stack = observed.stack
    if stack is None:
        return [*_strangers(observed, uid=""), *_unneeded_secrets(observed, keep=None)]
    if stack.deleting:
        return _removal(observed, stack, now)
    strangers = _strangers(observed, uid=stack.uid)
    if stack.spec.paused:
        return [*strangers, *_pause(observed)]
    on_the_way = _move(observed, now)
    if on_the_way is not None:
        return [*strangers, *on_the_way]
    actions: list[Action] = []
    if desired.claim is not None and desired.claim != claim_of(stack):
        if OPERATOR_FINALIZER not in stack.metadata.finalizers:
            actions.append(AddFinalizer())
        moves = desired.claim.moving_to is not None
        actions.append(WriteClaim(desired.claim, "stack-reserve" if moves else "stack-claim"))
    if desired.guest is not None:
        wanted = desired.upkeep.applied(desired.guest, observed.guest)
        actions += _guest(observed, wanted, desired.secret_digest)
        return [*strangers, *actions]
    if observed.guest is not None and not observed.guest.deleting:
        actions += _kept(observed.guest, stack, desired.upkeep)
    actions += _unneeded_secrets(observed, keep=None)
    return [*strangers, *actions]


def _move(observed: Observed, now: datetime) -> list[Action] | None:
    """What a move asks for; None if the Stack is not on its way, or has nothing left to do for it."""
    claim = observed.claim
    if claim is None:
        return None
    if claim.moving_to is not None:
        return moving.under_way(observed, claim, now)
    return moving.arrived(observed, claim) or None


def _kept(guest: Guest, stack: Stack, upkeep: Upkeep) -> list[Action]:
    """A change that cannot be had leaves the guest as it is; a pause ends, and maintenance of its node comes
    and goes, all the same.
    """
    own = (stack.spec.run_policy or RunPolicy.RUNNING) if guest.spec.maintenance else guest.spec.run_policy
    wanted = upkeep.applied(with_spec(guest, maintenance=None, paused=None, run_policy=own), guest)
    return [] if same(guest, wanted) else [ApplyGuest(wanted)]


def _guest(observed: Observed, wanted: Guest, digest: str | None) -> list[Action]:
    actions: list[Action] = []
    present, secret = observed.guest, None
    if digest is not None:
        secret = (wanted.namespace, wanted.name)
        stamp = next((each for each in observed.secrets if (each.namespace, each.name) == secret), None)
        if stamp is None or stamp.metadata.annotations.get(ANNOTATION_DIGEST) != digest:
            actions.append(ApplySecret(*secret, digest))
    # One that somebody deleted is on its way out: the next one is made when it is gone.
    if present is None or (not present.deleting and not same(present, wanted)):
        actions.append(ApplyGuest(wanted))
    return [*actions, *_unneeded_secrets(observed, keep=secret)]


def _pause(observed: Observed) -> list[Action]:
    """A pause has to reach the agent; nothing else changes."""
    guest = observed.guest
    if guest is None or guest.deleting or guest.spec.paused:
        return []
    return [ApplyGuest(with_spec(guest, paused=True))]


def _removal(observed: Observed, stack: Stack, now: datetime) -> list[Action]:
    if OPERATOR_FINALIZER not in stack.metadata.finalizers:
        return []
    over = _end_of_move(observed, now) if observed.own else None
    if over is not None:
        return over
    actions: list[Action] = []
    for guest in observed.own:
        if not guest.deleting:
            actions += [*_remember(observed, stack, guest), *_last_word(stack, guest), DeleteGuest(guest)]
    if observed.own:
        return actions
    leftovers = [*_strangers(observed, uid=stack.uid), *_unneeded_secrets(observed, keep=None)]
    # The zone's controller takes the zone from the node; a Stack that was the last one there waits for it.
    if leftovers or observed.guests or (observed.attachment is not None and observed.neighbours == 0):
        return leftovers
    return [RemoveFinalizer()]


def _end_of_move(observed: Observed, now: datetime) -> list[Action] | None:
    """What a move still asks for; a guest that has arrived elsewhere is removed there. None: nothing."""
    claim, source = observed.claim, observed.guest
    if claim is None:
        return None
    if claim.moving_to is None or source is None or source.deleting:
        return moving.arrived(observed, claim) or None
    if has_arrived(source, claim.moving_to):
        return moving.under_way(observed, claim, now)
    return moving.called_off(observed, claim, source)


def _remember(observed: Observed, stack: Stack, guest: Guest) -> list[Action]:
    node = node_of(guest.namespace)
    known = retained.entries(observed.retained, stack).get(node)
    entry = retained.entry(stack, guest, known)
    return [] if known == entry else [Remember(node, entry)]


def _last_word(stack: Stack, guest: Guest) -> list[Action]:
    """The Guest goes by the policies that the Stack has now, also if it could not be brought up to date
    before.
    """
    own = {volume.name: volume.deletion_policy for volume in stack.spec.volumes}
    wanted = with_spec(
        guest,
        deletion_policy=retained.guest_policy(stack),
        volumes=[
            volume.model_copy(update={"deletion_policy": retained.policy(stack, own[volume.name])})
            if volume.name in own
            else volume
            for volume in guest.spec.volumes
        ],
        paused=None,
    )
    return [] if same(guest, wanted) else [ApplyGuest(wanted)]


def _strangers(observed: Observed, uid: str) -> list[Action]:
    """Guests of an earlier Stack of this name, whose finalizer somebody took away by hand."""
    return [
        DeleteGuest(each) for each in observed.guests if each.spec.stack_ref.uid != uid and not each.deleting
    ]


def _unneeded_secrets(observed: Observed, keep: tuple[str, str] | None) -> list[Action]:
    """Secrets whose guest is gone, or does not need them any more."""
    guests = {(each.namespace, each.name) for each in observed.guests if secret_of(each)}
    needed: Sequence[tuple[str, str]] = [*guests, *([keep] if keep else [])]
    return [
        DeleteSecret(each)
        for each in observed.secrets
        if (each.namespace, each.name) not in needed and each.metadata.deletion_timestamp is None
    ]
