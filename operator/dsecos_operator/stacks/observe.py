"""What the API says about a Stack and everything that bears on it. Reads the cache only."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import Guest, License, NetworkZone, Node, Stack, ZoneAttachment
from dsecos_api.names import (
    LABEL_STACK,
    LABEL_STACK_NAMESPACE,
    LABEL_ZONE,
    LABEL_ZONE_NAMESPACE,
    attachment_name,
    node_namespace,
)
from dsecos_api.peering import by_key, key
from dsecos_runtime import GUEST, LICENSE, NETWORK_ZONE, NODE, STACK, ZONE_ATTACHMENT, Cache, Key

from dsecos_operator.kinds import (
    CONFIG_MAP_STAMP,
    LABEL_RETAINED,
    SECRET_STAMP,
    ConfigMapStamp,
    Stamp,
    node_of,
)
from dsecos_operator.stacks.claim import Claim, believed, claim_of
from dsecos_operator.zones.peers import across
from dsecos_operator.zones.presence import homes


@dataclass(frozen=True)
class Observed:
    """A Stack's world. `guests` and `secrets` are those made for a Stack of this name, in whatever life."""

    stack: Stack | None
    zone: NetworkZone | None = None
    """None as well where the Stack has none."""
    licenses: tuple[License, ...] = ()
    node: Node | None = None
    """The node that the Stack is placed on."""
    guests: tuple[Guest, ...] = ()
    secrets: tuple[Stamp, ...] = ()
    attachment: ZoneAttachment | None = None
    """The zone on that node."""
    neighbours: int = 0
    """Others that need that attachment."""
    retained: tuple[ConfigMapStamp, ...] = ()
    target: Node | None = None
    """The node that the Stack is on its way to."""
    target_attachment: ZoneAttachment | None = None
    """The zone on that one."""

    @property
    def own(self) -> tuple[Guest, ...]:
        """The Guests of this very Stack: two while one of them is left behind."""
        uid = self.stack.uid if self.stack is not None else ""
        return tuple(each for each in self.guests if each.spec.stack_ref.uid == uid)

    @property
    def claim(self) -> Claim | None:
        """The place that the Stack has."""
        return believed(claim_of(self.stack), self.own) if self.stack is not None else None

    @property
    def guest(self) -> Guest | None:
        """The Guest in that place."""
        claim = self.claim
        return self.guest_on(claim.node) if claim is not None else None

    def guest_on(self, node: str) -> Guest | None:
        """The Stack's Guest on a node."""
        return next((each for each in self.own if node_of(each.namespace) == node), None)


def observe(cache: Cache, key: Key) -> Observed:
    """Everything that the Stack's plan and status depend on, but for the places of others."""
    stack = cache.get(STACK, key)
    guests = tuple(
        each
        for each in cache.list(GUEST, label=(LABEL_STACK, key.name))
        if each.metadata.labels.get(LABEL_STACK_NAMESPACE) == key.namespace
    )
    secrets = tuple(
        each
        for each in cache.list(SECRET_STAMP, label=(LABEL_STACK, key.name))
        if each.metadata.labels.get(LABEL_STACK_NAMESPACE) == key.namespace and node_of(each.namespace)
    )
    if stack is None:
        return Observed(None, guests=guests, secrets=secrets)
    uid = stack.uid
    claim = believed(claim_of(stack), [each for each in guests if each.spec.stack_ref.uid == uid])
    target = claim.moving_to if claim else None
    zone = Key(stack.namespace, stack.spec.zone) if stack.spec.zone is not None else None
    return Observed(
        stack=stack,
        zone=cache.get(NETWORK_ZONE, zone) if zone else None,
        licenses=tuple(cache.list(LICENSE)),
        node=cache.get(NODE, Key("", claim.node)) if claim else None,
        guests=guests,
        secrets=secrets,
        attachment=_attachment(cache, zone, claim.node) if zone and claim else None,
        neighbours=_neighbours(cache, stack, zone, claim.node) if zone and claim and stack.deleting else 0,
        retained=tuple(cache.list(CONFIG_MAP_STAMP, label=(LABEL_RETAINED, "true"))),
        target=cache.get(NODE, Key("", target)) if target else None,
        target_attachment=_attachment(cache, zone, target) if zone and target else None,
    )


def _attachment(cache: Cache, zone: Key, node: str) -> ZoneAttachment | None:
    return cache.get(ZONE_ATTACHMENT, Key(node_namespace(node), attachment_name(zone.namespace, zone.name)))


def _neighbours(cache: Cache, stack: Stack, zone: Key, node: str) -> int:
    """Who else keeps the zone on the node."""
    guests = {
        each.spec.stack_ref.uid
        for each in cache.list(GUEST, node_namespace(node), label=(LABEL_ZONE, zone.name))
        if each.metadata.labels.get(LABEL_ZONE_NAMESPACE) == zone.namespace
    }
    claims = {
        each.uid
        for each in cache.list(STACK, zone.namespace)
        if each.spec.zone == zone.name and each.status.node == node and not each.deleting
    }
    return len((guests | claims) - {stack.uid}) + _visitors(cache, zone, node)


def _visitors(cache: Cache, zone: Key, node: str) -> int:
    """Zones whose guests on the node are why this one is there too."""
    found, zones = cache.get(NETWORK_ZONE, zone), by_key(cache.list(NETWORK_ZONE))
    peers = {key(each) for each in across(found, zones)} if found is not None else set()
    if not peers:
        return 0
    at = homes(peers, cache.list(STACK), cache.list(GUEST))
    return sum(node in nodes for nodes in at.values())
