"""Where a Stack is to be: the place it has, if it can have it as it wants it now, or a new one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dsecos_api import NetworkZone, Node, Reason, Stack, Type
from dsecos_api.names import guest_name
from dsecos_api.quantity import to_bytes, to_millicores
from dsecos_api.types import GuestType
from dsecos_runtime import is_true

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling import Occupant, Rules, Wanted, addresses, place, stay
from dsecos_operator.stacks.claim import Claim, claim_of
from dsecos_operator.stacks.occupancy import host_ports


def assign(
    stack: Stack,
    zone: NetworkZone,
    *,
    nodes: Sequence[Node],
    occupants: Sequence[Occupant],
    rules: Rules,
    data_on: str | None,
) -> Claim:
    """The claim that the Stack should have: the one it has, if nothing is to change. Raises Refused."""
    check_zone(zone)
    present = claim_of(stack)
    wanted = wanted_of(stack, data_on)
    address = _address(stack, zone, present, occupants)
    if present is None:
        node = place(wanted, nodes, occupants, rules)
        return Claim(node, guest_name(stack.namespace, stack.name, stack.uid), 1, address)
    node_object = next((each for each in nodes if each.name == present.node), None)
    stay(wanted, node_object, present.node, occupants, rules)
    return Claim(present.node, present.guest, present.epoch, address)


def check_zone(zone: NetworkZone) -> None:
    """Raises Refused (ZoneNotReady) while the zone was not judged, or cannot be had."""
    if is_true(zone.status, Type.STALLED):
        why = next((each.message for each in zone.status.conditions if each.type == Type.STALLED), "")
        raise Refused(Reason.ZONE_NOT_READY, f"NetworkZone {zone.name} is not ready: {why}", stalled=False)
    if zone.deleting or not zone.status.gateway:
        state = "is being deleted" if zone.deleting else "has no gateway yet"
        raise Refused(Reason.ZONE_NOT_READY, f"NetworkZone {zone.name} {state}", stalled=False)


def wanted_of(stack: Stack, data_on: str | None) -> Wanted:
    """What the Stack asks of a node."""
    spec = stack.spec
    return Wanted(
        namespace=stack.namespace,
        stack=stack.name,
        uid=stack.uid,
        zone=spec.zone,
        type=spec.type or GuestType.CONTAINER,
        selector=tuple(sorted((spec.placement.node_selector if spec.placement else {}).items())),
        cpu=to_millicores(spec.resources.cpu),
        memory=to_bytes(spec.resources.memory),
        host_ports=host_ports(spec.expose),
        pools=frozenset(volume.pool for volume in spec.volumes if volume.pool),
        data_on=data_on,
    )


def _address(stack: Stack, zone: NetworkZone, present: Claim | None, occupants: Sequence[Occupant]) -> str:
    taken = {
        each.address: f"{each.namespace}/{each.stack}"
        for each in occupants
        if (each.namespace, each.zone) == (stack.namespace, stack.spec.zone) and each.uid != stack.uid
    }
    cidr = zone.spec.cidrs[0]
    if stack.spec.address is not None:
        return addresses.check(cidr, stack.spec.address, taken)
    # A status is not beyond doubt: what somebody else wrote there must not reach into another network.
    if present is not None and addresses.belongs(cidr, present.address):
        return present.address
    return addresses.allocate(cidr, taken)
