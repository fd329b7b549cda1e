"""What may go wrong with a guest, in words that hold for any engine."""

from dsecos_agent.adapter_errors import AdapterError, NotFoundError, RetryableError


class GuestFailedError(AdapterError):
    """The engine could not start, stop or enter the guest; `log` is the tail of what its tool said."""

    def __init__(self, message: str, log: str = "") -> None:
        """Keep the tool's own words beside the message, so that a condition can stay short."""
        super().__init__(message)
        self.log = log


class GuestNotRunningError(RetryableError):
    """The call needs a running guest."""


class GuestSilentError(RetryableError):
    """The guest runs, but what takes commands in it does not answer (yet): it boots, or has no agent."""


class UnsafeConfigError(AdapterError):
    """The configuration asks for less isolation without `privileged` saying so; nothing was written."""


class ExecTimeoutError(RetryableError):
    """The command in the guest did not end in time and was killed."""


class IllegalTransitionError(AdapterError):
    """The guest's state does not allow it; the message names the state, and nothing was done."""


class GuestLockedError(RetryableError):
    """Somebody else's operation holds the guest; `lock` is its name in the engine (backup, snapshot, ...)."""

    def __init__(self, message: str, lock: str = "") -> None:
        super().__init__(message)
        self.lock = lock


class OutcomeUnknownError(RetryableError):
    """The call may or may not have been carried out; look before it is made again."""


class EngineUnreachableError(RetryableError):
    """The engine's API, or the node of it that the guest is on, does not answer."""


class EngineDeniedError(AdapterError):
    """The engine refused the credential, or it lacks a privilege, which the message names with its path."""


class CertificateChangedError(AdapterError):
    """The engine's certificate is not the one that was pinned, or nobody trusted has signed it."""


class IdsExhaustedError(AdapterError):
    """Every id of the range that is ours is taken."""


class ImageMissingError(NotFoundError):
    """The image that the guest is to be made from is not on this node."""


class BridgeMissingError(RetryableError):
    """The bridge that the guest is to be plugged into does not exist."""
