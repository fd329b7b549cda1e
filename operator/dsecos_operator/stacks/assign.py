"""Where a Stack is to be: the place it has, if it can have it as it wants it now, or another one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dsecos_api import Guest, NetworkZone, Node, Reason, Stack, Type
from dsecos_api.names import guest_name
from dsecos_api.stack import Adoption
from dsecos_runtime import is_true

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling import Occupant, Wanted, addresses, adopt, place, stay
from dsecos_operator.stacks.claim import Claim
from dsecos_operator.stacks.departure import Surroundings, departure
from dsecos_operator.stacks.moving import has_failed
from dsecos_operator.stacks.occupancy import wanted_of
from dsecos_operator.zones.check import usable


def assign(
    stack: Stack,
    zone: NetworkZone,
    around: Surroundings,
    *,
    present: Claim | None,
    guest: Guest | None,
    data_on: str | None,
) -> Claim:
    """The claim that the Stack should have: `present`, if nothing is to change. Raises Refused."""
    check_zone(zone)
    wanted = wanted_of(stack, zone, data_on)
    address = _address(stack, wanted, zone, present, around.occupants)
    if present is None:
        node = place(wanted, around.nodes, around.occupants, around.rules, around.unplaced)
        return Claim(node, guest_name(stack.namespace, stack.name, stack.uid), 1, address)
    claim = _from_here(stack, wanted, around, present, guest)
    return claim if claim.moving_to is not None else replace(claim, address=address)


def assign_adopted(
    stack: Stack, adoption: Adoption, around: Surroundings, *, present: Claim | None, guest: Guest | None
) -> Claim:
    """As `assign`, for what is there before: its first place is where it is. Raises Refused."""
    wanted = wanted_of(stack, zone=None)
    if present is None:
        node = adopt(wanted, adoption.node, around.nodes)
        return Claim(node, guest_name(stack.namespace, stack.name, stack.uid), 1, address=None)
    return _from_here(stack, wanted, around, present, guest)


def _from_here(
    stack: Stack, wanted: Wanted, around: Surroundings, present: Claim, guest: Guest | None
) -> Claim:
    """One that has a place stays there, unless its placement names another node. Raises Refused."""
    source = next((each for each in around.nodes if each.name == present.node), None)
    # Before there is a guest there is nothing that could be moved.
    if wanted.node not in (None, present.node) and source is not None and guest is not None:
        target = _another(stack, guest, source, around)
        return replace(present, moving_to=target, failed_move=None)
    stay(wanted, source, present.node, around.occupants, around.rules)
    return replace(present, failed_move=has_failed(stack, around.now))


def _another(stack: Stack, guest: Guest, source: Node, around: Surroundings) -> str:
    """The node that spec.placement names in place of `source`. Raises Refused."""
    failed = has_failed(stack, around.now)
    if failed is not None:
        why = f"moving to {failed.node} failed: {failed.message}; it is tried again after ten minutes"
        raise Refused(Reason.MIGRATION_FAILED, why, stalled=False)
    try:
        return departure(stack, guest, source, around)
    except Refused as refused:
        why = f"spec.placement.node: it stays on {source.name}: {refused.message}"
        raise Refused(refused.reason, why, stalled=refused.stalled) from None


def check_zone(zone: NetworkZone) -> None:
    """Raises Refused (ZoneNotReady) while the zone was not judged, or cannot be had.

    One that is only kept from some nodes can be had on the others.
    """
    if usable(zone):
        return
    if is_true(zone.status, Type.STALLED):
        why = next((each.message for each in zone.status.conditions if each.type == Type.STALLED), "")
        raise Refused(Reason.ZONE_NOT_READY, f"NetworkZone {zone.name} is not ready: {why}", stalled=False)
    state = "is being deleted" if zone.deleting else "has no gateway yet"
    raise Refused(Reason.ZONE_NOT_READY, f"NetworkZone {zone.name} {state}", stalled=False)


def _address(
    stack: Stack, wanted: Wanted, zone: NetworkZone, present: Claim | None, occupants: Sequence[Occupant]
) -> str:
    taken = {
        each.address: f"{each.namespace}/{each.stack}"
        for each in occupants
        if each.address is not None and wanted.shares_zone(each)
    }
    cidr = addresses.ipv4(zone.spec.cidrs) or ""
    if stack.spec.address is not None:
        return addresses.check(cidr, stack.spec.address, taken)
    # A status is not beyond doubt: what somebody else wrote there must not reach into another network.
    kept = present.address if present is not None else None
    if kept is not None and addresses.belongs(cidr, kept):
        return kept
    return addresses.allocate(cidr, taken)
