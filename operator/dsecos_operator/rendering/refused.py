"""The one way in which rendering and scheduling say no: a reason for programs and a sentence for people."""

from __future__ import annotations

from dsecos_api import Reason


class Refused(Exception):  # noqa: N818 - it is an answer for the user, not a fault of the program
    """What the user asked for cannot be had. `reason` goes to the condition, the text to its message.

    The text names the field, its value and what is expected. `stalled` says that nothing but a change by
    somebody helps; otherwise the controller looks again by itself.
    """

    def __init__(self, reason: Reason, message: str, *, stalled: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.stalled = stalled


def shown(value: object, limit: int = 120) -> str:
    """A value in a message: on one line, cut to `limit` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else f"{text[:limit]}..."
