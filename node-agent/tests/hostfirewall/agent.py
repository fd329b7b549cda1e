"""A process that makes one change, as the agent does, with a real API server's address in a real kubeconfig.

`python agent.py FOLDER KUBECONFIG SECONDS`: the change is the file `wanted.json` of the folder. Says `done`
and why it was undone. Its fault points are the agent's (DSECOS_FAULT_POINT); with DSECOS_TEST_HANG it hangs
while the change is in force, alive but mute.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from dsecos_agent.hostfirewall.keeper import Keeper
from dsecos_agent.hostfirewall.model import rules_of
from dsecos_agent.hostfirewall.probe import HostProbe, Reach
from dsecos_agent.hostfirewall.render import render
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_api.hostpolicy import HostFirewall, HostPolicySpec
from dsecos_runtime import Credentials

INSTANCE, PREFIX = "dthf", "dt"


class HangingProbe:
    """Looks, but the second time it stops this whole process."""

    def __init__(self, probe: HostProbe) -> None:
        self._probe = probe
        self._looks = 0

    async def look(self) -> Reach:
        self._looks += 1
        if self._looks == 2:
            print("hangs", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return await self._probe.look()


def keeper(folder: Path, seconds: float = 30) -> Keeper:
    return Keeper(
        HostTable(INSTANCE, folder / "applied.json"), instance=INSTANCE, folder=folder, seconds=seconds
    )


def text(firewall: HostFirewall) -> str:
    return render(rules_of(firewall, [], api_port=None), INSTANCE, PREFIX)


async def main(folder: Path, kubeconfig: Path, seconds: float) -> None:
    wanted = HostPolicySpec.model_validate_json((folder / "wanted.json").read_text())
    rules = None if wanted.firewall is None else text(wanted.firewall)
    probe = HostProbe(Credentials(kubeconfig))
    hanging = HangingProbe(probe) if "DSECOS_TEST_HANG" in os.environ else probe
    problem = await keeper(folder, seconds).change(wanted.firewall, rules, hanging, wanted.uplinks)
    print(f"done {problem}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
