"""How large a zone's packets may be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from dsecos_api import NetworkZone, Node, Reason, ZoneAttachment

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling.network import DEFAULT_MTU, asks, lacks, room


def mtu(
    zone: NetworkZone, nodes: Sequence[Node], on: Collection[str], attachments: Iterable[ZoneAttachment]
) -> int | None:
    """What fits through the nodes that can take the zone, in bytes; None while no node can.

    Once it is known it stays, but for the nodes that the zone is `on`: none of them may have less. Raises
    Refused (MtuTooSmall) if that is what keeps the zone from every node.
    """
    wanted = asks(zone)
    if not wanted.spans:
        return DEFAULT_MTU
    fitting = [each for each in nodes if not any(lacks(each, wanted))]
    known = zone.status.mtu or min((each.spec.mtu for each in attachments), default=None)
    if known is None:
        if not fitting:
            _refuse(zone, nodes)
            return None
        known = min(room(each, wanted) for each in fitting)
    return min([known, *(room(each, wanted) for each in fitting if each.name in on)])


def _refuse(zone: NetworkZone, nodes: Sequence[Node]) -> None:
    """Raises Refused if each node that could have the zone has too small an MTU, and there are such."""
    why = {each.name: list(lacks(each, asks(zone))) for each in nodes}
    small = {
        name: found[0].why
        for name, found in sorted(why.items())
        if {each.reason for each in found} == {Reason.MTU_TOO_SMALL}
    }
    waiting = any(all(each.passing for each in found) for found in why.values())
    if small and not waiting:
        raise Refused(Reason.MTU_TOO_SMALL, "; ".join(f"{name}: {told}" for name, told in small.items()))
