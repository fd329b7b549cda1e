"""How Proxmox VE says no: at once by HTTP, or later in a task's exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ApiError(Exception):
    """An answer with a status of 400 or more.

    Proxmox puts the message into the status line, where proxmoxer reads it, and into the body. `empty`
    stands for answers that its web server gives without a body (401, 595, 596, 599).
    """

    def __init__(
        self, status: int, message: str, errors: Mapping[str, str] | None = None, *, empty: bool = False
    ) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.errors = dict(errors or {})
        self.empty = empty


class TaskError(Exception):
    """What a task ends with; its text becomes the exit status."""


class WorkerLostError(Exception):
    """The node went away under a task: nothing is cleaned up, locks stay."""


def failure(message: str) -> ApiError:
    """500, which is also what a missing guest or node answers."""
    return ApiError(500, message)


def bad_parameters(errors: Mapping[str, str]) -> ApiError:
    """400 with an error by parameter."""
    return ApiError(400, "Parameter verification failed.", errors)


def forbidden(what: str = "") -> ApiError:
    """403; `what` is usually a path and a privilege."""
    return ApiError(403, f"Permission check failed ({what})" if what else "Permission check failed")


def missing_privilege(path: str, privileges: Sequence[str]) -> ApiError:
    """403 that names path and privilege, several being alternatives."""
    return forbidden(f"{path}, {'|'.join(privileges)}")


def unauthorized(message: str = "No ticket") -> ApiError:
    """401, whose body is empty."""
    return ApiError(401, message, empty=True)
