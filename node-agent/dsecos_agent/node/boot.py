"""What happens before, and without, the API server.

1. The rules that were last in force are put back where they are missing, so nothing is open for a moment.
2. If the API server does not answer soon, the node goes by what it knows: the zones' links are made, and the
   guests whose record says so are started. They lie on local storage; nobody else can have started them.
3. From the moment the cache is complete the controllers alone decide.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import groupby

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.model import GuestState
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.lives import Lives
from dsecos_agent.guests.record import Record, Records
from dsecos_agent.links.protocol import Links
from dsecos_agent.nodefirewall.enforcer import Enforcer

POLL = 0.1


class Boot:
    """Brings up what was last known."""

    def __init__(
        self,
        engine: Engine,
        links: Links,
        firewall: Enforcer,
        records: Records,
        lives: Lives,
        *,
        parallel: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """At most `parallel` guests are started at the same time."""
        self._engine = engine
        self._links = links
        self._firewall = firewall
        self._records = records
        self._lives = lives
        self._slots = asyncio.Semaphore(parallel)
        self._sleep = sleep

    async def protect(self) -> None:
        """Rules first. An error is logged: the controllers try again, and guests wait for their rules."""
        try:
            await self._firewall.restore(missing_only=True)
        except AdapterError as error:
            get_logger().error("last known rules not in force", error=str(error))

    async def run(
        self, answered: Callable[[], bool], patience: float, assume: Callable[[], Awaitable[None]]
    ) -> None:
        """Start guests as last known unless `answered` gets true within `patience` seconds; `assume` an
        engine where none is known.
        """
        if await self._answers(answered, patience):
            return
        if not self._records.names():
            return  # nothing is to be started
        get_logger().warning("the API server does not answer: guests are started as last known")
        try:
            await assume()
            await self._network()
        except AdapterError as error:
            get_logger().error("no guest is started without its network", error=str(error))
            return
        for _, names in groupby(sorted(self._records.names(), key=self._order), self._order):
            if answered():
                return
            started = await asyncio.gather(*(self._start(name) for name in names))
            delay = max((record.delay for record in started if record is not None), default=0)
            if await self._answers(answered, delay):
                return

    async def _answers(self, answered: Callable[[], bool], seconds: float) -> bool:
        deadline = asyncio.get_running_loop().time() + seconds
        while not answered():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await self._sleep(min(POLL, left))
        return True

    def _order(self, name: str) -> int:
        record = self._records.get(name)
        return 0 if record is None else record.order

    async def _network(self) -> None:
        await self._firewall.restore(missing_only=False)
        await self._links.ensure_forwarding()
        known = self._firewall.last_known
        if any(bridge.gateway6 is not None for bridge in known.bridges):
            await self._links.ensure_forwarding6()
        for bridge in known.bridges:
            await self._links.ensure_bridge(bridge)
        for transit in known.transits:
            try:
                await self._links.ensure_transit(transit)
            except AdapterError as error:
                get_logger().warning("no way to other nodes", link=transit.name, error=str(error))

    async def _start(self, name: str) -> Record | None:
        """Start one; its record if it was."""
        async with self._slots:
            record = self._records.get(name)
            protected = any(policy.name == name for policy in self._firewall.last_known.policy.guests)
            if record is None or not record.autostart:
                return None
            if not (record.adopted or (record.prepared and protected)):
                return None
            try:
                guest = await self._engine.get(name)
                if guest is None or guest.state is not GuestState.STOPPED:
                    return None
                if guest.owner_uid != record.owner_uid:
                    return None
                self._lives.started_at_boot(name, record.owner_uid)
                await self._engine.start(name, record.owner_uid)
                self._lives.up(name, record.owner_uid)
            except AdapterError as error:
                get_logger().warning("guest not started", guest=name, error=str(error))
                return None
            get_logger().info("guest started as last known", guest=name, order=record.order)
            return record
