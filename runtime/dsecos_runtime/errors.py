"""What can go wrong between a controller and the API server.

Every call to the API raises one of these and nothing else, so that the queue can choose a back-off by type
and a controller catches only what it has an answer to.
"""

from __future__ import annotations

# ruff: noqa: N818 - they are named after what the API server answers
from typing import Any


class RuntimeFailure(Exception):
    """Something that ends the process: the supervisor starts it again from a clean state."""


class WatchEnded(RuntimeFailure):
    """A watch has ended for good, or has not spoken to the API server for too long."""


class HistoryRewound(RuntimeFailure):
    """The API server is older than what was read from it before: restored from a backup, or another one."""


class CredentialsError(RuntimeFailure):
    """The kubeconfig cannot be used; the message says what is missing."""


class ClusterError(Exception):
    """A call that the API server, or the way to it, refused. `status` is the HTTP status, 0 without an
    answer.
    """

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", body: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.body = body or {}


class NotFound(ClusterError):
    """404: the object (or its kind) does not exist."""


class Conflict(ClusterError):
    """409: a precondition failed, the object exists already, or it was changed meanwhile. Look again."""


class Forbidden(ClusterError):
    """401 or 403: these credentials may not do that."""


class Invalid(ClusterError):
    """400 or 422, and every other 4xx: the request will not do as it is."""


class Unavailable(ClusterError):
    """No connection, a timeout, 410 (a list that expired between two pages), 429 or 5xx: the same call may
    succeed later, after `retry_after` seconds if given.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        body: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, reason=reason, body=body)
        self.retry_after = retry_after


class LeadershipLost(ClusterError, RuntimeFailure):
    """This process no longer holds the lease that its writes stand under; the write was not sent."""


class Terminal(Exception):
    """Raised in reconcile: trying again changes nothing. The key waits for the next wake-up or resync."""


def from_response(status: int, body: dict[str, Any], retry_after: str | None, what: str) -> ClusterError:
    """The error for an HTTP status of 400 and above; `what` names the call for the message."""
    message = f"{what}: {body.get('message') or f'HTTP {status}'}"
    reason = str(body.get("reason") or "")
    match status:
        case 404:
            return NotFound(message, status=status, reason=reason, body=body)
        case 409:
            return Conflict(message, status=status, reason=reason, body=body)
        case 401 | 403:
            return Forbidden(message, status=status, reason=reason, body=body)
        case 408 | 410 | 429 | 500 | 502 | 503 | 504:
            seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
            return Unavailable(message, status=status, reason=reason, body=body, retry_after=seconds)
        case _ if status < 500:
            return Invalid(message, status=status, reason=reason, body=body)
        case _:
            return Unavailable(message, status=status, reason=reason, body=body)
