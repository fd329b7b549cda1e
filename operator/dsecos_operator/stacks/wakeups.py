"""Whom a change wakes: mappers from objects to keys of Stacks, over the cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dsecos_api import Guest, License, NetworkZone, Node, Stack, Type, ZoneAttachment
from dsecos_runtime import (
    GUEST,
    LICENSE,
    NETWORK_ZONE,
    NODE,
    STACK,
    ZONE_ATTACHMENT,
    Cache,
    Input,
    Key,
    ignoring_status,
    is_true,
)

from dsecos_operator.kinds import (
    CONFIG_MAP_STAMP,
    LABEL_RETAINED,
    SECRET_STAMP,
    Stamp,
    labelled_stack,
    node_of,
)
from dsecos_operator.maintenance.view import is_down
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.references import secret_values


class WakeUps:
    """The inputs of the Stack's controller."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def inputs(self) -> tuple[Input[Any], ...]:
        """Everything that can change what a Stack should be, or what is said of it."""
        return (
            Input(STACK, keys=self._of_stack, changed=ignoring_status),
            Input(STACK, keys=self._of_companion, changed=_standing_changed),
            Input(GUEST, keys=self._of_guest),
            Input(GUEST, keys=self._of_fellow, changed=upkeep_changed),
            Input(NETWORK_ZONE, keys=self._of_zone, changed=_zone_changed),
            Input(ZONE_ATTACHMENT, keys=self._of_attachment, changed=lambda _, __: False),
            Input(ZONE_ATTACHMENT, keys=self._of_way),
            Input(NODE, keys=self._of_node, changed=_node_changed),
            Input(LICENSE, keys=self._of_license, changed=ignoring_status),
            Input(SECRET_STAMP, keys=self._of_secret, changed=_version_changed),
            Input(CONFIG_MAP_STAMP, keys=self._of_config_map, changed=_version_changed),
        )

    def pending(self) -> Iterator[Key]:
        """Stacks that wait for a place."""
        for stack in self._cache.list(STACK):
            if not is_true(stack.status, Type.SCHEDULED):
                yield Key.of(stack)

    def _of_stack(self, stack: Stack) -> Iterable[Key]:
        """One that has a place and goes, or gives up a port, may be what others wait for."""
        yield Key.of(stack)
        if claim_of(stack) is not None:
            yield from self.pending()

    def _of_companion(self, stack: Stack) -> Iterable[Key]:
        """Those that wait for this one's place, or for it to be Ready before they are taken down."""
        group = stack.spec.disruption_group
        for each in self._cache.list(STACK, stack.namespace):
            if each.uid == stack.uid:
                continue
            waits = each.spec.placement is not None and claim_of(each) is None
            if waits or (group is not None and each.spec.disruption_group == group):
                yield Key.of(each)

    def _of_fellow(self, guest: Guest) -> Iterable[Key]:
        """On a node in maintenance the others may wait for this one."""
        node = self._cache.get(NODE, Key("", node_of(guest.namespace)))
        if node is not None and node.spec.maintenance:
            yield from self._placed_on(node)

    def _of_way(self, attachment: ZoneAttachment) -> Iterable[Key]:
        """A Stack on its way waits until its zone is in force where it goes."""
        ref = attachment.spec.zone_ref
        for stack in self._cache.list(STACK, ref.namespace):
            if stack.spec.zone == ref.name and stack.status.moving_to is not None:
                yield Key.of(stack)

    def _placed_on(self, node: Node) -> Iterable[Key]:
        for stack in self._cache.list(STACK):
            if node.name in (stack.status.node, stack.status.moving_to):
                yield Key.of(stack)

    def _of_guest(self, guest: Guest) -> Iterable[Key]:
        ref = guest.spec.stack_ref
        return (Key(ref.namespace, ref.name),)

    def _of_zone(self, zone: NetworkZone) -> Iterable[Key]:
        return self._in_zone(Key.of(zone))

    def _of_attachment(self, attachment: ZoneAttachment) -> Iterable[Key]:
        """A Stack that was the zone's last one on a node waits until the zone is gone there."""
        ref = attachment.spec.zone_ref
        for stack in self._cache.list(STACK, ref.namespace):
            if stack.spec.zone == ref.name and stack.deleting:
                yield Key.of(stack)

    def _in_zone(self, zone: Key) -> Iterable[Key]:
        return [
            Key.of(each) for each in self._cache.list(STACK, zone.namespace) if each.spec.zone == zone.name
        ]

    def _of_node(self, node: Node) -> Iterable[Key]:
        return {*self._placed_on(node), *self.pending()}

    def _of_license(self, _: License) -> Iterable[Key]:
        return self._cache.keys(STACK)

    def _of_secret(self, stamp: Stamp) -> Iterable[Key]:
        """A tenant's Secret wakes those who refer to it, a guest's Secret its Stack."""
        made_for = labelled_stack(stamp.metadata)
        if made_for is not None:
            yield made_for
        for stack in self._cache.list(STACK, stamp.namespace):
            if any(each.secret_key_ref.name == stamp.name for each in secret_values(stack)):
                yield Key.of(stack)

    def _of_config_map(self, stamp: Stamp) -> Iterable[Key]:
        for stack in self._cache.list(STACK, stamp.namespace):
            compose = stack.spec.compose
            ref = compose.config_map_ref if compose is not None else None
            if ref is not None and ref.name == stamp.name:
                yield Key.of(stack)
        if LABEL_RETAINED in stamp.metadata.labels:  # data was given up
            yield from self.pending()


def _standing_changed(old: Stack | None, new: Stack) -> bool:
    """Whether its place is another one, or its disruption group has one more or less that serves."""
    if old is None:
        return False
    ready = is_true(old.status, Type.READY), is_true(new.status, Type.READY)
    moved = claim_of(old) != claim_of(new)
    return moved or (new.spec.disruption_group is not None and ready[0] != ready[1])


def upkeep_changed(old: Guest | None, new: Guest) -> bool:
    """Whether a guest's part in a drain is another one."""
    return old is None or _part(old) != _part(new)


def _part(guest: Guest) -> tuple[Any, ...]:
    spec = guest.spec
    return spec.maintenance, spec.run_policy, spec.paused, spec.migrate, guest.deleting, is_down(guest)


def _version_changed(old: Stamp | None, new: Stamp) -> bool:
    return old is None or old.version != new.version


def _zone_changed(old: NetworkZone | None, new: NetworkZone) -> bool:
    return old is None or _usable(old) != _usable(new)


def _usable(zone: NetworkZone) -> tuple[Any, ...]:
    """What of a zone bears on its Stacks; how many addresses are taken does not."""
    stalled = next((each.message for each in zone.status.conditions if each.type == Type.STALLED), None)
    return zone.uid, zone.spec, zone.deleting, zone.status.gateway, stalled


def _node_changed(old: Node | None, new: Node) -> bool:
    return old is None or _judged(old) != _judged(new)


def _judged(node: Node) -> tuple[Any, ...]:
    """What of a Node bears on placing, endpoints and on what is known of its guests."""
    status = node.status
    ready = next(((each.status, each.reason) for each in status.conditions if each.type == Type.READY), None)
    room = status.allocatable and (
        status.allocatable.cpu,
        status.allocatable.memory,
        status.allocatable.guests,
    )
    engine = status.engine_cluster, sorted(status.capabilities), status.tunnel_mtu
    return node.spec, node.metadata.labels, node.deleting, ready, room, status.addresses, engine
