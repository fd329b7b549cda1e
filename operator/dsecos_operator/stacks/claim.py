"""The place that a Stack has: what cannot be observed anywhere, and so stands in its status before it is
used.
"""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import Stack
from dsecos_api.names import guest_name


@dataclass(frozen=True)
class Claim:
    """Node, name of the Guest there, assignment epoch, and address in the zone."""

    node: str
    guest: str
    epoch: int
    address: str


def claim_of(stack: Stack) -> Claim | None:
    """The claim in the Stack's status. One of an earlier life, restored from a backup, is none."""
    status = stack.status
    if not (status.node and status.guest and status.epoch and status.address):
        return None
    if status.guest != guest_name(stack.namespace, stack.name, stack.uid):
        return None
    return Claim(status.node, status.guest, status.epoch, status.address)
