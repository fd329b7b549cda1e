"""What happens before, and without, the API server.

1. The rules that were last in force are put back where they are missing, so nothing is open for a moment.
2. If the API server does not answer soon, the node goes by what it knows: bridges are made, and the guests
whose record
   says so are started. They lie on local storage; nobody else can have started them.
3. From the moment the cache is complete the controllers alone decide.
"""

import asyncio
from collections.abc import Callable

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.model import GuestState
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.record import Records
from dsecos_agent.links.protocol import Links
from dsecos_agent.nodefirewall.enforcer import Enforcer

POLL = 0.1


class Boot:
    """Brings up what was last known."""

    def __init__(self, engine: Engine, links: Links, firewall: Enforcer, records: Records) -> None:
        self._engine = engine
        self._links = links
        self._firewall = firewall
        self._records = records

    async def protect(self) -> None:
        """Rules first. An error is logged: the controllers try again, and guests wait for their rules."""
        try:
            await self._firewall.restore(missing_only=True)
        except AdapterError as error:
            get_logger().error("last known rules not in force", error=str(error))

    async def run(self, answered: Callable[[], bool], patience: float) -> None:
        """Start guests as last known unless `answered` gets true within `patience` seconds."""
        deadline = asyncio.get_running_loop().time() + patience
        while asyncio.get_running_loop().time() < deadline:
            if answered():
                return
            await asyncio.sleep(POLL)
        get_logger().warning("the API server does not answer: guests are started as last known")
        try:
            await self._network()
        except AdapterError as error:
            get_logger().error("no guest is started without its network", error=str(error))
            return
        for name in self._records.names():
            if answered():
                return
            await self._start(name)

    async def _network(self) -> None:
        await self._firewall.restore(missing_only=False)
        await self._links.ensure_forwarding()
        for bridge in self._firewall.last_known.bridges:
            await self._links.ensure_bridge(bridge)

    async def _start(self, name: str) -> None:
        record = self._records.get(name)
        guest = await self._engine.get(name)
        protected = any(policy.name == name for policy in self._firewall.last_known.policy.guests)
        if record is None or guest is None or guest.state is not GuestState.STOPPED:
            return
        if not (record.autostart and record.prepared and protected) or guest.owner_uid != record.owner_uid:
            return
        try:
            self._records.update(name, record.owner_uid, started=True)
            await self._engine.start(name, record.owner_uid)
            get_logger().info("guest started as last known", guest=name)
        except AdapterError as error:
            get_logger().warning("guest not started", guest=name, error=str(error))
