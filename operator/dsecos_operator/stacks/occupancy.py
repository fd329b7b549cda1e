"""Who has which place, read off Guests and claims, and what a Stack asks of one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dsecos_api import Guest, NetworkZone, Stack
from dsecos_api.names import LABEL_ZONE
from dsecos_api.quantity import to_bytes, to_millicores
from dsecos_api.shared import Expose
from dsecos_api.stack import Companions
from dsecos_api.types import GuestType

from dsecos_operator.kinds import node_of
from dsecos_operator.scheduling import Company, Member, Occupant, Wanted
from dsecos_operator.scheduling.model import PortKey
from dsecos_operator.scheduling.network import NOTHING, asks
from dsecos_operator.stacks.claim import Claim, claim_of
from dsecos_operator.stacks.guests import address_of, id_base_of, ports_of


def occupants(stacks: Iterable[Stack], guests: Iterable[Guest]) -> list[Occupant]:
    """A Guest counts as it is until it is gone; a claim counts while its Guest is not there yet.

    A Stack on its way takes up the same room where it goes.
    """
    known = list(stacks)
    specs = {stack.uid: stack for stack in known}
    found = [_of_guest(guest, specs.get(guest.spec.stack_ref.uid)) for guest in guests]
    there = {(each.uid, each.node): each for each in found}
    any_of = {each.uid: each for each in found}
    for stack in known:
        claim = claim_of(stack)
        if claim is None or stack.deleting:
            continue
        for node in filter(None, (claim.node, claim.moving_to)):
            if (stack.uid, node) not in there:
                like = any_of.get(stack.uid) or _of_claim(stack, claim)
                there[stack.uid, node] = any_of[stack.uid] = replace(like, node=node)
                found.append(there[stack.uid, node])
    return found


def unplaced(stacks: Iterable[Stack]) -> list[Member]:
    """Stacks that have no place."""
    return [
        Member(
            namespace=each.namespace,
            stack=each.name,
            uid=each.uid,
            zone=each.spec.zone,
            together=together(each),
            apart=apart(each),
        )
        for each in stacks
        if not each.deleting and claim_of(each) is None
    ]


def wanted_of(stack: Stack, zone: NetworkZone | None, data_on: str | None = None) -> Wanted:
    """What the Stack asks of a node; `zone` is the one that it is in."""
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
        node=spec.placement.node if spec.placement else None,
        together=together(stack),
        apart=apart(stack),
        adopted=spec.adopt is not None,
        asks=asks(zone) if zone is not None else NOTHING,
    )


def host_ports(ports: Iterable[Expose]) -> frozenset[PortKey]:
    """The node's ports that are passed to the guest."""
    return frozenset((str(each.protocol), each.host_port) for each in ports if each.host_port)


def together(stack: Stack) -> Company | None:
    """Whom the Stack is to be with."""
    return _company(stack.spec.placement.affinity) if stack.spec.placement else None


def apart(stack: Stack) -> Company | None:
    """Whom the Stack is to be apart from."""
    return _company(stack.spec.placement.anti_affinity) if stack.spec.placement else None


def _company(companions: Companions | None) -> Company | None:
    if companions is None:
        return None
    return Company(
        stacks=frozenset(companions.stacks),
        zones=frozenset(companions.zones),
        topology=companions.topology_key,
        preferred=bool(companions.preferred),
    )


def _of_claim(stack: Stack, claim: Claim) -> Occupant:
    return Occupant(
        namespace=stack.namespace,
        stack=stack.name,
        uid=stack.uid,
        node=claim.node,
        zone=stack.spec.zone,
        address=claim.address,
        cpu=to_millicores(stack.spec.resources.cpu),
        memory=to_bytes(stack.spec.resources.memory),
        host_ports=host_ports(stack.spec.expose),
        id_base=None,
        together=together(stack),
        apart=apart(stack),
    )


def _of_guest(guest: Guest, stack: Stack | None) -> Occupant:
    ref = guest.spec.stack_ref
    return Occupant(
        namespace=ref.namespace,
        stack=ref.name,
        uid=ref.uid,
        node=node_of(guest.namespace),
        zone=guest.metadata.labels.get(LABEL_ZONE),
        address=address_of(guest),
        cpu=to_millicores(guest.spec.resources.cpu),
        memory=to_bytes(guest.spec.resources.memory),
        host_ports=host_ports(ports_of(guest)),
        id_base=id_base_of(guest),
        together=together(stack) if stack is not None else None,
        apart=apart(stack) if stack is not None else None,
    )
