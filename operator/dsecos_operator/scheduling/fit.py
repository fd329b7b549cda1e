"""Whether a Stack fits on a node, and why not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dsecos_api import Node, Reason, Type
from dsecos_api.conditions import ConditionStatus
from dsecos_api.node import PortRange
from dsecos_api.quantity import format_bytes, format_millicores, parse, to_bytes, to_millicores

from dsecos_operator.scheduling.companions import Map, violations
from dsecos_operator.scheduling.engines import runs
from dsecos_operator.scheduling.model import Obstacle, Occupant, PortKey, Rules, Wanted

HOST_PORTS = (PortRange(port=1024, end_port=65535),)
"""What a node gives out unless its spec says otherwise: the ports below are for services of the host (RFC
6335, section 6).
"""


def obstacles(
    node: Node,
    wanted: Wanted,
    occupants: Sequence[Occupant],
    rules: Rules,
    *,
    places: Map | None = None,
    staying: bool = False,
) -> list[Obstacle]:
    """Everything that keeps `wanted` from `node`; empty if it fits.

    `occupants`: everybody who has a place; `wanted` itself is not counted. `places`: the labels of all Nodes.
    `staying`: it is there already, so only what it uses is judged, and not whether the node takes newcomers.
    """
    here = [each for each in occupants if each.node == node.name and each.uid != wanted.uid]
    newcomer = () if staying else (*_node(node, wanted), *_home(node, wanted, occupants))
    others = [each for each in occupants if not each.orphan]
    company = () if staying else violations(node.name, wanted, others, places or Map([node]))
    return [
        *newcomer,
        *(Obstacle(why, passing=True) for why in company),
        *_pools(node, wanted),
        *_given_ports(node, wanted.host_ports - _held(wanted, occupants)),
        *_ports(wanted, here, rules),
        *_resources(node, wanted, here, rules),
    ]


def _node(node: Node, wanted: Wanted) -> Iterator[Obstacle]:
    ready = next((each for each in node.status.conditions if each.type == Type.READY), None)
    if node.deleting:
        yield Obstacle("it is being removed", passing=False)
    if node.spec.maintenance:
        yield Obstacle("it is in maintenance", passing=True)
    if ready is None or ready.status != ConditionStatus.TRUE:
        yield Obstacle(f"it is not Ready ({ready.reason if ready else Reason.NEVER_REPORTED})", passing=True)
    yield from runs(node, wanted.type)
    for name, value in wanted.selector:
        if node.metadata.labels.get(name) != value:
            yield Obstacle(f"it lacks the label {name}={value}", passing=False)


def _home(node: Node, wanted: Wanted, occupants: Iterable[Occupant]) -> Iterator[Obstacle]:
    if wanted.data_on is not None and wanted.data_on != node.name:
        yield Obstacle(f"the Stack's retained data is on {wanted.data_on}", passing=False)
    # A local zone has no way from one node to another, so its guests are together.
    homes = {
        each.node
        for each in occupants
        if (each.namespace, each.zone) == (wanted.namespace, wanted.zone) and each.uid != wanted.uid
    }
    if homes - {node.name}:
        yield Obstacle(f"zone {wanted.zone} is local and lives on {', '.join(sorted(homes))}", passing=True)


def _pools(node: Node, wanted: Wanted) -> Iterator[Obstacle]:
    known = [pool.name for pool in node.spec.pools]
    for pool in sorted(wanted.pools - set(known)):
        why = f"it has no pool {pool} (it has {', '.join(known) or 'none'})"
        yield Obstacle(why, passing=False, reason=Reason.POOL_NOT_FOUND)


def _held(wanted: Wanted, occupants: Iterable[Occupant]) -> frozenset[PortKey]:
    """The ports of the Stack's Guest. A claim alone holds none: it would hold whatever is asked for now."""
    mine = (each for each in occupants if each.uid == wanted.uid and each.id_base is not None)
    return frozenset(port for each in mine for port in each.host_ports)


def _given_ports(node: Node, ports: Iterable[PortKey]) -> Iterator[Obstacle]:
    given = HOST_PORTS if node.spec.host_ports is None else node.spec.host_ports
    for protocol, port in sorted(ports):
        if not any(port in each for each in given):
            ranges = ", ".join(map(str, given)) or "none"
            why = f"host port {port}/{protocol} is not one that it gives out (its spec.hostPorts: {ranges})"
            yield Obstacle(why, passing=False, reason=Reason.PORT_CONFLICT)


def _ports(wanted: Wanted, here: list[Occupant], rules: Rules) -> Iterator[Obstacle]:
    for protocol, port in sorted(wanted.host_ports):
        if (protocol, port) in rules.reserved_ports:
            why = f"host port {port}/{protocol} is the node's own"
            yield Obstacle(why, passing=False, reason=Reason.PORT_CONFLICT)
        for other in here:
            if (protocol, port) in other.host_ports:
                why = f"host port {port}/{protocol} is taken by Stack {other.namespace}/{other.stack}"
                yield Obstacle(why, passing=True, reason=Reason.PORT_CONFLICT)


def _resources(node: Node, wanted: Wanted, here: list[Occupant], rules: Rules) -> Iterator[Obstacle]:
    capacity, allocatable = node.status.capacity, node.status.allocatable
    if capacity is None or allocatable is None:
        yield Obstacle("its agent has not told what it has", passing=True)
        return
    cores = to_millicores(capacity.cpu)
    if wanted.cpu > cores:
        why = f"cpu {format_millicores(wanted.cpu)} is wanted, it has {format_millicores(cores)}"
        yield Obstacle(why, passing=False)
    limit = int(to_millicores(allocatable.cpu) * rules.cpu_overcommit)
    used = sum(each.cpu for each in here)
    if wanted.cpu <= cores and used + wanted.cpu > limit:
        why = (
            f"cpu {format_millicores(wanted.cpu)} is wanted, {format_millicores(used)} of"
            f" {format_millicores(limit)} ({rules.cpu_overcommit:g} times allocatable) is taken"
        )
        yield Obstacle(why, passing=True)
    memory = to_bytes(allocatable.memory)
    taken = sum(each.memory for each in here)
    if taken + wanted.memory > memory:
        why = (
            f"memory {format_bytes(wanted.memory)} is wanted, {_rounded(taken)} of {_rounded(memory)}"
            " allocatable is taken"
        )
        yield Obstacle(why, passing=wanted.memory <= memory)
    if len(here) + 1 > parse(allocatable.guests):
        yield Obstacle(f"it has room for {allocatable.guests} guests", passing=True)


def _rounded(count: int) -> str:
    """Bytes as people read them; exact values of a node's memory are unwieldy."""
    for unit, size in (("Gi", 2**30), ("Mi", 2**20)):
        if count >= size:
            return f"{count / size:.1f}{unit}".replace(".0", "")
    return str(count)
