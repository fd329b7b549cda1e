"""From what an adapter raised to what a condition says. Pure."""

from dsecos_api.conditions import Reason, Type

from dsecos_agent.adapter_errors import (
    AdapterError,
    NotFoundError,
    NotOursError,
    OutOfSpaceError,
    RetryableError,
    UnsupportedError,
)
from dsecos_agent.engines.errors import (
    BridgeMissingError,
    CertificateChangedError,
    EngineDeniedError,
    EngineUnreachableError,
    GuestFailedError,
    GuestLockedError,
    IdsExhaustedError,
    IllegalTransitionError,
    ImageMissingError,
    OutcomeUnknownError,
    UnsafeConfigError,
)
from dsecos_agent.guests.actions import Action, Adopt, CloneRoot, Migrate
from dsecos_agent.guests.desired import Block

_REASONS: tuple[tuple[type[Exception], Reason, bool], ...] = (
    (NotOursError, Reason.NOT_OURS, True),
    (OutOfSpaceError, Reason.POOL_FULL, True),
    (UnsafeConfigError, Reason.UNSUPPORTED, True),
    (UnsupportedError, Reason.UNSUPPORTED, True),
    (ImageMissingError, Reason.GUEST_TEMPLATE_MISSING, False),
    (IdsExhaustedError, Reason.ID_RANGE_EXHAUSTED, True),
    (EngineDeniedError, Reason.ENGINE_DENIED, True),
    (CertificateChangedError, Reason.CERTIFICATE_CHANGED, True),
    (IllegalTransitionError, Reason.ILLEGAL_TRANSITION, False),
    (GuestFailedError, Reason.ENGINE_FAILED, False),
    (GuestLockedError, Reason.LOCKED, False),
    (OutcomeUnknownError, Reason.OUTCOME_UNKNOWN, False),
    (EngineUnreachableError, Reason.ENGINE_UNREACHABLE, False),
    (BridgeMissingError, Reason.BRIDGE_MISSING, False),
    (RetryableError, Reason.PROGRESSING, False),
)
"""Error, reason, and whether it is Stalled: whether somebody has to do something before it can come off.
The agent tries again all the same, as that may be done where it cannot see it.
"""


class ActionFailedError(Exception):
    """An action raised `error`."""

    def __init__(self, action: Action, error: Exception) -> None:
        super().__init__(f"{action.name}: {error}")
        self.action = action
        self.error = error


def explain(failed: ActionFailedError) -> Block:
    """What the condition of the failed step says."""
    action, error = failed.action, failed.error
    text = str(error) or repr(error)
    if isinstance(error, NotFoundError) and isinstance(action, CloneRoot):
        return Block(Type.GUEST_READY, Reason.GUEST_TEMPLATE_MISSING, text, stalled=False)
    if isinstance(error, NotFoundError) and isinstance(action, Adopt):
        return Block(action.step, Reason.FAILED, text, stalled=True)
    if isinstance(error, GuestFailedError | NotFoundError) and isinstance(action, Migrate):
        return Block(action.step, Reason.MIGRATION_FAILED, text, stalled=True)
    reason, stalled = reason_of(error)
    return Block(action.step, reason, text, stalled=stalled)


def reason_of(error: Exception) -> tuple[Reason, bool]:
    """The reason for an error, and whether it is Stalled."""
    for types, reason, stalled in _REASONS:
        if isinstance(error, types):
            return reason, stalled
    return Reason.FAILED, False


def blind(error: AdapterError) -> Block:
    """What the guest's condition says when the guest cannot be looked at."""
    reason, stalled = reason_of(error)
    return Block(Type.GUEST_READY, reason, str(error) or repr(error), stalled=stalled)


def final(failed: ActionFailedError) -> bool:
    """Whether trying again cannot help before somebody changes something."""
    return isinstance(failed.error, NotOursError | UnsafeConfigError | UnsupportedError)
