"""Running the tools that do the work."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 20
"""Lines of a failed tool's output that are shown."""


class ToolError(Exception):
    """A tool failed; the message holds its name and the end of what it wrote."""


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, stdin: str | None = None
) -> str:
    """Run a tool to its end and return its standard output; raises ToolError.

    `setpriv --pdeathsig` ends the tool with us: a build that is killed leaves nothing running.
    """
    arguments = ["/usr/bin/setpriv", "--pdeathsig", "KILL", *map(str, command)]
    done = subprocess.run(arguments, env=env, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stderr + done.stdout).strip().splitlines()[-TAIL:])
        raise ToolError(f"{Path(command[0]).name} failed with status {done.returncode}:\n{tail}")
    return done.stdout
