"""What a zone's status says. Pure but for the clock of transitions."""

from __future__ import annotations

from dsecos_api import NetworkZone, Reason, Type, ZoneAttachment
from dsecos_api.networkzone import AddressCount, NetworkZoneStatus, ZoneNodeStatus
from dsecos_runtime import Conditions, is_true

from dsecos_operator.scheduling import addresses
from dsecos_operator.zones.network import Verdict
from dsecos_operator.zones.observe import Observed
from dsecos_operator.zones.peers import agreements

MOST_NAMED = 5
"""Nodes or Stacks that a message names."""


def status(zone: NetworkZone, observed: Observed, verdict: Verdict, waiting: int) -> NetworkZoneStatus:
    """`waiting`: actions that a paused zone keeps back."""
    generation = zone.metadata.generation
    conditions = Conditions(zone.status, generation)
    networks = verdict.networks
    nodes = [ZoneNodeStatus(name=name, ready=in_force(each)) for name, each in observed.there.items()]
    nodes.sort(key=lambda each: each.name)
    if zone.spec.peers and not zone.deleting:
        _judge_peers(conditions, zone, observed)
    _judge(conditions, zone, observed, verdict, waiting)
    taken = len(observed.addresses)
    return NetworkZoneStatus(
        observed_generation=generation,
        id=observed.number,
        gateway=networks.gateway if networks else None,
        gateway6=networks.gateway6 if networks else None,
        mtu=verdict.mtu if networks else zone.status.mtu,
        nodes=nodes,
        addresses=AddressCount(allocated=taken, available=max(0, addresses.count(networks.cidr) - taken))
        if networks
        else None,
        conditions=conditions.build(),
    )


def in_force(attachment: ZoneAttachment) -> bool:
    """Whether the agent has made this generation of it so."""
    current = attachment.status.observed_generation == attachment.metadata.generation
    return current and is_true(attachment.status, Type.READY)


def _judge_peers(conditions: Conditions, zone: NetworkZone, observed: Observed) -> None:
    found = agreements(zone, observed.zones)
    if found.open:
        told = [f"nothing passes where a peer has not agreed: {', '.join(found.open)}", *found.notes]
        conditions.false(Type.PEERS_AGREED, Reason.PEER_NOT_AGREED, "; ".join(told))
    else:
        told = ["every peer names this zone too", *found.notes]
        conditions.true(Type.PEERS_AGREED, Reason.ALL_AGREED, "; ".join(told))


def _judge(
    conditions: Conditions, zone: NetworkZone, observed: Observed, verdict: Verdict, waiting: int
) -> None:
    refused = verdict.problem or verdict.hindrance
    if zone.deleting:
        users = sorted(each.name for each in observed.stacks)
        if users:
            conditions.reconciling(Reason.IN_USE, f"Stacks use it: {_listed(users)}; delete them first")
        else:
            conditions.reconciling(Reason.DELETING, "waits until its nodes have removed it")
    elif refused is not None:
        conditions.stalled(refused.reason, refused.message)
    elif waiting:
        conditions.unknown(Type.READY, Reason.PAUSED, f"spec.paused keeps {waiting} changes back")
    elif not observed.needed:
        conditions.ready(Reason.NO_GUESTS, "no guest is in it yet")
    else:
        _judge_nodes(conditions, observed)


def _judge_nodes(conditions: Conditions, observed: Observed) -> None:
    needed, there = observed.needed, observed.there
    late = [node for node in needed if node not in there or not in_force(there[node])]
    total = len(needed)
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
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
