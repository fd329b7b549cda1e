"""The place that a Stack has: what cannot be observed anywhere, and so stands in its status before it is
used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsecos_api import Guest, Stack
from dsecos_api.names import guest_name
from dsecos_api.stack import FailedMove

from dsecos_operator.kinds import node_of
from dsecos_operator.stacks.guests import address_of


@dataclass(frozen=True)
class Claim:
    """Node, name of the Guest there, assignment epoch, and address in the zone."""

    node: str
    guest: str
    epoch: int
    address: str | None
    """None: it was adopted, with a network of its own."""
    moving_to: str | None = None
    """Node that it is on its way to: a claim there as well."""
    failed_move: FailedMove | None = None


def claim_of(stack: Stack) -> Claim | None:
    """The claim in the Stack's status. One of an earlier life, restored from a backup, is none."""
    status = stack.status
    if not (status.node and status.guest and status.epoch):
        return None
    address = None if stack.spec.adopt is not None else status.address
    if stack.spec.adopt is None and not address:
        return None
    if status.guest != guest_name(stack.namespace, stack.name, stack.uid):
        return None
    return Claim(status.node, status.guest, status.epoch, address, status.moving_to, status.failed_move)


def believed(claim: Claim | None, guests: Sequence[Guest]) -> Claim | None:
    """The claim, unless the Stack's Guests say otherwise: a status that was lost, or that somebody forged,
    must not make a second guest beside the one that is there.
    """
    if not guests:
        return claim
    if claim is not None and any(
        node_of(each.namespace) == claim.node or has_arrived(each, claim.node) for each in guests
    ):
        return claim
    there = guests[0]
    return Claim(node_of(there.namespace), there.name, there.spec.epoch, address_of(there))


def has_arrived(guest: Guest, node: str) -> bool:
    """Whether the engine has moved the guest to the node, as it was ordered."""
    order = guest.spec.migrate
    return order is not None and order.node == node and guest.status.engine_node == order.engine_node
