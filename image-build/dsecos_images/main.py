"""The command `dsecos-images`."""

import argparse
import os
import sys
from pathlib import Path

from dsecos_images import build, publish
from dsecos_images.cache import BusyMountError, Cache
from dsecos_images.guest import GuestError
from dsecos_images.oci import RegistryError
from dsecos_images.packages import HOST_PACKAGES
from dsecos_images.process import ToolError
from dsecos_images.progress import say
from dsecos_images.sources import NoDebianSourceError

ERRORS = (
    ToolError,
    GuestError,
    RegistryError,
    NoDebianSourceError,
    BusyMountError,
    publish.NotBuiltError,
    OSError,
)


def default_cache() -> Path:
    """`images` in DSECOS_CACHE, by default ~/.cache/dsecos."""
    return Path(os.environ.get("DSECOS_CACHE", "~/.cache/dsecos")).expanduser() / "images"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="dsecos-images", description="Guest templates and OCI images from Debian packages"
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--cache", type=Path, default=default_cache(), help="store of finished builds (%(default)s)"
    )

    making = verbs.add_parser(
        "build", parents=[common], help="build what is missing, and lay it out in --output"
    )
    making.add_argument("--output", type=Path, required=True, help="where the result goes")
    making.add_argument("--refresh", action="store_true", help="build all anew, with the packages of today")

    pushing = verbs.add_parser("push", parents=[common], help="push the built images to a registry")
    pushing.add_argument("--registry", required=True, help="https://host:port")
    pushing.add_argument("--ca", type=Path, required=True, help="PEM file of the registry's authority")
    pushing.add_argument("--username", required=True)
    pushing.add_argument("--password-file", type=Path, required=True)

    pruning = verbs.add_parser("prune", parents=[common], help="remove builds that were not used for long")
    pruning.add_argument("--older-than", type=float, default=30, metavar="DAYS", help="(%(default)s)")

    listing = verbs.add_parser("packages", help="list the Debian packages that the host needs")
    listing.add_argument("--reasons", action="store_true", help="and why")
    return top


def main() -> None:
    """Run one verb; errors are told in one line and end with status 1."""
    options = parser().parse_args()
    try:
        run_verb(options)
    except ERRORS as error:
        say(f"dsecos-images: {error}")
        sys.exit(1)


def run_verb(options: argparse.Namespace) -> None:
    """Do what the command line says."""
    if options.verb == "packages":
        for name, reason in HOST_PACKAGES.items():
            sys.stdout.write(f"{name}\t{reason}\n" if options.reasons else f"{name}\n")
        return
    cache = Cache(options.cache)
    if options.verb == "build":
        build.build(cache, options.output.absolute(), refresh=options.refresh)
    elif options.verb == "push":
        password = options.password_file.read_text().rstrip("\n")
        publish.push_images(cache, options.registry, options.ca, options.username, password)
    else:
        for entry in build.prune(cache, options.older_than):
            say(f"  removed {entry}")
