"""What brings a Stack from what is to what is wanted: actions, none when all is so. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dsecos_api import Guest, Stack
from dsecos_api.names import AGENT_FINALIZER, OPERATOR_FINALIZER
from dsecos_api.types import DeletionPolicy
from pydantic import BaseModel

from dsecos_operator.kinds import ANNOTATION_DIGEST, Stamp, node_of
from dsecos_operator.stacks import retained
from dsecos_operator.stacks.claim import Claim, claim_of
from dsecos_operator.stacks.observe import Observed


@dataclass(frozen=True)
class Desired:
    """What should be. None where it could not be found out: then what is there stays."""

    claim: Claim | None = None
    guest: Guest | None = None
    secret_digest: str | None = None
    """None: the guest needs no secrets."""


@dataclass(frozen=True)
class AddFinalizer:
    """The Stack may not vanish while something of it is on a node."""

    name: ClassVar[str] = "stack-finalizer-add"


@dataclass(frozen=True)
class WriteClaim:
    """The place is written down before anything is made there."""

    claim: Claim
    name: ClassVar[str] = "stack-claim"


@dataclass(frozen=True)
class ApplySecret:
    """The guest's secrets, on the node that runs it and on no other."""

    namespace: str
    secret: str
    digest: str
    name: ClassVar[str] = "secret-apply"


@dataclass(frozen=True)
class DeleteSecret:
    """No guest needs it any more."""

    stamp: Stamp
    name: ClassVar[str] = "secret-delete"


@dataclass(frozen=True)
class ApplyGuest:
    """The order to the node."""

    guest: Guest
    name: ClassVar[str] = "guest-apply"


@dataclass(frozen=True)
class DeleteGuest:
    """The order to the node to take it away; the Guest says what becomes of its data."""

    guest: Guest
    name: ClassVar[str] = "guest-delete"


@dataclass(frozen=True)
class Remember:
    """What outlives the Stack on a node; `entry` None: nothing does."""

    node: str
    entry: str | None
    name: ClassVar[str] = "retained-apply"


@dataclass(frozen=True)
class RemoveFinalizer:
    """Nothing of the Stack is left on any node."""

    name: ClassVar[str] = "stack-finalizer-remove"


Action = (
    AddFinalizer
    | WriteClaim
    | ApplySecret
    | DeleteSecret
    | ApplyGuest
    | DeleteGuest
    | Remember
    | RemoveFinalizer
)


def plan(observed: Observed, desired: Desired) -> list[Action]:
    """Every action is idempotent, and the list is empty after all were done."""
    stack = observed.stack
    if stack is None:
        return [*_strangers(observed, uid=""), *_unneeded_secrets(observed, keep=None)]
    if stack.deleting:
        return _removal(observed, stack)
    strangers = _strangers(observed, uid=stack.uid)
    if stack.spec.paused:
        return [*strangers, *_pause(observed)]
    actions: list[Action] = []
    if desired.claim is not None and desired.claim != claim_of(stack):
        if OPERATOR_FINALIZER not in stack.metadata.finalizers:
            actions.append(AddFinalizer())
        actions.append(WriteClaim(desired.claim))
    if desired.guest is not None:
        actions += _guest(observed, desired.guest, desired.secret_digest)
    return [*strangers, *actions]


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


def _removal(observed: Observed, stack: Stack) -> list[Action]:
    if OPERATOR_FINALIZER not in stack.metadata.finalizers:
        return []
    guest = observed.guest
    if guest is not None:
        if guest.deleting:
            return []
        return [*_remember(observed, stack, guest), *_last_word(stack, guest), DeleteGuest(guest)]
    leftovers = [*_strangers(observed, uid=stack.uid), *_unneeded_secrets(observed, keep=None)]
    # The zone's controller takes the zone from the node; a Stack that was the last one there waits for it.
    if leftovers or observed.guests or (observed.attachment is not None and observed.neighbours == 0):
        return leftovers
    return [RemoveFinalizer()]


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
        deletion_policy=stack.spec.deletion_policy or DeletionPolicy.DELETE,
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
    guests = {(each.namespace, each.name) for each in observed.guests if each.spec.compose.secret_name}
    needed: Sequence[tuple[str, str]] = [*guests, *([keep] if keep else [])]
    return [
        DeleteSecret(each)
        for each in observed.secrets
        if (each.namespace, each.name) not in needed and each.metadata.deletion_timestamp is None
    ]


def with_spec(guest: Guest, **changes: Any) -> Guest:
    """The Guest with some fields of its spec changed, as it is applied."""
    update: dict[str, Any] = {"resource_version": None, "annotations": {}, "owner_references": []}
    # An apply that no longer names the finalizer would take it away.
    metadata = guest.metadata.model_copy(update={**update, "finalizers": [AGENT_FINALIZER]})
    return guest.model_copy(update={"metadata": metadata, "spec": guest.spec.model_copy(update=changes)})


def same(present: Guest, wanted: Guest) -> bool:
    """Whether an apply would change nothing. The order in lists that are maps means nothing."""
    labelled = wanted.metadata.labels.items() <= present.metadata.labels.items()
    return labelled and _canonical(present.spec) == _canonical(wanted.spec)


def _canonical(spec: BaseModel) -> Any:
    raw = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["volumes"] = sorted(raw.get("volumes", []), key=lambda each: each["name"])
    ports = raw["network"].get("ports", [])
    raw["network"]["ports"] = sorted(
        ({**each, "from": sorted(each.get("from", []))} for each in ports),
        key=lambda each: (each["port"], each["protocol"]),
    )
    return raw
