"""Whatever a Proxmox VE and its people do, whoever is killed: nothing is lost and nothing is done twice."""

import subprocess
import sys

from tests.amount import amount

from .schedules.play import CHECKOUT


def test_schedules_end_as_declared() -> None:
    command = [sys.executable, "-m", "node-agent.tests.engines.schedules", "--engine", "proxmox"]
    command += ["--count", str(amount(60, of_all=200))]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=800, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
