"""The operator's process."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dsecos_runtime import Controller, Runtime, RuntimeSettings, read_settings, run

from dsecos_operator.hostpolicies.controller import HostPolicyController
from dsecos_operator.license.controller import LicenseController
from dsecos_operator.nodes.controller import NodeController
from dsecos_operator.placeholders.controller import BackupPlaceholder
from dsecos_operator.rendering import Renderer, Worker
from dsecos_operator.settings import OperatorSettings
from dsecos_operator.stacks.controller import StackController
from dsecos_operator.zones.controller import ZoneController

LEASE = "dsecos-operator"
"""Who holds it in dsecos-system acts; others stand by with a warm cache."""
PROGRESS_SECONDS = 30.0
"""Least seconds between two progress writes of one object: a deployment on a node that holds its images takes
ten.
"""


def runtime_settings(settings: OperatorSettings) -> RuntimeSettings:
    """How the operator's process runs."""
    return RuntimeSettings(
        name="dsecos-operator",
        clusterwide=True,
        lease=LEASE,
        metrics_port=settings.operator_metrics_port,
        progress_interval=PROGRESS_SECONDS,
    )


async def build(runtime: Runtime, settings: OperatorSettings) -> Sequence[Controller]:
    """The controllers, put together."""
    renderer = Renderer(Worker(settings.compose_program, settings.renderer_confinement))
    return [
        LicenseController(runtime),
        BackupPlaceholder(runtime),
        NodeController(runtime, settings.rules()),
        ZoneController(runtime, settings.zone_networks, settings.vlan_ids),
        StackController(runtime, settings, renderer),
        HostPolicyController(runtime, settings.host_firewall_max_unavailable),
    ]


def main() -> None:
    """Run until SIGTERM; the exit code is the runtime's."""
    settings = read_settings(OperatorSettings)
    ours = read_settings(lambda: runtime_settings(settings))
    sys.exit(run(ours, lambda runtime: build(runtime, settings)))
