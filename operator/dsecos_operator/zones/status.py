"""What a zone's status says. Pure but for the clock of transitions."""

from __future__ import annotations

from dsecos_api import NetworkZone, Reason, Type, ZoneAttachment
from dsecos_api.networkzone import AddressCount, NetworkZoneStatus, ZoneNodeStatus
from dsecos_runtime import Conditions, is_true

from dsecos_operator.kinds import node_of
from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling import addresses
from dsecos_operator.zones.observe import Observed


def status(
    zone: NetworkZone, observed: Observed, gateway: str | None, problem: Refused | None, waiting: int
) -> NetworkZoneStatus:
    """`problem`: why the zone cannot be had; `waiting`: actions that a paused zone keeps back."""
    generation = zone.metadata.generation
    conditions = Conditions(zone.status, generation)
    nodes = [
        ZoneNodeStatus(name=node_of(each.namespace), ready=in_force(each)) for each in observed.attachments
    ]
    nodes.sort(key=lambda each: each.name)
    _judge(conditions, zone, observed, problem, waiting)
    taken = len(observed.addresses)
    return NetworkZoneStatus(
        observed_generation=generation,
        gateway=gateway,
        nodes=nodes,
        addresses=AddressCount(allocated=taken, available=max(0, addresses.count(zone.spec.cidrs[0]) - taken))
        if gateway
        else None,
        conditions=conditions.build(),
    )


def in_force(attachment: ZoneAttachment) -> bool:
    """Whether the agent has made this generation of it so."""
    current = attachment.status.observed_generation == attachment.metadata.generation
    return current and is_true(attachment.status, Type.READY)


def _judge(
    conditions: Conditions, zone: NetworkZone, observed: Observed, problem: Refused | None, waiting: int
) -> None:
    if zone.deleting:
        users = sorted(each.name for each in observed.stacks)
        if users:
            conditions.reconciling(Reason.IN_USE, f"Stacks use it: {_listed(users)}; delete them first")
        else:
            conditions.reconciling(Reason.DELETING, "waits until its nodes have removed it")
    elif problem is not None:
        conditions.stalled(problem.reason, problem.message)
    elif waiting:
        conditions.unknown(Type.READY, Reason.PAUSED, f"spec.paused keeps {waiting} changes back")
    elif not observed.nodes:
        conditions.ready(Reason.NO_GUESTS, "no guest is in it yet")
    else:
        _judge_nodes(conditions, observed)


def _judge_nodes(conditions: Conditions, observed: Observed) -> None:
    there = {node_of(each.namespace): each for each in observed.attachments}
    late = [node for node in observed.nodes if node not in there or not in_force(there[node])]
    total = len(observed.nodes)
    if not late:
        conditions.ready(Reason.IN_FORCE, f"in force on {total} of {total} nodes")
        return
    told = [
        condition.message
        for node in late
        if node in there
        for condition in there[node].status.conditions
        if condition.type == Type.READY and condition.message
    ]
    message = f"in force on {total - len(late)} of {total} nodes; waits for {_listed(late)}"
    conditions.reconciling(Reason.PROGRESSING, "; ".join([message, *told[:3]]))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
