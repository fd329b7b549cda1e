"""Options that several verbs have, and what they are resolved to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dsecos_cli.cluster import Cluster, connect
from dsecos_cli.settings import Settings
from dsecos_cli.terminal import Output

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        help="Kubeconfig file. Default: $KUBECONFIG, the embedded control plane's, ~/.kube/config.",
        show_default=False,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace. Default: the kubeconfig's.", show_default=False),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How the result is written.")]


def open_cluster(kubeconfig: Path | None) -> Cluster:
    """The cluster that the options and the environment name. Raises UnreachableError."""
    return connect(Settings(), kubeconfig)
