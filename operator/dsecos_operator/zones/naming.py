"""Which names the guests of a zone find on each node. Pure.

They are told of what they can reach and of nothing else: those of their own zone, and those of zones that let
them connect; of other nodes, where packets pass between nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dsecos_api import NetworkZone
from dsecos_api.peering import spans_nodes
from dsecos_api.zoneattachment import Name

from dsecos_operator.zones.presence import Population
from dsecos_operator.zones.services import is_label, services

MOST_NAMES = 4096
"""What the schema takes: Stacks that one zone's guests find. Beyond them come those of other zones, and then
those that sort last, which then are not found by name.
"""
MOST_BYTES = 2**20
"""What all names of one zone take in etcd, which refuses objects of more than 1.5 MiB. One that is refused
would keep every other change from the node, so names beyond are left out in the same order.
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    rank: tuple[bool, str, str]
    name: Name
    size: int


class Directory:
    """The names that a zone's guests find."""

    def __init__(self, zone: NetworkZone, reached: Iterable[Population]) -> None:
        """`reached`: the zone itself, and those that its guests may connect to."""
        self._everywhere: list[_Entry] = []
        self._only_on: dict[str, list[_Entry]] = {}
        for each in reached:
            crossing = spans_nodes(zone) and spans_nodes(each.zone)
            for node, name in _names(each):
                entry = _Entry((each.zone.uid != zone.uid, name.namespace, name.stack), name, _size(name))
                (self._everywhere if crossing else self._only_on.setdefault(node, [])).append(entry)

    def on(self, node: str) -> list[Name]:
        """Those that they find on this node, sorted."""
        told: list[Name] = []
        size = 0
        known = [*self._everywhere, *self._only_on.get(node, ())]
        for entry in sorted(known, key=lambda each: each.rank)[:MOST_NAMES]:
            size += entry.size
            if size > MOST_BYTES:
                break
            told.append(entry.name)
        return sorted(told, key=lambda each: (each.namespace, each.stack))


def _names(of: Population) -> Iterable[tuple[str, Name]]:
    """The zone's Stacks that have a Guest, and the node that each is on.

    One that has a place and no Guest yet has no name: nothing answers there, what its services are nobody
    knows, and anybody may have written the place who can write a Stack's status.
    """
    for place in of.places:
        stack, guest = place.stack, place.guest
        if stack is not None and guest is not None and is_label(stack.name):
            yield (
                place.node,
                Name(
                    namespace=stack.namespace,
                    stack=stack.name,
                    addresses=list(place.addresses),
                    services=list(services(guest)),
                ),
            )


def _size(name: Name) -> int:
    """Bytes in etcd, rounded up: all of it is there twice, as metadata.managedFields names each part."""
    parts = [*name.addresses, *name.services]
    return 192 + 2 * len(name.namespace + name.stack) + sum(2 * len(each) + 18 for each in parts)
