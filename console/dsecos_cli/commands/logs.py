"""`dsecos logs`: what the services of a stack write.

There is no log API: the guest's own Docker has the logs, so this works on the machine that runs the guest, as
root. What a guest writes is data: control characters are taken out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from dsecos_api import Stack

from dsecos_cli.completion import complete_stack
from dsecos_cli.context import Kubeconfig, Namespace, open_cluster
from dsecos_cli.errors import CliError, UsageError
from dsecos_cli.local import Local
from dsecos_cli.overview import next_step
from dsecos_cli.resources import STACK
from dsecos_cli.settings import Settings
from dsecos_cli.terminal import clean

COMPOSE_PROJECT = "app"
"""The compose project's name in every guest."""
MAX_LINE = 65_536
"""Longest piece of a line that is read at once, in bytes."""


def logs(
    stack: Annotated[str, typer.Argument(help="Stack.", autocompletion=complete_stack)],
    service: Annotated[
        str | None, typer.Argument(help="Service. Default: all of them.", show_default=False)
    ] = None,
    *,
    namespace: Namespace = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option(min=0, help="Lines of the past to show, for each service.")] = 100,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Show when each line was written.")
    ] = False,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what a stack's services write. Only on the machine that runs it, as root."""
    settings = Settings()
    cluster = open_cluster(kubeconfig)
    found = Stack.parse(cluster.get(STACK, stack, namespace or cluster.namespace))
    guest = local_guest(found, settings, root=os.geteuid() == 0)
    check_service(found, service)
    code = stream(
        log_command(settings.lxc_path, guest, service, follow=follow, tail=tail, timestamps=timestamps)
    )
    if code:
        raise CliError(f"the guest's Docker gave no logs (exit code {code})", next_step(found))


def local_guest(stack: Stack, settings: Settings, *, root: bool) -> str:
    """The name of the stack's guest, if its logs can be read here. Raises CliError with the way out."""
    local = Local(
        command=f"dsecos logs {stack.name} -n {stack.namespace}",
        why_root="logs are read inside of the guest, which takes root",
        only_there="its logs can be read there only",
    )
    return local.guest(
        stack, settings.node_name, root=root, is_here=lambda guest: (settings.lxc_path / guest).is_dir()
    )


def check_service(stack: Stack, service: str | None) -> None:
    """Raise UsageError unless the stack has that service (or reports none yet)."""
    names = [s.name for s in stack.status.services]
    if service is not None and (service not in names if names else service.startswith("-")):
        raise UsageError(f"stack {stack.name} has no service {service!r}", f"It has: {', '.join(names)}")


def log_command(
    lxc_path: Path, guest: str, service: str | None, *, follow: bool, tail: int, timestamps: bool
) -> list[str]:
    """The argument list; no shell sees it. The guest gets nothing of our environment."""
    command = ["lxc-attach", "-P", str(lxc_path), "-n", guest, "--clear-env", "--"]
    command += [
        "docker",
        "compose",
        "--ansi",
        "never",
        "-p",
        COMPOSE_PROJECT,
        "logs",
        "--no-color",
        "--tail",
        str(tail),
    ]
    command += ["--follow"] if follow else []
    command += ["--timestamps"] if timestamps else []
    return command + (["--", service] if service else [])


def stream(command: list[str]) -> int:
    """Run it and pass on what it writes, without control characters; returns its exit code.

    Raises CliError.
    """
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            assert process.stdout is not None  # noqa: S101 - PIPE was asked for
            try:
                while piece := process.stdout.readline(MAX_LINE):
                    sys.stdout.write(clean(piece.decode(errors="replace")))
                    sys.stdout.flush()
            except (KeyboardInterrupt, BrokenPipeError):
                process.terminate()
                return 0
            return process.wait()
    except FileNotFoundError as error:
        raise CliError("lxc-attach is not installed here", "apt-get install lxc") from error
