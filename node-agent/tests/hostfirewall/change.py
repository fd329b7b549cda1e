"""A change as an agent makes it, and what is left of it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from dsecos_agent.hostfirewall.probe import HostProbe
from dsecos_api.hostpolicy import HostFirewall, HostPolicySpec, Uplink

AGENT = Path(__file__).with_name("agent.py")
SERVICE = "10.96.0.1"
"""The kubeconfig's address of the API server: as with kube-proxy, another table of the node translates it."""
PORT = 6443


def nft(commands: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=commands.replace("; add", "\nadd"), text=True, check=True)


def undoes(folder: Path) -> list[psutil.Process]:
    """The undo processes that live."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "dsecos_agent.hostfirewall.undo" in (process.info["cmdline"] or ())
        and str(folder / "host-firewall.lock") in process.info["cmdline"]
    ]


def start(
    folder: Path,
    kubeconfig: Path,
    wanted: HostFirewall | None,
    seconds: float,
    uplinks: Sequence[Uplink] = (),
    **env: str,
) -> Any:
    spec = HostPolicySpec(firewall=wanted, uplinks=list(uplinks))
    (folder / "wanted.json").write_text(spec.model_dump_json(by_alias=True))
    return subprocess.Popen(
        [sys.executable, str(AGENT), str(folder), str(kubeconfig), str(seconds)],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        text=True,
    )


async def connects(probe: HostProbe) -> bool:
    return (await probe.look()).api is None
