"""What the API says about a zone. Reads the cache only."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import Guest, NetworkZone, Stack, ZoneAttachment
from dsecos_api.names import LABEL_ZONE, LABEL_ZONE_NAMESPACE
from dsecos_runtime import GUEST, NETWORK_ZONE, STACK, ZONE_ATTACHMENT, Cache, Key

from dsecos_operator.kinds import node_of


@dataclass(frozen=True)
class Observed:
    """A zone, who uses it, and where it is attached."""

    zone: NetworkZone | None
    others: tuple[NetworkZone, ...]
    stacks: tuple[Stack, ...]
    guests: tuple[Guest, ...]
    attachments: tuple[ZoneAttachment, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes with a guest of the zone, and those where a Stack is about to get one or is on its way to."""
        places = [(each.status.node, each.status.moving_to) for each in self.stacks if not each.deleting]
        claimed = {node for place in places for node in place if node}
        return tuple(sorted(claimed | {node_of(each.namespace) for each in self.guests}))

    @property
    def addresses(self) -> frozenset[str]:
        """Addresses that are taken."""
        claimed = {each.status.address for each in self.stacks if each.status.address}
        used = {each.spec.network.address for each in self.guests if each.spec.network is not None}
        return frozenset(claimed | used)


def observe(cache: Cache, key: Key) -> Observed:
    """Everything that the zone's plan and status depend on."""
    return Observed(
        zone=cache.get(NETWORK_ZONE, key),
        others=tuple(cache.list(NETWORK_ZONE)),
        stacks=tuple(each for each in cache.list(STACK, key.namespace) if each.spec.zone == key.name),
        guests=tuple(
            each
            for each in cache.list(GUEST, label=(LABEL_ZONE, key.name))
            if each.metadata.labels.get(LABEL_ZONE_NAMESPACE) == key.namespace
        ),
        attachments=tuple(
            each
            for each in cache.list(ZONE_ATTACHMENT, label=(LABEL_ZONE, key.name))
            if each.spec.zone_ref.namespace == key.namespace and each.spec.zone_ref.name == key.name
        ),
    )
