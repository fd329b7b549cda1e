"""The ZoneAttachment controller: the zone's bridge, its link to other nodes, the rules that go with them, and
its name server.

It also listens to the kernel's links for everybody: whoever's bridge or port is not as it should be is woken.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.conditions import Reason, Type
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
    get_logger,
    ignoring_status,
)

from dsecos_agent.adapter_errors import AdapterError, NotOursError, UnsupportedError
from dsecos_agent.guests.view import HostView, Shared
from dsecos_agent.links.protocol import Links, MtuError, ObservedTransit, UnderlayError
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.zones.inforce import InForce, Wishes
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_name, transit_name
from dsecos_agent.zones.plan import (
    Action,
    ApplyRules,
    MakeBridge,
    MakeTransit,
    RemoveBridge,
    RemoveTransit,
    Seen,
    Wanted,
    clash,
    lost_ports,
    plan,
    removal,
)
from dsecos_agent.zones.serving import Served, Serving

DEBOUNCE = 0.02
"""Seconds: a guest's start changes several links, and one look serves them all."""

RETRY = 1.0
"""Seconds until another look at links that the kernel would not tell."""

STILL_USED = 2.0
"""Seconds until another look whether a zone that is to go is still used."""

CLASHES = 30.0
"""Seconds until another look whether a zone's network is free on this host."""

UNDERLAY = 30.0
"""Seconds until another try where the host's own network does not bear a zone's link."""


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
        serving: Serving,
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
        self._serving = serving
        self._prefix = prefix
        self._namespace = namespace
        self._wake_guest = wake_guest
        self._port_of = port_of
        self._orphaned = orphaned
        self._transits: Shared[Mapping[str, ObservedTransit]] = Shared(self._read_transits)
        self._wishes = Wishes(prefix)
        self._in_force = InForce()
        self.inputs = (Input(ZONE_ATTACHMENT, changed=ignoring_status),)

    async def background(self) -> None:
        """Listen to the kernel's links, and to the end of name servers."""
        changed = asyncio.Event()
        subscription = self._links.subscribe(changed.set, self._transits.expire)
        unsubscribe = self._serving.subscribe(self._wake_by_bridge)
        try:
            while True:
                await changed.wait()
                await asyncio.sleep(DEBOUNCE)
                changed.clear()
                try:
                    await self._look_at_links()
                except AdapterError as error:
                    get_logger().warning("links not looked at", error=str(error))
                    await asyncio.sleep(RETRY)
                    changed.set()
        finally:
            unsubscribe()
            subscription.close()

    async def seed(self) -> Iterable[Key]:
        """Every key is an input's. What is left of zones that went while nobody looked is ended here."""
        await self._serving.sweep(lambda: self._runtime.cache.list(ZONE_ATTACHMENT, self._namespace))
        return ()

    def _wake_by_bridge(self, bridge: str) -> None:
        for attachment in self._runtime.cache.list(ZONE_ATTACHMENT, self._namespace):
            if bridge_name(self._prefix, attachment.spec.zone_ref.uid) == bridge:
                self.wake(Key(self._namespace, attachment.name))

    async def _look_at_links(self) -> None:
        turn = self._in_force.turn
        self._view.links.expire()
        links, transits = await self._view.links.get(), await self._transits.get()
        cache = self._runtime.cache
        attachments = cache.list(ZONE_ATTACHMENT, self._namespace)
        wanted = self._wishes.supported(attachments)
        paused = {each.name for each in attachments if each.spec.paused}
        for zone, wish in wanted.items():
            if zone in paused:
                continue
            found = Seen(
                links.bridges.get(wish.bridge.name),
                transits.get(transit_name(self._prefix, wish.bridge.owner_uid)),
            )
            if self._in_force.drifted(zone, wish, found, turn):
                self.wake(Key(self._namespace, zone))
        guests = cache.list(GUEST, self._namespace)
        for name in (*lost_ports(wanted, links.ports, guests, port_of=self._port_of), *self._orphaned()):
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
            wanted = self._wishes.of(attachment)
        except UnsupportedZoneError as error:
            await self._tell(attachment, Reason.UNSUPPORTED, str(error))
            return None
        attachment = await self._runtime.cluster.add_finalizer(ZONE_ATTACHMENT, attachment, AGENT_FINALIZER)
        return await self._converge(attachment, wanted)

    async def _converge(self, attachment: ZoneAttachment, wanted: Wanted) -> Requeue | None:
        if wanted.bridge.gateway6 is not None:
            await self._links.ensure_forwarding6()
        seen = await self._seen(attachment)
        if seen.bridge is None and (taken := clash(wanted.bridge, await self._links.host_networks())):
            text = f"{taken}; give the zone another network"
            await self._tell(attachment, Reason.CIDR_OVERLAPS, text)
            return Requeue(CLASHES)
        self._in_force.begin(attachment.name, wanted, seen)
        hindrance = await self._put_right(attachment, plan(wanted, seen))
        repaired = [] if hindrance else [self._in_force.done(attachment.name, wanted)]
        served = await self._serving.serve(attachment, wanted.bridge)
        if served is not None:
            repaired.append(served.repaired)
        if words := "; ".join(filter(None, repaired)):
            self._runtime.events.warning(ZONE_ATTACHMENT, attachment, Reason.REPAIRED, words)
        if hindrance is not None:
            await self._tell(attachment, _reason(hindrance), str(hindrance), served=served)
            return Requeue(UNDERLAY)
        await self._tell(attachment, Reason.IN_FORCE, "", transit=wanted.transit is not None, served=served)
        return None if served is None or served.again is None else Requeue(served.again)

    async def _put_right(
        self, attachment: ZoneAttachment, actions: Iterable[Action]
    ) -> UnderlayError | UnsupportedError | None:
        """What keeps the zone's link to other nodes from being as it should; its guests here need none."""
        try:
            await act_all(actions, self._act)
        except NotOursError as error:
            await self._tell(attachment, Reason.NOT_OURS, str(error))
            raise Terminal(str(error)) from error
        except (UnderlayError, UnsupportedError) as error:
            return error
        return None

    async def _act(self, action: Action) -> None:
        links, bridges, transits = self._links, self._view.links, self._transits
        match action:
            case ApplyRules():
                await self._firewall.sync()
            case MakeBridge(bridge=wanted):
                await bridges.changing(links.ensure_bridge(wanted))
            case RemoveBridge(bridge=name, owner_uid=owner):
                await bridges.changing(links.remove_bridge(name, owner))
            case MakeTransit(transit=transit):
                await transits.changing(links.ensure_transit(transit))
            case RemoveTransit(transit=name, owner_uid=owner):
                await transits.changing(links.remove_transit(name, owner))

    async def _seen(self, attachment: ZoneAttachment) -> Seen:
        owner = attachment.spec.zone_ref.uid
        links, transits = await self._view.links.get(), await self._transits.get()
        return Seen(
            links.bridges.get(bridge_name(self._prefix, owner)),
            transits.get(transit_name(self._prefix, owner)),
        )

    async def _read_transits(self) -> Mapping[str, ObservedTransit]:
        return {each.name: each for each in await self._links.list_transits()}

    async def _remove(self, attachment: ZoneAttachment) -> Requeue | None:
        """A zone goes when nobody is on its bridge any more; links that are not ours stay."""
        self._in_force.forget(attachment.name)
        self._view.links.expire()
        seen = await self._seen(attachment)
        users = [guest.name for guest in self._guests(attachment)]
        if users or (seen.bridge is not None and seen.bridge.ports):
            await self._tell(attachment, Reason.IN_USE, "guests of the zone are still on this node")
            return Requeue(STILL_USED)
        await self._serving.end(attachment.spec.zone_ref.uid)
        await act_all(removal(attachment.spec.zone_ref.uid, seen), self._act)
        await self._runtime.cluster.remove_finalizer(ZONE_ATTACHMENT, attachment, AGENT_FINALIZER)
        return None

    def _guests(self, attachment: ZoneAttachment) -> list[Guest]:
        guests = self._runtime.cache.list(GUEST, attachment.namespace)
        return [
            guest
            for guest in guests
            if guest.spec.network is not None and guest.spec.network.attachment == attachment.name
        ]

    async def _tell(
        self,
        attachment: ZoneAttachment,
        reason: Reason,
        message: str,
        *,
        transit: bool = False,
        served: Served | None = None,
    ) -> None:
        conditions = Conditions(attachment.status, attachment.metadata.generation)
        if served is not None:
            failed = served.reason is not Reason.IN_FORCE
            conditions.set(Type.NAMES_SERVED, not failed, served.reason, served.message)
        if reason is Reason.IN_FORCE:
            conditions.ready(reason, message)
        elif reason is Reason.IN_USE:
            conditions.reconciling(reason, message)
        else:
            conditions.stalled(reason, message)
        owner = attachment.spec.zone_ref.uid
        told = ZoneAttachmentStatus(
            observed_generation=attachment.metadata.generation,
            conditions=conditions.build(),
            bridge=bridge_name(self._prefix, owner) if reason is Reason.IN_FORCE else None,
            transit=transit_name(self._prefix, owner) if transit else None,
        )
        await self._runtime.status.write(ZONE_ATTACHMENT, attachment, told)


def _reason(error: UnderlayError | UnsupportedError) -> Reason:
    if isinstance(error, UnsupportedError):
        return Reason.NODE_INCAPABLE
    return Reason.MTU_TOO_SMALL if isinstance(error, MtuError) else Reason.FAILED
