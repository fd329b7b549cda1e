"""From what an adapter raised to what a condition says. Pure."""

from dsecos_api.conditions import Reason, Type

from dsecos_agent.adapter_errors import (
    NotFoundError,
    NotOursError,
    OutOfSpaceError,
    RetryableError,
    UnsupportedError,
)
from dsecos_agent.engines.errors import GuestFailedError, UnsafeConfigError
from dsecos_agent.guests.actions import Action, CloneRoot
from dsecos_agent.guests.desired import Block

_REASONS: tuple[tuple[type[Exception], Reason, bool], ...] = (
    (NotOursError, Reason.NOT_OURS, True),
    (OutOfSpaceError, Reason.POOL_FULL, True),
    (UnsafeConfigError, Reason.UNSUPPORTED, True),
    (UnsupportedError, Reason.UNSUPPORTED, True),
    (GuestFailedError, Reason.ENGINE_FAILED, False),
    (RetryableError, Reason.PROGRESSING, False),
)
"""Error, reason, and whether it is Stalled."""


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
    for types, reason, stalled in _REASONS:
        if isinstance(error, types):
            return Block(action.step, reason, text, stalled=stalled)
    return Block(action.step, Reason.FAILED, text, stalled=False)


def final(failed: ActionFailedError) -> bool:
    """Whether trying again cannot help before somebody changes something."""
    return isinstance(failed.error, NotOursError | UnsafeConfigError | UnsupportedError)
