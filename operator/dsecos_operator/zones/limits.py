"""What of a zone other nodes cannot be told, because an object takes no more. Pure."""

from __future__ import annotations

from collections import Counter

from dsecos_api import Reason
from dsecos_api.peering import spans_nodes

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.zones.attachments import MOST_ADDRESSES, MOST_REMOTES, ends
from dsecos_operator.zones.observe import Observed
from dsecos_operator.zones.presence import whereabouts

MOST_NAMED = 5
"""Nodes that the message names."""


def beyond(observed: Observed) -> Refused | None:
    """Guests that are not reached from every node of the zone; None: all are."""
    if observed.zone is None or not spans_nodes(observed.zone):
        return None
    nodes = list(ends(observed.nodes, observed.there, observed.needed))
    if len(nodes) < 2:
        return None
    told = [*_too_many_nodes(nodes), *_too_many_guests(observed, nodes)]
    return Refused(Reason.ZONE_TOO_LARGE, "; ".join(told)) if told else None


def _too_many_nodes(nodes: list[str]) -> list[str]:
    """A node is told of all but itself."""
    if len(nodes) <= MOST_REMOTES + 1:
        return []
    last = nodes[MOST_REMOTES:]
    more = f" and {len(last) - MOST_NAMED} more" if len(last) > MOST_NAMED else ""
    return [
        f"a node is told of at most {MOST_REMOTES} others: guests on {', '.join(last[:MOST_NAMED])}{more} are"
        " not reached from every node"
    ]


def _too_many_guests(observed: Observed, nodes: list[str]) -> list[str]:
    places = observed.reached[0].places if observed.reached else ()
    taken = Counter[str]()
    for place in places:
        taken[place.node] += len(place.addresses)
    full = [node for node in nodes if taken[node] > MOST_ADDRESSES]
    if not full:
        return []
    at = whereabouts(places)
    first = {node: at[node][MOST_ADDRESSES] for node in full[:MOST_NAMED]}
    return [
        f"of {node} others are told at most {MOST_ADDRESSES} addresses: from {address} on its guests are not"
        " reached from other nodes"
        for node, address in first.items()
    ]
