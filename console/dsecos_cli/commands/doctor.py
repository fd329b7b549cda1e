"""`dsecos doctor`: what this machine and its cluster lack, and how to get it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from dsecos_cli.context import Kubeconfig, OutputOption
from dsecos_cli.doctor.ask import ask
from dsecos_cli.doctor.judge import judge_machine
from dsecos_cli.doctor.judge_cluster import judge_cluster
from dsecos_cli.doctor.model import Check, Level
from dsecos_cli.doctor.probe import look
from dsecos_cli.errors import ExitCode
from dsecos_cli.settings import Settings
from dsecos_cli.terminal import Output, clean, print_structured, stdout

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(
    machine: Annotated[bool, typer.Option("--machine/--no-machine", help="Look at this machine.")] = True,
    cluster: Annotated[bool, typer.Option("--cluster/--no-cluster", help="Look at the cluster.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and failures only.")] = False,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Tell what this machine and its cluster lack, and the command that mends it.

    Changes nothing. Exit code 1 if something fails; warnings alone are 0.
    """
    settings = Settings()
    checks = [
        *(judge_machine(look(settings), settings) if machine else ()),
        *(judge_cluster(ask(settings, kubeconfig)) if cluster else ()),
    ]
    if output.structured:
        print_structured([dataclasses.asdict(check) for check in checks], output)
    else:
        _write([check for check in checks if not quiet or check.level is not Level.OK])
        _summary(checks)
    if any(check.level is Level.FAIL for check in checks):
        raise typer.Exit(ExitCode.NO)


def _write(checks: Sequence[Check]) -> None:
    console = stdout()
    area = ""
    for check in checks:
        if check.area != area:
            area = check.area
            console.print(Text(area.upper(), "bold cyan"))
        console.print(
            Text.assemble(
                (f"  {check.level:<5}", STYLES[check.level]), clean(f"{check.name:<20} {check.reason}")
            )
        )
        if check.fix:
            console.print(Text(clean(f"{'':<8}{check.fix}"), "dim" if check.level is Level.OK else ""))


def _summary(checks: Sequence[Check]) -> None:
    count = {level: sum(check.level is level for check in checks) for level in Level}
    stdout().print(f"{count[Level.OK]} ok, {count[Level.WARN]} to look at, {count[Level.FAIL]} to mend")
