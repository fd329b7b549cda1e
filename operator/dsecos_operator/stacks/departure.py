"""Where the guest of a Stack can be moved to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dsecos_api import Guest, NetworkZone, Node, Reason, Stack, Type
from dsecos_api.lifecycle import Order, refusal
from dsecos_api.quantity import to_bytes, to_millicores
from dsecos_runtime import is_true

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling import Member, Occupant, Rules, Wanted, move
from dsecos_operator.stacks.guests import id_base_of, ports_of
from dsecos_operator.stacks.occupancy import host_ports, wanted_of


@dataclass(frozen=True)
class Surroundings:
    """All nodes and zones, and all Stacks with and without a place."""

    nodes: Sequence[Node]
    zones: Sequence[NetworkZone]
    occupants: Sequence[Occupant]
    rules: Rules
    now: datetime
    unplaced: Sequence[Member] = ()


def departure(stack: Stack, guest: Guest, source: Node, around: Surroundings) -> str:
    """The node that suits it best, or that its placement names. Raises Refused."""
    if not is_true(source.status, Type.READY):
        raise Refused(Reason.AGENT_LOST, f"{source.name} does not report", stalled=False)
    lifecycle = guest.status.lifecycle
    illegal = refusal(lifecycle.state, Order.MIGRATE) if lifecycle is not None else None
    wanted = as_it_is(stack, guest, around.zones)
    if wanted.node == source.name:
        raise Refused(Reason.UNSUPPORTED, f"spec.placement.node names {source.name}")
    found = move(wanted, source, around.nodes, around.occupants, around.rules)
    if illegal is not None:
        raise Refused(Reason.ILLEGAL_TRANSITION, illegal, stalled=False)
    return found


def as_it_is(stack: Stack, guest: Guest, zones: Sequence[NetworkZone]) -> Wanted:
    """What the guest takes along: as it is, whatever is asked for and cannot be had."""
    spec, of = guest.spec, (stack.namespace, stack.spec.zone)
    zone = next((each for each in zones if (each.namespace, each.name) == of), None)
    return replace(
        wanted_of(stack, zone),
        cpu=to_millicores(spec.resources.cpu),
        memory=to_bytes(spec.resources.memory),
        host_ports=host_ports(ports_of(guest)),
        pools=frozenset(volume.pool for volume in spec.volumes if volume.pool),
        volumes=bool(spec.volumes),
        id_base=id_base_of(guest),
    )
