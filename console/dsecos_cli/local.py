"""What can be done on the node itself only: whether this is the node, and the words where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsecos_api import Stack

from dsecos_cli.errors import CliError, NotFoundError
from dsecos_cli.overview import next_step


@dataclass(frozen=True, slots=True)
class Local:
    """A verb that works on the guest's node, as root.

    `command` is the command line to give there, `why_root` and `only_there` are what to say where it is not.
    """

    command: str
    why_root: str
    only_there: str

    def guest(self, stack: Stack, node: str, *, root: bool, is_here: Callable[[str], bool]) -> str:
        """The name of the Stack's guest, if `node` runs it and `is_here` finds it. Raises CliError."""
        status = stack.status
        if not status.guest or not status.node:
            raise NotFoundError(f"stack {stack.name} has no guest yet", next_step(stack))
        here = status.node == node
        if here and not root:
            raise CliError(self.why_root, f"sudo {self.command}")
        if not here or not is_here(status.guest):
            raise CliError(
                f"stack {stack.name} runs on node {status.node}, not here; {self.only_there}",
                f"On {status.node}, as root: {self.command}",
            )
        return status.guest
