"""The ZoneAttachment controller: the zone's bridge, forwarding, and the rules that go with it.

It also listens to the kernel's links for everybody: whoever's bridge or port is not as it should be is woken.
"""

import asyncio
from collections.abc import Callable, Iterable

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.conditions import Reason
from dsecos_api.names import AGENT_FINALIZER
from dsecos_api.zoneattachment import ZoneAttachmentStatus
from dsecos_runtime import (
    GUEST,
    ZONE_ATTACHMENT,
    Conditions,
    Controller,
    Input,
    Key,
    Requeue,
    Runtime,
    Terminal,
    act_all,
    ignoring_status,
)

from dsecos_agent.adapter_errors import NotOursError
from dsecos_agent.guests.view import HostView
from dsecos_agent.links.protocol import Links
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_name, bridge_of
from dsecos_agent.zones.plan import Action, ApplyRules, MakeBridge, RemoveBridge, drifted, plan

DEBOUNCE = 0.02
"""Seconds: a guest's start changes several links, and one look serves them all."""

STILL_USED = 2.0
"""Seconds until another look whether a zone that is to go is still used."""


class ZoneController(Controller):
    """Converges each ZoneAttachment of this node."""

    name = "zone"
    outputs = (ZONE_ATTACHMENT,)
    workers = 2
    resync = 120.0

    def __init__(
        self,
        runtime: Runtime,
        *,
        links: Links,
        view: HostView,
        firewall: Enforcer,
        prefix: str,
        namespace: str,
        wake_guest: Callable[[str], None],
        port_of: Callable[[str], str | None],
        orphaned: Callable[[], Iterable[str]],
    ) -> None:
        """`wake_guest` is called with the name of a guest whose port is not as it should be, `port_of` tells
        a guest's port where it is known, `orphaned` names those that were left running without an object.
        """
        super().__init__()
        self._runtime = runtime
        self._links = links
        self._view = view
        self._firewall = firewall
        self._prefix = prefix
        self._namespace = namespace
        self._wake_guest = wake_guest
        self._port_of = port_of
        self._orphaned = orphaned
        self.inputs = (Input(ZONE_ATTACHMENT, changed=ignoring_status),)

    async def background(self) -> None:
        """Listen to the kernel's links."""
        changed = asyncio.Event()
        subscription = self._links.subscribe(changed.set)
        try:
            while True:
                await changed.wait()
                await asyncio.sleep(DEBOUNCE)
                changed.clear()
                await self._look_at_links()
        finally:
            subscription.close()

    async def _look_at_links(self) -> None:
        self._view.links.expire()
        links = await self._view.links.get()
        cache = self._runtime.cache
        attachments, guests = cache.list(ZONE_ATTACHMENT, self._namespace), cache.list(GUEST, self._namespace)
        zones, names = drifted(
            links.bridges, links.ports, attachments, guests, self._prefix, port_of=self._port_of
        )
        for zone in zones:
            self.wake(Key(self._namespace, zone))
        for name in (*names, *self._orphaned()):
            self._wake_guest(name)

    async def reconcile(self, key: Key) -> Requeue | None:
        """One zone."""
        attachment = self._runtime.cache.get(ZONE_ATTACHMENT, key)
        if attachment is None or (
            attachment.deleting and AGENT_FINALIZER not in attachment.metadata.finalizers
        ):
            return None
        if attachment.spec.paused:
            await self._tell(
                attachment, Reason.PAUSED, "spec.paused is true: the agent looks and changes nothing"
            )
            return None
        if attachment.deleting:
            return await self._remove(attachment)
        try:
            bridge = bridge_of(self._prefix, attachment)
        except UnsupportedZoneError as error:
            await self._tell(attachment, Reason.UNSUPPORTED, str(error))
            return None
        attachment = await self._runtime.cluster.add_finalizer(ZONE_ATTACHMENT, attachment, AGENT_FINALIZER)
        links = await self._view.links.get()
        try:
            await act_all(plan(bridge, links.bridges.get(bridge.name)), self._act)
        except NotOursError as error:
            await self._tell(attachment, Reason.NOT_OURS, str(error))
            raise Terminal(str(error)) from error
        await self._tell(attachment, Reason.IN_FORCE, "")
        return None

    async def _act(self, action: Action) -> None:
        match action:
            case MakeBridge(bridge=bridge):
                try:
                    await self._links.ensure_bridge(bridge)
                finally:
                    self._view.links.expire()
            case ApplyRules():
                await self._firewall.sync()
            case RemoveBridge(bridge=name, owner_uid=owner):
                try:
                    await self._links.remove_bridge(name, owner)
                finally:
                    self._view.links.expire()

    async def _remove(self, attachment: ZoneAttachment) -> Requeue | None:
        """A bridge goes when nobody is on it any more; one that is not ours stays."""
        owner = attachment.spec.zone_ref.uid
        name = bridge_name(self._prefix, owner)
        self._view.links.expire()
        bridge = (await self._view.links.get()).bridges.get(name)
        users = [guest.name for guest in self._guests(attachment)]
        if users or (bridge is not None and bridge.ports):
            await self._tell(attachment, Reason.IN_USE, "guests of the zone are still on this node")
            return Requeue(STILL_USED)
        if bridge is not None and bridge.owner_uid == owner:
            await act_all([RemoveBridge(name, owner)], self._act)
        await self._runtime.cluster.remove_finalizer(ZONE_ATTACHMENT, attachment, AGENT_FINALIZER)
        return None

    def _guests(self, attachment: ZoneAttachment) -> list[Guest]:
        guests = self._runtime.cache.list(GUEST, attachment.namespace)
        return [
            guest
            for guest in guests
            if guest.spec.network is not None and guest.spec.network.attachment == attachment.name
        ]

    async def _tell(self, attachment: ZoneAttachment, reason: Reason, message: str) -> None:
        conditions = Conditions(attachment.status, attachment.metadata.generation)
        if reason is Reason.IN_FORCE:
            conditions.ready(reason, message)
        elif reason is Reason.IN_USE:
            conditions.reconciling(reason, message)
        else:
            conditions.stalled(reason, message)
        told = ZoneAttachmentStatus(
            observed_generation=attachment.metadata.generation,
            conditions=conditions.build(),
            bridge=bridge_name(self._prefix, attachment.spec.zone_ref.uid)
            if reason is Reason.IN_FORCE
            else None,
        )
        await self._runtime.status.write(ZONE_ATTACHMENT, attachment, told)
