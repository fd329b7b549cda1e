"""`dsecos exec` and `dsecos console`: into a Stack's guest, as its root.

Only on the node that runs it, as root: its agent is asked through a socket, whatever the engine is.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer
from dsecos_api import Stack

from dsecos_cli.agent import Agent
from dsecos_cli.completion import complete_stack
from dsecos_cli.conduct import read_stacks
from dsecos_cli.context import Kubeconfig, Namespace, open_cluster
from dsecos_cli.errors import UsageError
from dsecos_cli.local import Local
from dsecos_cli.options import parse_duration, parse_environment
from dsecos_cli.settings import Settings
from dsecos_cli.terminal import clean, note

StackName = Annotated[str, typer.Argument(help="Stack.", autocompletion=complete_stack)]


def exec_(
    stack: StackName,
    command: Annotated[list[str], typer.Argument(help="Command and its arguments, after --.")],
    *,
    stdin: Annotated[
        bool, typer.Option("--stdin", "-i", help="Give it this command's standard input, to its end.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="NAME=VALUE", help="A variable for it. Repeatable."),
    ] = None,
    namespace: Namespace = None,
    timeout: Annotated[str, typer.Option(help="It is ended after that long, for example 90s or 5m.")] = "5m",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Run a command in a stack's guest, as root there. The exit code is the command's.

    Only on the machine that runs the guest, as root.
    """
    longest = parse_duration(timeout, "--timeout")
    variables = parse_environment(env or ())
    agent, guest = _enter("exec", stack, namespace, kubeconfig, ["--", *command])
    given = sys.stdin.buffer.read() if stdin else b""
    finished = agent.execute(guest, command, env=variables, stdin=given, time_limit=longest)
    pass_on(finished.stdout, sys.stdout)
    pass_on(finished.stderr, sys.stderr)
    if finished.truncated:
        note("There was more output than is passed on; let it write to a file in the guest.")
    raise typer.Exit(finished.exit_code)


def console(stack: StackName, *, namespace: Namespace = None, kubeconfig: Kubeconfig = None) -> None:
    """Open a terminal in a stack's guest, as root there; Ctrl-] leaves.

    Only on the machine that runs the guest, as root. What the guest writes reaches your terminal as it is.
    """
    from dsecos_cli.rawterminal import converse, size  # noqa: PLC0415 - loads the terminal's modules

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("a console needs a terminal", f"Without one: dsecos exec {stack} -- COMMAND")
    agent, guest = _enter("console", stack, namespace, kubeconfig)
    columns, rows = size(sys.stdin.fileno())
    connection = agent.console(guest, columns, rows)
    note(f"console of {guest}; Ctrl-] leaves")
    try:
        why = converse(connection, sys.stdin.fileno(), sys.stdout.fileno())
    finally:
        connection.shutdown()  # type: ignore[no-untyped-call]
    note(f"\nconsole of {guest} left" + (f": {why}" if why else ""))


def guest_here(stack: Stack, settings: Settings, verb: str, rest: Sequence[str], *, root: bool) -> str:
    """The name of the stack's guest, if it can be entered here. Raises CliError with the way out."""
    local = Local(
        command=shlex.join(["dsecos", verb, stack.name, "-n", stack.namespace, *rest]),
        why_root="a guest is entered as its root, which takes root here",
        only_there="it can be entered there only",
    )
    return local.guest(stack, settings.node_name, root=root, is_here=lambda _: settings.home.is_dir())


def pass_on(data: bytes, stream: TextIO) -> None:
    """A guest's output: as it is for programs, without control sequences for a terminal."""
    if stream.isatty():
        stream.write(clean(data.decode(errors="replace")))
    else:
        stream.buffer.write(data)
    stream.flush()


def _enter(
    verb: str, name: str, namespace: str | None, kubeconfig: Path | None, rest: Sequence[str] = ()
) -> tuple[Agent, str]:
    """The agent of this machine and the guest's name. Raises CliError where the guest is not here."""
    settings = Settings()
    [stack] = read_stacks(open_cluster(kubeconfig), [name], namespace)
    guest = guest_here(stack, settings, verb, rest, root=os.geteuid() == 0)
    return Agent(settings.agent_socket), guest
