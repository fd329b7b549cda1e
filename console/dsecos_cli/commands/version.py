"""`dsecos version`: which version this is, and which API server it finds."""

from __future__ import annotations

from importlib.metadata import version as package_version

import dsecos_api

from dsecos_cli.context import Kubeconfig, OutputOption, open_cluster
from dsecos_cli.errors import UnreachableError
from dsecos_cli.terminal import Output, print_structured, stdout, styled


def version(output: OutputOption = Output.TABLE, kubeconfig: Kubeconfig = None) -> None:
    """Show the versions of this command, of the API it speaks, and of the API server."""
    found = {"dsecos": package_version("dsecos-cli"), "api": dsecos_api.API_VERSION, "server": ""}
    try:
        found["server"] = open_cluster(kubeconfig).version()
    except UnreachableError as error:
        found["server"] = f"not reached ({error.message})"
    if output.structured:
        print_structured(found, output)
        return
    for name, value in found.items():
        stdout().print(styled(f"{name:<7} {value}"))
