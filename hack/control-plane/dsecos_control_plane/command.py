"""Run a program and tell what it said when it failed."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsecos_control_plane.errors import CommandError

TAIL_LINES = 15


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    `env` is added to the environment of this process; `timeout` is in seconds.

    Raises:
        CommandError: it is missing, ended with an error, or took longer than `timeout`.
    """
    name = Path(argv[0]).name
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        msg = f"{argv[0]}: no such program"
        raise CommandError(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"{name} took longer than {timeout:.0f} s"
        raise CommandError(msg) from error
    if done.returncode != 0:
        tail = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-TAIL_LINES:])
        msg = f"{name} ended with {done.returncode}: {tail}"
        raise CommandError(msg)
    return done.stdout


def succeeds(argv: Sequence[str | Path]) -> bool:
    """Tell whether a program ends well; its output is of no interest."""
    try:
        run(argv)
    except CommandError:
        return False
    return True
