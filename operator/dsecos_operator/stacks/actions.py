"""What can be done for a Stack: one idempotent step each. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dsecos_api import Guest

from dsecos_operator.kinds import Stamp
from dsecos_operator.stacks.claim import Claim


@dataclass(frozen=True)
class AddFinalizer:
    """The Stack may not vanish while something of it is on a node."""

    name: ClassVar[str] = "stack-finalizer-add"


@dataclass(frozen=True)
class WriteClaim:
    """The place is written down before anything is made there."""

    claim: Claim
    name: str = "stack-claim"


@dataclass(frozen=True)
class ApplySecret:
    """The guest's secrets, on the node that runs it and on no other."""

    namespace: str
    secret: str
    digest: str
    name: ClassVar[str] = "secret-apply"


@dataclass(frozen=True)
class CopySecret:
    """The guest's secrets follow it to another node, as they are."""

    stamp: Stamp
    namespace: str
    name: ClassVar[str] = "secret-copy"


@dataclass(frozen=True)
class DeleteSecret:
    """No guest needs it any more."""

    stamp: Stamp
    name: ClassVar[str] = "secret-delete"


@dataclass(frozen=True)
class ApplyGuest:
    """The order to the node."""

    guest: Guest
    name: str = "guest-apply"


@dataclass(frozen=True)
class DeleteGuest:
    """The order to the node to take it away; the Guest says what becomes of its data."""

    guest: Guest
    name: str = "guest-delete"


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
    | CopySecret
    | DeleteSecret
    | ApplyGuest
    | DeleteGuest
    | Remember
    | RemoveFinalizer
)
