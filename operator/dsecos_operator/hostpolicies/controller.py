"""HostPolicy: the controller. One key for the whole cluster, because nodes wait for each other."""

from __future__ import annotations

from collections.abc import Iterable

from dsecos_api import HostPolicy, NetworkZone, Node, Type
from dsecos_api.hostpolicy import HOST_POLICY_NAME
from dsecos_api.node import NodeStatus
from dsecos_runtime import (
    HOST_POLICY,
    NETWORK_ZONE,
    NODE,
    Conditions,
    Controller,
    Input,
    Key,
    Requeue,
    Runtime,
    StatusWriter,
    act_all,
    is_true,
)

from dsecos_operator.hostpolicies.plan import ApplyPolicy, Verdict, plan, told_of, zone_networks
from dsecos_operator.kinds import node_of

CLUSTER = Key("", "cluster")
FIELD_MANAGER = "dsecos-operator-host-firewall"
"""Of the two conditions that are written here; the Node's other conditions are the agent's and another
controller's.
"""


class HostPolicyController(Controller):
    """Gives each node its HostPolicy, and says on the Node how far that is."""

    name = "host-policy"
    outputs = (HOST_POLICY,)
    workers = 1

    def __init__(self, runtime: Runtime, max_unavailable: int) -> None:
        """At most `max_unavailable` nodes have a change at a time that is not in force yet."""
        super().__init__()
        self._runtime = runtime
        self._max_unavailable = max_unavailable
        self._status = StatusWriter(runtime.cluster, runtime.cache, field_manager=FIELD_MANAGER)
        self.inputs = (
            Input(NODE, keys=_cluster, changed=_worth_a_look),
            Input(HOST_POLICY, keys=_cluster),
            Input(NETWORK_ZONE, keys=_cluster, changed=_has_or_loses_its_network),
        )

    async def reconcile(self, _: Key) -> Requeue | None:
        """Write what may be written now, and tell."""
        cache = self._runtime.cache
        nodes = cache.list(NODE)
        policies = {
            node_of(each.namespace): each
            for each in cache.list(HOST_POLICY)
            if each.name == HOST_POLICY_NAME and not each.deleting
        }
        actions, verdicts = plan(nodes, policies, self._max_unavailable, cache.list(NETWORK_ZONE))
        await act_all(actions, self._act)
        for node in nodes:
            if not node.deleting:
                await self._tell(node, policies.get(node.name), verdicts.get(node.name))
        return None

    async def _act(self, action: ApplyPolicy) -> None:
        await self._runtime.cluster.apply(HOST_POLICY, action.policy)

    async def _tell(self, node: Node, policy: HostPolicy | None, verdict: Verdict | None) -> None:
        conditions = Conditions(node.status, node.metadata.generation)
        if verdict is not None:
            for half, each in told_of(node, policy, verdict).items():
                conditions.set(half, each.status, each.reason, each.message)
        built = [each for each in conditions.build() if each.type in {Type.HOST_FIREWALL, Type.UPLINKS}]
        await self._status.write(NODE, node, NodeStatus(conditions=built))


def _cluster(_: Node | HostPolicy | NetworkZone) -> Iterable[Key]:
    return (CLUSTER,)


def _worth_a_look(old: Node | None, new: Node) -> bool:
    return old is None or _judged(old) != _judged(new)


def _has_or_loses_its_network(old: NetworkZone | None, new: NetworkZone) -> bool:
    return old is None or zone_networks([old]) != zone_networks([new])


def _judged(node: Node) -> tuple[object, ...]:
    return node.spec, node.status.addresses, node.deleting, is_true(node.status, Type.NODE_REGISTERED)
