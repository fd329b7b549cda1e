"""Errors that every adapter shares.

An adapter raises one of these, or a subclass that its own package defines; anything else is a bug. A
controller needs only two questions answered: may I try again (`RetryableError`), and is it mine
(`NotOursError`)?
"""


class AdapterError(Exception):
    """Something outside did not do what was asked; the message says what failed, on what, and why."""


class RetryableError(AdapterError):
    """The same call may succeed later without anybody changing anything (a lock, a timeout, a busy mount)."""


class NotOursError(AdapterError):
    """The thing exists but carries another owner's UID, or none: nothing was changed."""

    def __init__(self, kind: str, name: str, *, wanted: str, found: str | None) -> None:
        """Say which `kind` of thing, whose UID was `wanted` and whose was `found` (None: it carries no
        owner).
        """
        holder = f"belongs to {found}" if found else "carries no owner"
        super().__init__(f"{kind} {name} {holder}, not to {wanted}: left as it is")
        self.kind = kind
        self.name = name
        self.wanted = wanted
        self.found = found


class NotFoundError(AdapterError):
    """The thing that the call is about does not exist."""


class UnsupportedError(AdapterError):
    """This host or this driver cannot do it; no retry helps until the host changes."""


class OutOfSpaceError(AdapterError):
    """The pool or the file system is full, or the quota is reached."""
