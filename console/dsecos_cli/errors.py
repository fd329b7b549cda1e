"""How the command ends when something is not as asked, and what it says then.

An error is one line that says what is wrong, then the way out. Both go to standard error.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every verb; the manual page `docs/cli.md` names them too."""

    OK = 0
    NO = 1
    """The answer is no: a Stack does not become ready, `diff` found a change, `doctor` found a failure."""
    USAGE = 2
    """The command line or a file that it names is wrong; nothing was sent."""
    UNREACHABLE = 3
    """The API server does not answer, or does not let this user do that."""
    REFUSED = 4
    """The API server judged the object and refused it, or it conflicts with another writer."""
    TIMEOUT = 5
    """The time given by --timeout is over; what was begun goes on in the cluster."""
    NOT_FOUND = 6
    """What was named does not exist."""


class CliError(Exception):
    """The command cannot go on. `message` is one line, `hint` is the way out, `code` the exit code."""

    def __init__(self, message: str, hint: str = "", code: ExitCode = ExitCode.NO) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class UsageError(CliError):
    """The command line or a file that it names is wrong."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.USAGE)


class UnreachableError(CliError):
    """The API server does not answer, or does not let this user do that."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.UNREACHABLE)


class DeniedError(UnreachableError):
    """The API server does not let this user do that."""


class NotFoundError(CliError):
    """What was named does not exist."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.NOT_FOUND)


class RefusedError(CliError):
    """The API server judged the object and refused it. `causes` holds (field, why) in the server's order."""

    def __init__(self, message: str, hint: str = "", causes: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, hint, ExitCode.REFUSED)
        self.causes = causes
