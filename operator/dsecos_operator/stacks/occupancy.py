"""Who has which place, read off Guests and claims. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from dsecos_api import Guest, Stack
from dsecos_api.names import LABEL_ZONE
from dsecos_api.quantity import to_bytes, to_millicores
from dsecos_api.shared import Expose

from dsecos_operator.kinds import node_of
from dsecos_operator.scheduling import Occupant
from dsecos_operator.scheduling.model import PortKey
from dsecos_operator.stacks.claim import claim_of


def occupants(stacks: Iterable[Stack], guests: Iterable[Guest]) -> list[Occupant]:
    """A Guest counts as it is until it is gone; a claim counts while its Guest is not there yet."""
    found = [_of_guest(guest) for guest in guests]
    there = {each.uid for each in found}
    for stack in stacks:
        claim = claim_of(stack)
        if claim is not None and stack.uid not in there and not stack.deleting:
            found.append(
                Occupant(
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
                )
            )
    return found


def host_ports(ports: Iterable[Expose]) -> frozenset[PortKey]:
    """The node's ports that are passed to the guest."""
    return frozenset((str(each.protocol), each.host_port) for each in ports if each.host_port)


def _of_guest(guest: Guest) -> Occupant:
    ref = guest.spec.stack_ref
    return Occupant(
        namespace=ref.namespace,
        stack=ref.name,
        uid=ref.uid,
        node=node_of(guest.namespace),
        zone=guest.metadata.labels.get(LABEL_ZONE, ""),
        address=guest.spec.network.address,
        cpu=to_millicores(guest.spec.resources.cpu),
        memory=to_bytes(guest.spec.resources.memory),
        host_ports=host_ports(guest.spec.network.ports),
        id_base=guest.spec.id_map.base,
    )
