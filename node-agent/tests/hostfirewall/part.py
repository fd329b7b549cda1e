"""The agent's part that is about the node's own firewall, as a process: `python part.py FOLDER NAMESPACE`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import INSTANCE, PREFIX, keeper  # beside this file
from dsecos_agent.hostfirewall.controller import HostFirewallController
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_runtime import Controller, Runtime, RuntimeSettings, run_async
from dsecos_runtime.logs import configure


async def main(folder: Path, namespace: str) -> int:
    configure("agent", "INFO")
    kept = keeper(folder)
    await kept.recover()

    async def build(runtime: Runtime) -> Sequence[Controller]:
        table = HostTable(INSTANCE, folder / "applied.json")
        return [
            HostFirewallController(
                runtime, kept, table, namespace=namespace, instance=INSTANCE, link_prefix=PREFIX
            )
        ]

    settings = RuntimeSettings(name="agent", namespaces=[namespace], rotate_token=False)
    return await run_async(settings, build)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), sys.argv[2])))
