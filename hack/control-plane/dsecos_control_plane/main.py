"""The command behind `make up`, `make down`, `make status` and `make clean`."""

import argparse

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from dsecos_control_plane import down, footprint, home, packages, prepare, status
from dsecos_control_plane.errors import ControlPlaneError
from dsecos_control_plane.lock import locked
from dsecos_control_plane.progress import Steps
from dsecos_control_plane.settings import Settings
from dsecos_control_plane.up import Options, Up


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parsed = argparse.ArgumentParser(prog="dsecos-control-plane", description=__doc__)
    verbs = parsed.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="install what is missing and start everything")
    up.add_argument("--only", choices=["control-plane"], help="etcd, API server and controller manager alone")
    up.add_argument("--without-sample", action="store_true", help="everything but the sample application")
    build = verbs.add_parser("build", help="install packages and fill the cache; nothing is started")
    build.add_argument("--for-tests", action="store_true", help="install what the tests need, too")
    verbs.add_parser("down", help="stop everything and leave the host as it was; data is kept")
    verbs.add_parser("clean", help="down, and remove all data")
    verbs.add_parser("status", help="show processes, ports and guests; 0 if all is well")
    verbs.add_parser("footprint", help="print all that may be on this machine, to compare before and after")
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = parser().parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    try:
        return _run(options, Settings(), console)
    except (ControlPlaneError, ValidationError) as error:
        Console(stderr=True, highlight=False).print(f"[red]{options.verb}:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 130


def present(settings: Settings) -> Settings:
    """Return the settings that the instance in this home was started with: it goes by those names."""
    return home.recorded(settings.home) or settings


def _run(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    if options.verb == "status":
        return 0 if status.show(present(settings), console) else 1
    if options.verb == "footprint":
        for line in footprint.footprint(settings):
            console.print(line, markup=False, soft_wrap=True)
        return 0
    only_one = settings.cache / "locks" / f"{settings.instance}.lock"
    with locked(only_one, wait=False), Steps(console) as steps:
        if options.verb == "build":
            prepare.build_everything(settings, steps, packages.FOR_TESTS if options.for_tests else ())
        elif options.verb == "up":
            extent = Options(only_control_plane=bool(options.only), sample=not options.without_sample)
            Up(settings, steps).run(extent)
        elif options.verb == "down":
            down.down(present(settings), steps)
        else:
            down.clean(present(settings), steps)
    return 0
