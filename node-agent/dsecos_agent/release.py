"""`python -m dsecos_agent.release`: give back the host's own containers, before an instance's data goes.

An agent that only stops keeps what was taken over: it goes on running, and is found again by its marks. For
that of Proxmox VE there is nothing to do here: its marks are there, not on this host.
"""

import asyncio
import sys
from collections.abc import Sequence

from dsecos_api.node import Engine as EngineSpec
from dsecos_api.node import EngineType

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.host import build_engine
from dsecos_agent.settings import AgentSettings


async def release_all(engine: Engine) -> tuple[Sequence[str], Sequence[str]]:
    """Release every adopted guest, whoever owns it. What was released, by its id in the engine, and why the
    rest was not.
    """
    released, failures = [], []
    for guest in await engine.list_guests():
        if not guest.adopted:
            continue
        try:
            await engine.release(guest.name, guest.owner_uid or "")
            released.append(guest.engine_id)
        except AdapterError as error:
            failures.append(f"{guest.engine_id}: {error}")
    return released, failures


async def _release(settings: AgentSettings) -> int:
    engine = build_engine(settings, EngineSpec(type=EngineType.LXC), "")
    try:
        released, failures = await release_all(engine)
    finally:
        await engine.close()
    sys.stdout.writelines(f"{name}\n" for name in released)
    sys.stderr.writelines(f"{failure}\n" for failure in failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_release(AgentSettings())))
