"""The firewall's controller: one key, woken by every zone and guest, and by whoever changes our tables."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from dsecos_api import Guest, HostPolicy, ZoneAttachment
from dsecos_api.conditions import Reason
from dsecos_runtime import (
    GUEST,
    HOST_POLICY,
    NODE,
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
from dsecos_agent.firewall.changes import told
from dsecos_agent.firewall.model import Firewall
from dsecos_agent.nodefirewall.denied import DeniedPackets
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.nodefirewall.render import Conflict

KEY = Key("", "firewall")

COUNT_EVERY = 5.0
"""Seconds between two readings of the counters of denied packets."""


def _the_firewall(_: Guest | ZoneAttachment | HostPolicy) -> Iterable[Key]:
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
        node: str,
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
        self._node = Key("", node)
        self._namespace = namespace
        self._denied = DeniedPackets()
        self._tampered = True
        """The kernel's rules may be others than ours: compare."""
        self.inputs = (
            Input(GUEST, keys=_the_firewall, changed=ignoring_status),
            Input(ZONE_ATTACHMENT, keys=_the_firewall, changed=ignoring_status),
            Input(HOST_POLICY, keys=_the_firewall, changed=ignoring_status),
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
        self._tell_repairs()
        before, self._conflicts = self._conflicts, self._enforcer.conflicts
        for name in dict(before.items() ^ self._conflicts.items()):
            self._wake_guest(name)
        return None

    def _tell_repairs(self) -> None:
        repaired = self._enforcer.repaired()
        if not repaired:
            return
        text = f"the firewall's rules were changed and put back: {told(repaired)}"
        get_logger().warning("firewall repaired", changes=repaired)
        node = self._runtime.cache.get(NODE, self._node)
        if node is not None:
            self._runtime.events.warning(NODE, node, Reason.REPAIRED, text)

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
        events: Mapping[str, str] = {}
        try:
            self._denied.seen(await self._firewall.denied())
            if self._denied.look():
                events = self._denied.looked(await self._firewall.denied_peers())
            await self._firewall.remember()
        except AdapterError as error:
            get_logger().warning("denied packets not counted", error=str(error))
        for name, text in events.items():
            guest = self._runtime.cache.get(GUEST, Key(self._namespace, name))
            if guest is not None:
                self._runtime.events.warning(GUEST, guest, Reason.DENIED_PACKETS, text)
