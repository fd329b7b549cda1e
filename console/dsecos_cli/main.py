"""The `dsecos` command: its verbs, and what becomes of an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer
from typer._click import Context
from typer.core import TyperGroup

from dsecos_cli.commands.adopt import adopt
from dsecos_cli.commands.deploy import deploy
from dsecos_cli.commands.diff import diff
from dsecos_cli.commands.doctor import doctor
from dsecos_cli.commands.drain import drain, undrain
from dsecos_cli.commands.enter import console, exec_
from dsecos_cli.commands.explain import explain
from dsecos_cli.commands.guests import guests
from dsecos_cli.commands.logs import logs
from dsecos_cli.commands.migrate import migrate
from dsecos_cli.commands.orders import restart, resume, start, stop, suspend
from dsecos_cli.commands.status import status
from dsecos_cli.commands.version import version
from dsecos_cli.errors import CliError
from dsecos_cli.terminal import print_error


class _Group(TyperGroup):
    """Turns our own errors into a line on standard error and an exit code, also under typer's test runner."""

    def invoke(self, ctx: Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            print_error(error)
            raise typer.Exit(error.code) from error


app = typer.Typer(
    name="dsecos",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="DsecOS: deploy applications, see how they are, give them orders, and find what a machine lacks.",
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 API server not reached or not allowed,"
    " 4 refused by the API server, 5 time over, 6 not found.\n`exec` ends with the exit code of its command.",
)
VERBS: Mapping[str, Callable[..., None]] = {
    "deploy": deploy,
    "adopt": adopt,
    "status": status,
    "guests": guests,
    "diff": diff,
    "start": start,
    "stop": stop,
    "suspend": suspend,
    "resume": resume,
    "restart": restart,
    "migrate": migrate,
    "exec": exec_,
    "console": console,
    "logs": logs,
    "drain": drain,
    "undrain": undrain,
    "explain": explain,
    "doctor": doctor,
    "version": version,
}
for name, verb in VERBS.items():
    app.command(name)(verb)


def main() -> None:
    """Run the command."""
    app()
