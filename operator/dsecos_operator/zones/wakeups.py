"""Whom a change wakes: mappers from objects to keys of zones, over the cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dsecos_api import Guest, NetworkZone, Node, Stack, ZoneAttachment
from dsecos_api.names import attachment_name, node_namespace
from dsecos_api.peering import consents, encapsulation, key
from dsecos_runtime import (
    GUEST,
    NETWORK_ZONE,
    NODE,
    STACK,
    ZONE_ATTACHMENT,
    Cache,
    Input,
    Key,
    ignoring_status,
)

from dsecos_operator.scheduling.network import NOTHING, asks, tunnel_address
from dsecos_operator.zones import check
from dsecos_operator.zones.ids import waits_for_any, wish
from dsecos_operator.zones.presence import zone_of
from dsecos_operator.zones.services import services


class WakeUps:
    """The inputs of the zone's controller."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def inputs(self) -> tuple[Input[Any], ...]:
        """Everything that can change where a zone should be, and what nodes and users are told of it."""
        return (
            Input(NETWORK_ZONE, keys=self._of_zone, changed=ignoring_status),
            Input(NETWORK_ZONE, keys=self._of_peers, changed=_usable_changed),
            Input(STACK, keys=self._of_stack, changed=self._place_changed),
            Input(GUEST, keys=self._of_guest, changed=_network_changed),
            Input(NODE, keys=self._asking, changed=_ways_changed),
            Input(ZONE_ATTACHMENT, keys=_of_attachment),
        )

    def _of_zone(self, zone: NetworkZone) -> Iterable[Key]:
        """The zone itself, those that may have waited for its network or id, and its peers."""
        yield Key.of(zone)
        for other in self._cache.list(NETWORK_ZONE):
            if other.uid != zone.uid and (_rival(zone, other) or check.overlap(zone, other)):
                yield Key.of(other)
        yield from self._of_peers(zone)

    def _of_peers(self, zone: NetworkZone) -> Iterable[Key]:
        """Zones that it names, and those that name it."""
        for peer in zone.spec.peers:
            yield Key(peer.namespace, peer.zone)
        for other in self._cache.list(NETWORK_ZONE):
            if any((each.namespace, each.zone) == key(zone) for each in other.spec.peers):
                yield Key.of(other)

    def _of_stack(self, stack: Stack) -> Iterable[Key]:
        return () if stack.spec.zone is None else self._connected(Key(stack.namespace, stack.spec.zone))

    def _place_changed(self, old: Stack | None, new: Stack) -> bool:
        """A first place where the zone is already is told together with the Guest, which follows at once: so
        each node is written to once for a new Stack.
        """
        if old is None or _place(old) == _place(new):
            return old is None
        zone, node, guest = new.spec.zone, new.status.node, new.status.guest
        if zone is None or node is None or guest is None or old.status.node is not None or new.deleting:
            return True
        space = node_namespace(node)
        there = self._cache.get(ZONE_ATTACHMENT, Key(space, attachment_name(new.namespace, zone)))
        return there is None or self._cache.get(GUEST, Key(space, guest)) is not None

    def _of_guest(self, guest: Guest) -> Iterable[Key]:
        zone = zone_of(guest)
        return () if zone is None else self._connected(Key(*zone))

    def _connected(self, of: Key) -> Iterable[Key]:
        """A zone; those that are on its nodes because packets pass between them; and those whose guests may
        connect to its own, and find them by name.
        """
        yield of
        zone = self._cache.get(NETWORK_ZONE, of)
        if zone is None:
            return
        if asks(zone).spans:
            for peer in zone.spec.peers:
                yield Key(peer.namespace, peer.zone)
        named = (self._cache.get(NETWORK_ZONE, Key(each.namespace, each.zone)) for each in zone.spec.peers)
        for consent in consents(zone, {key(each): each for each in named if each is not None}):
            yield Key.of(consent.peer)

    def _asking(self, _: Node) -> Iterable[Key]:
        """Zones that ask something of the nodes that they are on."""
        return [Key.of(each) for each in self._cache.list(NETWORK_ZONE) if asks(each) != NOTHING]


def _rival(zone: NetworkZone, other: NetworkZone) -> bool:
    """Whether the other one may wait for the id that the zone has or asks for."""
    ids = {wish(zone), zone.status.id} - {None}
    same_space = encapsulation(zone) == encapsulation(other)
    return same_space and bool(ids) and (wish(other) in ids or waits_for_any(other))


def _of_attachment(attachment: ZoneAttachment) -> Iterable[Key]:
    ref = attachment.spec.zone_ref
    return (Key(ref.namespace, ref.name),)


def _usable_changed(old: NetworkZone | None, new: NetworkZone) -> bool:
    return old is None or check.usable(old) != check.usable(new)


def _place(stack: Stack) -> tuple[object, ...]:
    status = stack.status
    return stack.spec.zone, status.node, status.moving_to, status.address, stack.deleting


def _network_changed(old: Guest | None, new: Guest) -> bool:
    return old is None or _network(old) != _network(new)


def _network(guest: Guest) -> tuple[object, ...]:
    address = guest.spec.network.address if guest.spec.network is not None else None
    return zone_of(guest), address, guest.deleting, services(guest)


def _ways_changed(old: Node | None, new: Node) -> bool:
    return old is None or _ways(old) != _ways(new)


def _ways(node: Node) -> tuple[object, ...]:
    """What of a Node bears on zones; that its engine can do this and that does not."""
    status = node.status
    capabilities = sorted(each for each in status.capabilities if each.startswith("zone/"))
    return tunnel_address(node), status.tunnel_mtu, capabilities, bool(status.capabilities)
