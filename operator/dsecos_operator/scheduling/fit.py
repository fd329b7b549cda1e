"""Whether a Stack fits on a node, and why not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dsecos_api import Node, Reason, Type
from dsecos_api.conditions import ConditionStatus
from dsecos_api.node import PortRange, ResourceCount
from dsecos_api.quantity import format_bytes, format_millicores, parse, to_bytes, to_millicores

from dsecos_operator.scheduling.companions import Map, violations
from dsecos_operator.scheduling.engines import adopts, runs
from dsecos_operator.scheduling.model import Occupant, PortKey, Rules, Wanted
from dsecos_operator.scheduling.network import lacks
from dsecos_operator.scheduling.obstacle import Obstacle

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
    `staying`: it is there already, so only what it asks for beyond that is judged, and not whether the node
    takes newcomers.
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
        *_resources(node, wanted, here, rules, _room(node, wanted, occupants) if staying else None),
    ]


def adoption_obstacles(node: Node, wanted: Wanted) -> list[Obstacle]:
    """Everything that keeps a guest that is on `node` from being taken over there.

    Where it would suit better does not matter, nor whether there is room for it: it is there.
    """
    return [*_available(node), *adopts(node, wanted.type)]


def arrival_obstacles(
    node: Node, wanted: Wanted, occupants: Sequence[Occupant], rules: Rules
) -> list[Obstacle]:
    """Everything that keeps a guest that others have moved to `node` from being driven there: what cannot be
    had twice. Whether there is room does not matter: it is there.
    """
    here = [each for each in occupants if each.node == node.name and each.uid != wanted.uid]
    going = [Obstacle("it is being removed", passing=False)] if node.deleting else []
    given = _given_ports(node, wanted.host_ports)
    network = lacks(node, wanted.asks)
    return [*going, *_home(node, wanted, occupants), *network, *given, *_ports(wanted, here, rules)]


def _node(node: Node, wanted: Wanted) -> Iterator[Obstacle]:
    yield from _available(node)
    yield from runs(node, wanted.type)
    yield from lacks(node, wanted.asks)
    for name, value in wanted.selector:
        if node.metadata.labels.get(name) != value:
            yield Obstacle(f"it lacks the label {name}={value}", passing=False)


def _available(node: Node) -> Iterator[Obstacle]:
    ready = next((each for each in node.status.conditions if each.type == Type.READY), None)
    if node.deleting:
        yield Obstacle("it is being removed", passing=False)
    if node.spec.maintenance:
        yield Obstacle("it is in maintenance", passing=True)
    if ready is None or ready.status != ConditionStatus.TRUE:
        yield Obstacle(f"it is not Ready ({ready.reason if ready else Reason.NEVER_REPORTED})", passing=True)


def _home(node: Node, wanted: Wanted, occupants: Iterable[Occupant]) -> Iterator[Obstacle]:
    if wanted.data_on is not None and wanted.data_on != node.name:
        yield Obstacle(f"the Stack's retained data is on {wanted.data_on}", passing=False)
    # A local zone has no way from one node to another, so its guests are together.
    homes = {each.node for each in occupants if wanted.shares_zone(each)}
    if homes - {node.name} and not wanted.asks.spans:
        yield Obstacle(f"zone {wanted.zone} is local and lives on {', '.join(sorted(homes))}", passing=True)


def _pools(node: Node, wanted: Wanted) -> Iterator[Obstacle]:
    known = [pool.name for pool in node.spec.pools]
    for pool in sorted(wanted.pools - set(known)):
        why = f"it has no pool {pool} (it has {', '.join(known) or 'none'})"
        yield Obstacle(why, passing=False, reason=Reason.POOL_NOT_FOUND)


def _own(wanted: Wanted, occupants: Iterable[Occupant]) -> Iterator[Occupant]:
    """The Stack's Guests. A claim alone holds nothing: it would hold whatever is asked for now; but what is
    adopted was there before its claim.
    """
    return (
        each for each in occupants if each.uid == wanted.uid and (wanted.adopted or each.id_base is not None)
    )


def _held(wanted: Wanted, occupants: Iterable[Occupant]) -> frozenset[PortKey]:
    """The ports that the Stack's Guest has."""
    return frozenset(port for each in _own(wanted, occupants) for port in each.host_ports)


def _room(node: Node, wanted: Wanted, occupants: Iterable[Occupant]) -> Occupant | None:
    """What the Stack's Guest uses on the node; None while it has none there."""
    return next((each for each in _own(wanted, occupants) if each.node == node.name), None)


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


def _resources(
    node: Node, wanted: Wanted, here: list[Occupant], rules: Rules, has: Occupant | None
) -> Iterator[Obstacle]:
    """`has`: what it uses there already; that is its own, however full others have made the node."""
    more_cpu = has is None or wanted.cpu > has.cpu
    more_memory = has is None or wanted.memory > has.memory
    capacity, allocatable = node.status.capacity, node.status.allocatable
    if capacity is None or allocatable is None:
        if more_cpu or more_memory:
            yield Obstacle("its agent has not told what it has", passing=True)
        return
    if more_cpu:
        yield from _cpu(wanted.cpu, here, capacity, allocatable, rules)
    if more_memory:
        yield from _memory(wanted.memory, here, allocatable)
    if has is None and len(here) + 1 > parse(allocatable.guests):
        yield Obstacle(f"it has room for {allocatable.guests} guests", passing=True)


def _cpu(
    wanted: int, here: list[Occupant], capacity: ResourceCount, allocatable: ResourceCount, rules: Rules
) -> Iterator[Obstacle]:
    cores = to_millicores(capacity.cpu)
    if wanted > cores:
        why = f"cpu {format_millicores(wanted)} is wanted, it has {format_millicores(cores)}"
        yield Obstacle(why, passing=False)
    limit = int(to_millicores(allocatable.cpu) * rules.cpu_overcommit)
    used = sum(each.cpu for each in here)
    if wanted <= cores and used + wanted > limit:
        why = (
            f"cpu {format_millicores(wanted)} is wanted, {format_millicores(used)} of"
            f" {format_millicores(limit)} ({rules.cpu_overcommit:g} times allocatable) is taken"
        )
        yield Obstacle(why, passing=True)


def _memory(wanted: int, here: list[Occupant], allocatable: ResourceCount) -> Iterator[Obstacle]:
    memory = to_bytes(allocatable.memory)
    taken = sum(each.memory for each in here)
    if taken + wanted > memory:
        why = (
            f"memory {format_bytes(wanted)} is wanted, {_rounded(taken)} of {_rounded(memory)}"
            " allocatable is taken"
        )
        yield Obstacle(why, passing=wanted <= memory)


def _rounded(count: int) -> str:
    """Bytes as people read them; exact values of a node's memory are unwieldy."""
    for unit, size in (("Gi", 2**30), ("Mi", 2**20)):
        if count >= size:
            return f"{count / size:.1f}{unit}".replace(".0", "")
    return str(count)
