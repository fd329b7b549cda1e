"""A part as a process of its own: signals, exit codes, logs, metrics."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from dsecos_control_plane.testing import ControlPlane
from dsecos_runtime import LEASE, Cluster
from dsecos_runtime.testing import Gateway

from tests.patience import async_until

PART = """
import sys
from dsecos_runtime import CONFIG_MAP, Controller, Input, Runtime, RuntimeSettings, get_logger, run

class Echo(Controller):
    name = "echo"
    inputs = (Input(CONFIG_MAP),)
    async def reconcile(self, key):
        get_logger().info("looked")

async def build(runtime):
    return [Echo()]

sys.exit(run(RuntimeSettings(name="part"), build))
"""


def begin(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as errors:
        return subprocess.Popen([sys.executable, "-c", PART], env=environment, stderr=errors)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read().decode())


async def test_a_part_serves_metrics_logs_json_and_stops_at_sigterm(
    control_plane: ControlPlane, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    environment = {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "DSECOS_NAMESPACES": json.dumps([namespace]),
        "DSECOS_LEASE": "part",
        "DSECOS_LEASE_NAMESPACE": namespace,
        "DSECOS_METRICS_PORT": str(port),
    }
    part = begin(environment, log)
    await async_until(lambda: part.poll() is not None or '"looked"' in log.read_text())
    assert part.poll() is None, log.read_text()

    found = await asyncio.to_thread(read, port)
    assert "dsecos_leader 1.0" in found
    assert 'dsecos_reconcile_total{controller="echo",result="done"}' in found
    assert 'dsecos_cache_objects{kind="ConfigMap"} 1.0' in found
    line = next(json.loads(line) for line in log.read_text().splitlines() if '"looked"' in line)
    assert {"component": "part", "controller": "echo", "namespace": namespace}.items() <= line.items()
    assert line["name"] == "kube-root-ca.crt"

    os.kill(part.pid, signal.SIGTERM)
    assert await asyncio.to_thread(part.wait, 10) == 0
    assert (await cluster.get(LEASE, "part", namespace))["spec"]["holderIdentity"] == ""


async def test_a_stop_is_heard_while_waiting_for_the_api_server(tmp_path: Path, gateway: Gateway) -> None:
    kubeconfig = gateway.kubeconfig
    await gateway.cut()
    log = tmp_path / "log"
    part = begin({"KUBECONFIG": str(kubeconfig)}, log)
    await async_until(lambda: "waiting for the API server" in log.read_text())
    os.kill(part.pid, signal.SIGTERM)
    assert await asyncio.to_thread(part.wait, 10) == 0
