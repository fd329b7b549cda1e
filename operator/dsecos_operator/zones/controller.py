"""NetworkZone: the controller. It alone writes ZoneAttachments, and gives out ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from dsecos_api import NetworkZone, ZoneAttachment
from dsecos_api.names import OPERATOR_FINALIZER
from dsecos_api.peering import spans_nodes
from dsecos_runtime import (
    NETWORK_ZONE,
    ZONE_ATTACHMENT,
    Controller,
    Key,
    NotFound,
    Requeue,
    Runtime,
    act_all,
)

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.zones import plan
from dsecos_operator.zones.claiming import Claiming
from dsecos_operator.zones.ids import IdRange
from dsecos_operator.zones.network import Verdict, judge
from dsecos_operator.zones.observe import Observed, observe
from dsecos_operator.zones.status import status
from dsecos_operator.zones.wakeups import WakeUps


class ZoneController(Controller):
    """Judges zones and attaches them to the nodes that need them."""

    name = "zone"
    outputs = (ZONE_ATTACHMENT,)

    def __init__(
        self, runtime: Runtime, allowed: Sequence[IPv4Network | IPv6Network], vlan_ids: IdRange
    ) -> None:
        """`allowed`: networks that zones may take theirs from. `vlan_ids`: 802.1Q ids that they can have."""
        super().__init__()
        self._runtime = runtime
        self._allowed = allowed
        self._claiming = Claiming(runtime, vlan_ids)
        self.inputs = WakeUps(runtime.cache).inputs()

    async def reconcile(self, key: Key) -> Requeue | None:
        """Bring the zone's attachments to what its users need, and tell."""
        observed, verdict = await self._judged(key)
        zone = observed.zone
        actions = plan.plan(observed, verdict)
        if zone is not None and zone.spec.paused and not zone.deleting:
            waiting = len(actions)
        else:
            waiting = 0
            await act_all(actions, lambda action: self._act(observed, action))
        if zone is None or any(isinstance(action, plan.RemoveFinalizer) for action in actions):
            return None
        now = observe(self._runtime.cache, key)
        if now.zone is not None:
            self._tell(now.zone, verdict.problem or verdict.hindrance)
            await self._runtime.status.write(NETWORK_ZONE, now.zone, status(now.zone, now, verdict, waiting))
        return None

    async def _judged(self, key: Key) -> tuple[Observed, Verdict]:
        """What is there, and what it comes to. A zone that needs an id has one afterwards."""
        observed = observe(self._runtime.cache, key)
        verdict, zone = judge(observed, self._allowed), observed.zone
        if zone is None or verdict.problem is not None or observed.number is not None:
            return observed, verdict
        if not spans_nodes(zone) or zone.deleting:
            return observed, verdict
        try:
            await self._claiming.claim(
                zone, lambda number: status(zone, replace(observed, number=number), verdict, 0)
            )
        except Refused as refused:
            return observed, Verdict(problem=refused)
        observed = observe(self._runtime.cache, key)
        return observed, judge(observed, self._allowed)

    async def _act(self, observed: Observed, action: plan.Action) -> None:
        cluster, zone = self._runtime.cluster, observed.zone
        match action:
            case plan.AddFinalizer() if zone is not None:
                await cluster.add_finalizer(NETWORK_ZONE, zone, OPERATOR_FINALIZER)
            case plan.RemoveFinalizer() if zone is not None:
                await cluster.remove_finalizer(NETWORK_ZONE, zone, OPERATOR_FINALIZER)
            case plan.ApplyAttachment(attachment):
                await cluster.apply(ZONE_ATTACHMENT, attachment)
            case plan.DeleteAttachment(attachment):
                await delete(self._runtime, attachment)

    def _tell(self, zone: NetworkZone, refused: Refused | None) -> None:
        if refused is None:
            return
        old = next((each for each in zone.status.conditions if each.type == "Ready"), None)
        if old is None or (old.reason, old.message) != (refused.reason, refused.message):
            self._runtime.events.warning(NETWORK_ZONE, zone, refused.reason, refused.message)


async def delete(runtime: Runtime, attachment: ZoneAttachment) -> None:
    """Delete this very attachment; it may be gone already."""
    try:
        await runtime.cluster.delete(
            ZONE_ATTACHMENT, attachment.name, attachment.namespace, uid=attachment.uid
        )
    except NotFound:
        return
