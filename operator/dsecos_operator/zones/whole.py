"""All zones of a cluster at once, as the controller settles them one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dsecos_api import Guest, NetworkZone, Node, Stack, ZoneAttachment
from dsecos_api.peering import ZoneKey, encapsulation, key, spans_nodes

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.zones import ids
from dsecos_operator.zones.check import age
from dsecos_operator.zones.network import Verdict, judge
from dsecos_operator.zones.observe import Observed, circle, gather
from dsecos_operator.zones.plan import attachments as wanted
from dsecos_operator.zones.presence import zone_of
from dsecos_operator.zones.status import status


def settle(
    zones: Iterable[NetworkZone],
    stacks: Iterable[Stack],
    guests: Iterable[Guest],
    nodes: Iterable[Node],
    attachments: Iterable[ZoneAttachment] = (),
) -> tuple[list[NetworkZone], list[ZoneAttachment]]:
    """The zones with their statuses, and every ZoneAttachment of the cluster: where nothing is left to do.

    `attachments`: those that are there already; ids and MTUs that they tell are kept.
    """
    cluster = _Cluster(list(zones), list(stacks), list(guests), list(nodes), list(attachments))
    # What a zone is told depends on whether its peers can be had, so all of them are judged before.
    for _ in range(2):
        for zone in sorted(cluster.zones, key=age):
            cluster.judge(zone)
    return cluster.zones, [each for zone in cluster.zones for each in wanted(*cluster.look(zone))]


class _Cluster:
    """What the API holds."""

    def __init__(
        self,
        zones: list[NetworkZone],
        stacks: Sequence[Stack],
        guests: Sequence[Guest],
        nodes: Sequence[Node],
        attachments: Sequence[ZoneAttachment],
    ) -> None:
        self.zones = zones
        self._nodes, self._attachments = nodes, attachments
        self._stacks: dict[ZoneKey, list[Stack]] = {}
        self._guests: dict[ZoneKey, list[Guest]] = {}
        for stack in stacks:
            self._stacks.setdefault((stack.namespace, stack.spec.zone or ""), []).append(stack)
        for guest in guests:
            self._guests.setdefault(zone_of(guest) or ("", ""), []).append(guest)

    def look(self, zone: NetworkZone) -> tuple[Observed, Verdict]:
        """The zone as the controller sees it."""
        looked_at = sorted(circle(key(zone), self.zones))
        observed = gather(
            key(zone),
            zones=self.zones,
            stacks=[each for of in looked_at for each in self._stacks.get(of, ())],
            guests=[each for of in looked_at for each in self._guests.get(of, ())],
            attachments=self._attachments,
            nodes=self._nodes,
        )
        return observed, judge(observed)

    def judge(self, zone: NetworkZone) -> None:
        """Give the zone its id and status."""
        observed, verdict = self.look(zone)
        if spans_nodes(zone) and verdict.problem is None and observed.number is None:
            known = ids.claims(encapsulation(zone), self.zones, self._attachments)
            try:
                self._write(zone, id=ids.choose(zone, self.zones, known, {}))
            except Refused as refused:
                verdict = Verdict(problem=refused)
            observed, _ = self.look(zone)
        told = observed.zone or zone
        self._write(zone, **dict(status(told, observed, verdict, waiting=0)))

    def _write(self, zone: NetworkZone, **fields: object) -> None:
        """Change fields of the zone's status."""
        place = next(index for index, each in enumerate(self.zones) if each.uid == zone.uid)
        found = self.zones[place]
        changed = found.status.model_copy(update=fields)
        self.zones[place] = found.model_copy(update={"status": changed})
