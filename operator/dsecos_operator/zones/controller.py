"""NetworkZone: the controller. It alone writes ZoneAttachments."""

from __future__ import annotations

from collections.abc import Iterable

from dsecos_api import Guest, NetworkZone, Stack, ZoneAttachment
from dsecos_api.names import LABEL_ZONE, LABEL_ZONE_NAMESPACE, OPERATOR_FINALIZER
from dsecos_runtime import (
    GUEST,
    NETWORK_ZONE,
    STACK,
    ZONE_ATTACHMENT,
    Controller,
    Input,
    Key,
    NotFound,
    Requeue,
    Runtime,
    act_all,
    ignoring_status,
)

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.zones import check, plan, status
from dsecos_operator.zones.observe import Observed, observe


class ZoneController(Controller):
    """Judges zones and attaches them to the nodes that need them."""

    name = "zone"
    outputs = (ZONE_ATTACHMENT,)

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime
        self.inputs = (
            Input(NETWORK_ZONE, keys=self._with_overlapping, changed=ignoring_status),
            Input(STACK, keys=_zone_of_stack, changed=_place_changed),
            Input(GUEST, keys=_zone_of_guest, changed=ignoring_status),
            Input(ZONE_ATTACHMENT, keys=_zone_of_attachment),
        )

    async def reconcile(self, key: Key) -> Requeue | None:
        """Bring the zone's attachments to what its users need, and tell."""
        observed = observe(self._runtime.cache, key)
        zone = observed.zone
        gateway, problem = _judge(observed)
        actions = plan.plan(observed, gateway)
        if zone is not None and zone.spec.paused and not zone.deleting:
            waiting = len(actions)
        else:
            waiting = 0
            await act_all(actions, lambda action: self._act(observed, action))
        if zone is None or any(isinstance(action, plan.RemoveFinalizer) for action in actions):
            return None
        now = observe(self._runtime.cache, key)
        if now.zone is not None:
            new = status.status(now.zone, now, gateway, problem, waiting)
            if problem is not None:
                self._tell(now.zone, problem)
            await self._runtime.status.write(NETWORK_ZONE, now.zone, new)
        return None

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

    def _tell(self, zone: NetworkZone, problem: Refused) -> None:
        old = next((each for each in zone.status.conditions if each.type == "Ready"), None)
        if old is None or (old.reason, old.message) != (problem.reason, problem.message):
            self._runtime.events.warning(NETWORK_ZONE, zone, problem.reason, problem.message)

    def _with_overlapping(self, zone: NetworkZone) -> Iterable[Key]:
        """The zone itself, and those that may have waited for its network."""
        yield Key.of(zone)
        for other in self._runtime.cache.list(NETWORK_ZONE):
            if other.uid != zone.uid and check.overlap(zone, other):
                yield Key.of(other)


async def delete(runtime: Runtime, attachment: ZoneAttachment) -> None:
    """Delete this very attachment; it may be gone already."""
    try:
        await runtime.cluster.delete(
            ZONE_ATTACHMENT, attachment.name, attachment.namespace, uid=attachment.uid
        )
    except NotFound:
        return


def _judge(observed: Observed) -> tuple[str | None, Refused | None]:
    if observed.zone is None:
        return None, None
    try:
        return check.check(observed.zone, observed.others), None
    except Refused as refused:
        return None, refused


def _zone_of_stack(stack: Stack) -> Iterable[Key]:
    return () if stack.spec.zone is None else (Key(stack.namespace, stack.spec.zone),)


def _place_changed(old: Stack | None, new: Stack) -> bool:
    return old is None or _place(old) != _place(new)


def _place(stack: Stack) -> tuple[object, ...]:
    status = stack.status
    return stack.spec.zone, status.node, status.moving_to, status.address, stack.deleting


def _zone_of_guest(guest: Guest) -> Iterable[Key]:
    labels = guest.metadata.labels
    namespace, name = labels.get(LABEL_ZONE_NAMESPACE), labels.get(LABEL_ZONE)
    return (Key(namespace, name),) if namespace and name else ()


def _zone_of_attachment(attachment: ZoneAttachment) -> Iterable[Key]:
    ref = attachment.spec.zone_ref
    return (Key(ref.namespace, ref.name),)
