"""Whatever happens to LXC guests, whoever is killed: what is declared exists once, and nothing else does."""

import subprocess
import sys

from tests.amount import amount

from .schedules.play import CHECKOUT


def test_schedules_end_as_declared() -> None:
    command = [sys.executable, "-m", "node-agent.tests.engines.schedules", "--engine", "lxc"]
    command += ["--count", str(amount(60, of_all=200))]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=800, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
