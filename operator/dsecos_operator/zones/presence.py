"""Where zones are: on which nodes they have guests, and at which addresses. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import NamedTuple

from dsecos_api import Guest, NetworkZone, Stack
from dsecos_api.names import LABEL_ZONE, LABEL_ZONE_NAMESPACE
from dsecos_api.peering import ZoneKey

from dsecos_operator.kinds import node_of
from dsecos_operator.scheduling import addresses
from dsecos_operator.stacks.claim import believed, claim_of
from dsecos_operator.stacks.guests import address_of


def zone_of(guest: Guest) -> ZoneKey | None:
    """The zone that a Guest is in; None for one that was adopted."""
    labels = guest.metadata.labels
    namespace, name = labels.get(LABEL_ZONE_NAMESPACE), labels.get(LABEL_ZONE)
    return (namespace, name) if namespace and name else None


def homes(
    zones: Collection[ZoneKey], stacks: Iterable[Stack], guests: Iterable[Guest]
) -> dict[ZoneKey, frozenset[str]]:
    """Nodes with a guest of each zone, and those where a Stack is about to get one or is on its way to."""
    found: dict[ZoneKey, set[str]] = {each: set() for each in zones}
    for stack in stacks:
        if stack.spec.zone is None or stack.deleting:
            continue
        nodes = found.get((stack.namespace, stack.spec.zone))
        if nodes is not None:
            nodes.update(node for node in (stack.status.node, stack.status.moving_to) if node)
    for guest in guests:
        zone = zone_of(guest)
        if zone is not None and zone in found:
            found[zone].add(node_of(guest.namespace))
    return {zone: frozenset(nodes) for zone, nodes in found.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """Who has an address."""

    node: str
    addresses: tuple[str, ...]
    """That one, which is of IPv4, and where the zone has an IPv6 network the one beside it."""
    stack: Stack | None
    """None: it is gone, and its guest is still there."""
    guest: Guest | None
    """None: there is only the claim. It may be on another node, which it has left."""


@dataclass(frozen=True)
class Population:
    """Who is in a zone."""

    zone: NetworkZone
    stacks: Sequence[Stack]
    guests: Sequence[Guest]

    @cached_property
    def places(self) -> Sequence[Place]:
        """Who has which address there."""
        return _places(self.zone.spec.cidrs, self.stacks, self.guests)


def _places(cidrs: list[str], stacks: Iterable[Stack], guests: Iterable[Guest]) -> list[Place]:
    """Who has which address of one zone.

    A Stack with a Guest on two nodes is where its claim says. No address is at two places: a Guest that is
    there has it before a claim, which anybody may have written who can write a Stack's status.
    """
    of_stack: dict[str, list[Guest]] = {}
    for guest in sorted(guests, key=lambda each: (each.namespace, each.name)):
        of_stack.setdefault(guest.spec.stack_ref.uid, []).append(guest)
    told: list[_Told] = []
    for stack in stacks:
        own = of_stack.pop(stack.uid, [])
        claim = believed(claim_of(stack), own)
        if claim is None or (stack.deleting and not own):
            continue
        here = next((each for each in own if node_of(each.namespace) == claim.node), None)
        address = address_of(here) if here is not None else claim.address
        if address is not None:
            told.append(_Told(here is None, address, claim.node, stack, here or next(iter(own), None)))
    for own in of_stack.values():
        for guest in own:
            address = address_of(guest)
            if address is not None:
                told.append(_Told(False, address, node_of(guest.namespace), None, guest))
    cidr = addresses.ipv4(cidrs)
    found: dict[str, Place] = {}
    for each in sorted(told, key=_before):
        if each.address not in found and cidr is not None and addresses.belongs(cidr, each.address):
            beside = addresses.beside(each.address, cidrs)
            both = (each.address, beside) if beside is not None else (each.address,)
            found[each.address] = Place(each.node, both, each.stack, each.guest)
    return list(found.values())


def whereabouts(found: Iterable[Place]) -> Mapping[str, tuple[str, ...]]:
    """Addresses of one zone's guests on each node that has some, IPv4 before IPv6."""
    on: dict[str, list[str]] = {}
    for place in found:
        on.setdefault(place.node, []).extend(place.addresses)
    return {node: tuple(sorted(each, key=_order)) for node, each in on.items()}


class _Told(NamedTuple):
    """Who says that he has an address."""

    claimed: bool
    address: str
    node: str
    stack: Stack | None
    guest: Guest | None


def _before(told: _Told) -> tuple[bool, str, str, str, str]:
    """Of two that say so, the first one has it."""
    holder = told.stack or told.guest
    name = (holder.namespace, holder.name) if holder is not None else ("", "")
    return told.claimed, told.address, told.node, *name


def _order(address: str) -> tuple[int, int]:
    parsed = ip_address(address)
    return parsed.version, int(parsed)
