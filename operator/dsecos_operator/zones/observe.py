"""What the API says about a zone and everything that bears on it. Reads the cache only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dsecos_api import Guest, NetworkZone, Node, Stack, ZoneAttachment
from dsecos_api.names import LABEL_ZONE
from dsecos_api.peering import ZoneKey, by_key, encapsulation, key, spans_nodes
from dsecos_runtime import GUEST, NETWORK_ZONE, NODE, STACK, ZONE_ATTACHMENT, Cache, Key

from dsecos_operator.kinds import node_of
from dsecos_operator.zones import ids
from dsecos_operator.zones.peers import across, open_to
from dsecos_operator.zones.presence import Population, homes, zone_of


@dataclass(frozen=True)
class Observed:
    """A zone, who uses it, and where it is attached."""

    zone: NetworkZone | None
    others: Sequence[NetworkZone] = ()
    """All zones."""
    stacks: Sequence[Stack] = ()
    guests: Sequence[Guest] = ()
    attachments: Sequence[ZoneAttachment] = ()
    """Those of zones of this name, in whatever life."""
    nodes: Sequence[Node] = ()
    """All nodes."""
    number: int | None = None
    """The id that it has claimed."""
    homes: frozenset[str] = frozenset()
    """Nodes with a guest of the zone, and those where a Stack is about to get one or is on its way to."""
    visited: frozenset[str] = frozenset()
    """The same of the zones that packets pass to or from between nodes."""
    zones: Mapping[ZoneKey, NetworkZone] = field(default_factory=dict)
    """Those that it can agree with."""
    reached: Sequence[Population] = ()
    """The zone itself first, and those that its guests may connect to."""

    @property
    def needed(self) -> list[str]:
        """Nodes that the zone should be on."""
        return sorted(self.homes | self.visited)

    @property
    def own(self) -> list[ZoneAttachment]:
        """Attachments of this very zone."""
        uid = self.zone.uid if self.zone is not None else ""
        return [each for each in self.attachments if each.spec.zone_ref.uid == uid]

    @property
    def there(self) -> dict[str, ZoneAttachment]:
        """Its attachments by node."""
        return {node_of(each.namespace): each for each in self.own}

    @property
    def addresses(self) -> frozenset[str]:
        """Addresses that are taken."""
        claimed = {each.status.address for each in self.stacks if each.status.address}
        used = {each.spec.network.address for each in self.guests if each.spec.network is not None}
        return frozenset(claimed | used)


def observe(cache: Cache, of: Key) -> Observed:
    """Everything that the zone's plan and status depend on."""
    zones = cache.list(NETWORK_ZONE)
    zone = cache.get(NETWORK_ZONE, of)
    looked_at = circle(of, zones)
    spaces, names = {namespace for namespace, _ in looked_at}, {name for _, name in looked_at}
    label = None if _contested(zone, zones) else (LABEL_ZONE, of.name)
    return gather(
        of,
        zones=zones,
        stacks=[each for space in sorted(spaces) for each in cache.list(STACK, space)],
        guests=[each for name in sorted(names) for each in cache.list(GUEST, label=(LABEL_ZONE, name))],
        attachments=cache.list(ZONE_ATTACHMENT, label=label),
        nodes=cache.list(NODE),
    )


def circle(of: ZoneKey, zones: Sequence[NetworkZone]) -> set[ZoneKey]:
    """The zone, and those whose Stacks and Guests bear on where it should be, and on what it is told."""
    zone = next((each for each in zones if key(each) == of), None)
    if zone is None:
        return {of}
    known = by_key(zones)
    return {of, *(key(each) for each in [*across(zone, known), *open_to(zone, known)])}


def gather(
    of: ZoneKey,
    *,
    zones: Sequence[NetworkZone],
    stacks: Iterable[Stack],
    guests: Iterable[Guest],
    attachments: Iterable[ZoneAttachment],
    nodes: Sequence[Node],
) -> Observed:
    """What of these objects bears on a zone: they may be those of all zones."""
    zone = next((each for each in zones if key(each) == of), None)
    stacks, guests, attachments = list(stacks), list(guests), list(attachments)
    known = by_key(zones)
    if zone is not None:
        known[of] = zone  # one that goes stays agreed with itself
    peers = {key(each) for each in across(zone, known)} if zone is not None else set()
    at = homes({of, *peers}, stacks, guests)
    reached = _populations([zone, *open_to(zone, known)], stacks, guests) if zone is not None else []
    return Observed(
        zone=zone,
        others=zones,
        stacks=[each for each in stacks if (each.namespace, each.spec.zone) == of],
        guests=[each for each in guests if zone_of(each) == of],
        attachments=[
            each for each in attachments if (each.spec.zone_ref.namespace, each.spec.zone_ref.name) == of
        ],
        nodes=nodes,
        number=ids.held_among(zone, zones, attachments) if zone and spans_nodes(zone) else None,
        homes=at[of],
        visited=frozenset().union(*(at[each] for each in peers)),
        zones=known,
        reached=reached,
    )


def _populations(
    zones: Sequence[NetworkZone], stacks: Iterable[Stack], guests: Iterable[Guest]
) -> list[Population]:
    """Who of these is in which of the zones."""
    stacks_of: dict[ZoneKey, list[Stack]] = {key(each): [] for each in zones}
    guests_of: dict[ZoneKey, list[Guest]] = {key(each): [] for each in zones}
    for stack in stacks:
        if stack.spec.zone is not None and (stack.namespace, stack.spec.zone) in stacks_of:
            stacks_of[stack.namespace, stack.spec.zone].append(stack)
    for guest in guests:
        zone = zone_of(guest)
        if zone is not None and zone in guests_of:
            guests_of[zone].append(guest)
    return [Population(each, stacks_of[key(each)], guests_of[key(each)]) for each in zones]


def _contested(zone: NetworkZone | None, zones: Iterable[NetworkZone]) -> bool:
    """Whether another zone says that it has the same id: then it matters who of them uses it."""
    if zone is None or zone.status.id is None:
        return False
    mine = encapsulation(zone), zone.status.id
    return sum((encapsulation(each), each.status.id) == mine for each in zones) > 1
