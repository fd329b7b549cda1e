"""Node: registers servers, watches their agents' heartbeat, and takes them out when nothing is on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from dsecos_api import Condition, ConditionStatus, Guest, Node, Reason, Stack, Type, ZoneAttachment
from dsecos_api.names import AGENT_LEASE, LABEL_NODE, OPERATOR_FINALIZER, node_namespace
from dsecos_api.node import DrainStatus
from dsecos_runtime import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    GUEST,
    LEASE,
    NAMESPACE,
    NETWORK_ZONE,
    NODE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    STACK,
    ZONE_ATTACHMENT,
    Controller,
    Input,
    Key,
    NotFound,
    Object,
    Requeue,
    Runtime,
    act_all,
    utcnow,
)

from dsecos_operator.kinds import SECRET_STAMP, Stamp, node_of
from dsecos_operator.maintenance import report, view
from dsecos_operator.maintenance.report import Outcome
from dsecos_operator.nodes import heartbeat, status
from dsecos_operator.nodes.plan import Action, AddFinalizer, Apply, Observed, Remove, RemoveFinalizer, plan
from dsecos_operator.nodes.registration import node_role
from dsecos_operator.scheduling import Rules
from dsecos_operator.stacks.occupancy import occupants
from dsecos_operator.stacks.wakeups import upkeep_changed

LOOK_AGAIN = 10.0
"""Seconds between two looks at a node whose agent is not there, or whose namespace is going away."""
MANAGED = f"{LABEL_NODE}"
"""Selector of what nodes are registered with."""


class NodeController(Controller):
    """Makes what an agent needs in the API, and says whether it is alive."""

    name = "node"
    outputs = (NAMESPACE, SERVICE_ACCOUNT, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, SECRET_STAMP)

    def __init__(self, runtime: Runtime, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._runtime = runtime
        self._rules = rules
        self._clock = clock
        self._seen: dict[Key, heartbeat.Seen] = {}
        self.inputs = (
            Input(NODE, changed=_worth_a_look),
            Input(
                LEASE, keys=_node_of_lease, changed=_promise_changed, fields=f"metadata.name={AGENT_LEASE}"
            ),
            Input(GUEST, keys=_node_of_object, changed=_is_new),
            Input(GUEST, keys=self._draining, changed=upkeep_changed),
            Input(STACK, keys=self._left_or_reached, changed=_place_changed),
            Input(ZONE_ATTACHMENT, keys=_node_of_object, changed=_is_new),
            *(
                Input(resource, keys=_node_of_label, labels=MANAGED, changed=_essence_changed)
                for resource in (NAMESPACE, SERVICE_ACCOUNT, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING)
            ),
            Input(SECRET_STAMP, keys=_node_of_stamp, changed=lambda old, _: old is None),
        )

    async def reconcile(self, key: Key) -> Requeue | None:
        """Register or remove the node, and judge its heartbeat."""
        observed = self._observe(key)
        if observed is None:
            self._seen.pop(key, None)
            return None
        if observed.node.deleting:
            observed = await self._confirmed(observed)
        actions = plan(observed)
        if not observed.node.spec.paused or observed.node.deleting:
            await act_all(actions, lambda action: self._act(observed.node, action))
        node = self._runtime.cache.get(NODE, key)
        if node is None or (node.deleting and OPERATOR_FINALIZER not in node.metadata.finalizers):
            return None
        lease = self._runtime.cache.get(LEASE, Key(node_namespace(node.name), AGENT_LEASE))
        left = self._patience_left(key, lease)
        namespace = node_namespace(node.name)
        new = status.status(
            node, namespace, lost=left <= 0, in_use=list(observed.in_use), drained=self._drained(node)
        )
        self._tell(node, new.conditions)
        await self._runtime.status.write(NODE, node, new)
        soon = left <= 0 or node.deleting or node.spec.maintenance
        return Requeue(LOOK_AGAIN if soon else left + 0.5)

    def _observe(self, key: Key) -> Observed | None:
        cache = self._runtime.cache
        node = cache.get(NODE, key)
        if node is None:
            return None
        namespace = node_namespace(node.name)
        there: dict[tuple[str, Key], Object | Stamp] = {}
        for resource in (NAMESPACE, SERVICE_ACCOUNT, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING):
            for found in cache.list(resource, label=(LABEL_NODE, node.name)):
                there[resource.kind, Key.of(found)] = found
        for stamp in cache.list(SECRET_STAMP, label=(LABEL_NODE, node.name)):
            there[SECRET_STAMP.kind, Key.of(stamp)] = stamp
        guests = [
            f"{each.spec.stack_ref.namespace}/{each.spec.stack_ref.name}"
            for each in cache.list(GUEST, namespace)
        ]
        coming = [
            f"{each.namespace}/{each.name}"
            for each in cache.list(STACK)
            if each.status.moving_to == node.name and not each.deleting
        ]
        attachments = tuple(each.name for each in cache.list(ZONE_ATTACHMENT, namespace))
        return Observed(node, there, in_use=tuple(dict.fromkeys([*guests, *coming])), attachments=attachments)

    async def _confirmed(self, observed: Observed) -> Observed:
        """Whether something is gone is asked of the API server: a watch may not have told of it yet."""
        name = observed.node.name
        there: dict[tuple[str, Key], Object | Stamp] = {}
        for resource, key in (
            (NAMESPACE, Key("", node_namespace(name))),
            (CLUSTER_ROLE, Key("", node_role(name))),
            (CLUSTER_ROLE_BINDING, Key("", node_role(name))),
        ):
            found = await self._runtime.cluster.find(resource, key.name)
            if found is not None:
                there[resource.kind, key] = found
        return replace(observed, there=there)

    async def _act(self, node: Node, action: Action) -> None:
        cluster = self._runtime.cluster
        match action:
            case AddFinalizer():
                await cluster.add_finalizer(NODE, node, OPERATOR_FINALIZER)
            case RemoveFinalizer():
                await cluster.remove_finalizer(NODE, node, OPERATOR_FINALIZER)
            case Apply(_, resource, wanted):
                await cluster.apply(resource, wanted)
            case Remove(_, resource, key):
                try:
                    await cluster.delete(resource, key.name, key.namespace)
                except NotFound:
                    return

    def _patience_left(self, key: Key, lease: Object | None) -> float:
        now = self._clock()
        seen = self._seen[key] = heartbeat.see(self._seen.get(key), lease, now)
        return seen.at + heartbeat.patience(lease) - now

    def _drained(self, node: Node) -> tuple[DrainStatus, Outcome] | None:
        """How far the node is emptied; None if it is not in maintenance."""
        if not node.spec.maintenance:
            return None
        cache = self._runtime.cache
        stacks, guests = cache.list(STACK), cache.list(GUEST)
        places = occupants(stacks, guests)
        world = view.World(
            cache.list(NODE), cache.list(NETWORK_ZONE), stacks, guests, places, self._rules, utcnow()
        )
        residents, drain = view.drain(node, world)
        return report.progress(residents, drain), report.outcome(residents, drain)

    def _draining(self, guest: Guest) -> Iterable[Key]:
        return self._in_maintenance(node_of(guest.namespace))

    def _left_or_reached(self, stack: Stack) -> Iterable[Key]:
        for name in {stack.status.node, stack.status.moving_to} - {None}:
            yield from self._in_maintenance(name or "")

    def _in_maintenance(self, name: str) -> Iterable[Key]:
        node = self._runtime.cache.get(NODE, Key("", name))
        return (Key("", name),) if node is not None and node.spec.maintenance else ()

    def _tell(self, node: Node, conditions: list[Condition]) -> None:
        old = status.of(node, Type.READY)
        lost = next((each for each in conditions if each.reason == Reason.AGENT_LOST), None)
        if lost is not None and (old is None or old.reason != Reason.AGENT_LOST):
            self._runtime.events.warning(NODE, node, lost.reason, lost.message)
        for reason, message in maintenance_news(
            status.of(node, Type.DRAINED),
            next((each for each in conditions if each.type == Type.DRAINED), None),
        ):
            self._runtime.events.normal(NODE, node, reason, message)
        if status.of(node, Type.NODE_REGISTERED) is None and conditions:
            self._runtime.events.normal(NODE, node, Reason.REGISTERED, conditions[0].message)


def maintenance_news(old: Condition | None, new: Condition | None) -> list[tuple[Reason, str]]:
    """What is told when a drain begins, is done, and when the maintenance is over."""
    told = []
    if old is None and new is not None:
        told.append((Reason.MAINTENANCE, "maintenance begins: guests are moved or stopped by spec.drain"))
    if new is not None and new.status == ConditionStatus.TRUE and (old is None or old.status != new.status):
        told.append((Reason.DRAINED, new.message))
    if old is not None and new is None:
        told.append((Reason.AVAILABLE, "maintenance is over: guests get their own runPolicy again"))
    return told


def _place_changed(old: Stack | None, new: Stack) -> bool:
    return old is None or _place(old) != _place(new)


def _place(stack: Stack) -> tuple[object, ...]:
    status, spec = stack.status, stack.spec
    ready = next((each.status for each in status.conditions if each.type == Type.READY), None)
    return status.node, status.moving_to, stack.deleting, spec.paused, spec.disruption_group, ready


def _worth_a_look(old: Node | None, new: Node) -> bool:
    return old is None or _judged(old) != _judged(new)


def _judged(node: Node) -> tuple[object, ...]:
    ready = status.of(node, Type.READY)
    metadata = node.metadata
    return metadata.generation, metadata.finalizers, node.deleting, ready and ready.reason


def _node_of_lease(lease: Object) -> Iterable[Key]:
    node = node_of(Key.of(lease).namespace)
    return (Key("", node),) if node else ()


def _node_of_object(obj: Guest | ZoneAttachment) -> Iterable[Key]:
    node = node_of(obj.namespace)
    return (Key("", node),) if node else ()


def _promise_changed(old: Object | None, new: Object) -> bool:
    """Renewals are expected, and who waits for one looks every few seconds; a new agent may promise more."""
    promise = ("holderIdentity", "leaseDurationSeconds")
    return old is None or any(old["spec"].get(part) != new["spec"].get(part) for part in promise)


def _is_new(old: object | None, _: object) -> bool:
    return old is None


def _node_of_label(obj: Object) -> Iterable[Key]:
    return (Key("", obj["metadata"]["labels"][LABEL_NODE]),)


def _node_of_stamp(stamp: Stamp) -> Iterable[Key]:
    node = stamp.metadata.labels.get(LABEL_NODE)
    return (Key("", node),) if node else ()


def _essence_changed(old: Object | None, new: Object) -> bool:
    return old is None or any(
        old.get(part) != new.get(part) for part in ("rules", "roleRef", "subjects", "status")
    )
