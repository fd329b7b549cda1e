"""The firewall's controller: one key, woken by every zone and guest, and by whoever changes our tables."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.conditions import Reason
from dsecos_runtime import (
    GUEST,
    ZONE_ATTACHMENT,
    Controller,
    Input,
    Key,
    Requeue,
    Runtime,
    fault_point,
    get_logger,
    ignoring_status,
)

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.firewall.model import Firewall
from dsecos_agent.nodefirewall.denied import DeniedPackets
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.nodefirewall.render import Conflict

KEY = Key("", "firewall")

COUNT_EVERY = 5.0
"""Seconds between two readings of the counters of denied packets."""


def _the_firewall(_: Guest | ZoneAttachment) -> Iterable[Key]:
    return (KEY,)


class FirewallController(Controller):
    """Keeps the rules in force."""

    name = "firewall"
    workers = 1
    resync = 30.0

    def __init__(
        self,
        runtime: Runtime,
        firewall: Firewall,
        enforcer: Enforcer,
        *,
        namespace: str,
        wake_guest: Callable[[str], None],
    ) -> None:
        """`wake_guest` is called with the name of a guest that has got, or lost, what it asks for."""
        super().__init__()
        self._wake_guest = wake_guest
        self._conflicts: Mapping[str, Conflict] = {}
        self._runtime = runtime
        self._firewall = firewall
        self._enforcer = enforcer
        self._namespace = namespace
        self._denied = DeniedPackets()
        self._tampered = True
        """The kernel's rules may be others than ours: compare."""
        self.inputs = (
            Input(GUEST, keys=_the_firewall, changed=ignoring_status),
            Input(ZONE_ATTACHMENT, keys=_the_firewall, changed=ignoring_status),
        )

    async def seed(self) -> Iterable[Key]:
        """The one key; each resync compares with the kernel."""
        self._tampered = True
        return (KEY,)

    async def reconcile(self, _: Key) -> Requeue | None:
        """Put into force what is wanted."""
        verify, self._tampered = self._tampered, False
        try:
            if await self._enforcer.sync(verify=verify):
                fault_point("firewall-apply")
        except BaseException:
            self._tampered = True
            raise
        before, self._conflicts = self._conflicts, self._enforcer.conflicts
        for name in dict(before.items() ^ self._conflicts.items()):
            self._wake_guest(name)
        return None

    async def background(self) -> None:
        """Listen for changes by others, and read the counters."""
        subscription = self._firewall.subscribe(self._changed_by_others)
        try:
            while True:
                await asyncio.sleep(COUNT_EVERY)
                await self._count()
        finally:
            subscription.close()

    def _changed_by_others(self) -> None:
        self._tampered = True
        self.wake(KEY)

    async def _count(self) -> None:
        try:
            counters = await self._firewall.denied()
        except AdapterError as error:
            get_logger().warning("denied packets not counted", error=str(error))
            return
        for name, message in self._denied.seen(counters):
            guest = self._runtime.cache.get(GUEST, Key(self._namespace, name))
            if guest is not None:
                self._runtime.events.warning(GUEST, guest, Reason.DENIED_PACKETS, message)
