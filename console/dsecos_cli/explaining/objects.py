"""What the API says, looked up by name and address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from ipaddress import ip_address

from dsecos_api import Guest, NetworkZone, Node, Stack
from dsecos_api.names import LABEL_ZONE, LABEL_ZONE_NAMESPACE, NODE_NAMESPACE_PREFIX
from dsecos_api.peering import ZoneKey, by_key, key

from dsecos_cli.explaining.model import (
    Address,
    Elsewhere,
    End,
    Gateway,
    Host,
    Place,
    Port,
    Transport,
    addresses_of,
    networks,
)

REGISTRY_PORT = 5001
"""The TCP port of a node's registry that guests read from, where its settings do not say otherwise."""
NAME_SERVER = (Port(Transport.UDP, 53), Port(Transport.TCP, 53))
"""Of each zone, at its gateway; a node's settings can switch it off."""


class Objects:
    """Objects of one moment."""

    def __init__(
        self,
        zones: Sequence[NetworkZone] = (),
        stacks: Sequence[Stack] = (),
        guests: Sequence[Guest] = (),
        nodes: Sequence[Node] = (),
        *,
        registry_port: int = REGISTRY_PORT,
    ) -> None:
        self.zones, self.stacks, self.guests, self.nodes = zones, stacks, guests, nodes
        self.registry_port = registry_port

    @cached_property
    def agreeing(self) -> dict[ZoneKey, NetworkZone]:
        """Zones that others can agree with: one that is about to go is none of them."""
        return by_key(self.zones)

    @cached_property
    def hosts(self) -> dict[str, Host]:
        """Nodes by name."""
        return {node.name: Host(node.name, addresses_of(node)) for node in self.nodes}

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """All Stacks that are in a zone, and guests whose Stack is gone."""
        return (*self._of_stacks(), *self._left_behind())

    @cached_property
    def _zones(self) -> dict[ZoneKey, NetworkZone]:
        return {key(zone): zone for zone in self.zones}

    def _of_stacks(self) -> Iterator[Place]:
        guests: dict[tuple[str, str], list[Guest]] = {}
        for guest in self.guests:
            guests.setdefault((guest.spec.stack_ref.namespace, guest.spec.stack_ref.name), []).append(guest)
        for stack in self.stacks:
            if stack.spec.zone is None:
                continue
            own = guests.get((stack.namespace, stack.name), [])
            # On its way from node to node a Stack has two; the one where it is placed counts.
            own.sort(key=lambda guest: _node_of(guest) != stack.status.node)
            held = own[0] if own else None
            told = (stack.status.address, stack.status.address6)
            if held is not None and held.spec.network is not None:
                told = (held.spec.network.address, held.spec.network.address6)
            yield Place(
                namespace=stack.namespace,
                name=stack.name,
                zone=self._zones.get((stack.namespace, stack.spec.zone)),
                zone_name=stack.spec.zone,
                node=_node_of(held) if held is not None else stack.status.node,
                addresses=tuple(ip_address(text) for text in told if text),
                stack=stack,
                guest=held,
            )

    def _left_behind(self) -> Iterator[Place]:
        known = {(stack.namespace, stack.name) for stack in self.stacks}
        for guest in self.guests:
            ref, network = guest.spec.stack_ref, guest.spec.network
            if network is None or (ref.namespace, ref.name) in known:
                continue
            labels = guest.metadata.labels
            zone = (labels.get(LABEL_ZONE_NAMESPACE, ""), labels.get(LABEL_ZONE, ""))
            yield Place(
                namespace=ref.namespace,
                name=ref.name,
                zone=self._zones.get(zone),
                zone_name=zone[1],
                node=_node_of(guest),
                addresses=tuple(ip_address(text) for text in (network.address, network.address6) if text),
                stack=None,
                guest=guest,
            )

    def at(self, address: Address) -> End:
        """Whose address it is."""
        ends: tuple[Place | Host, ...] = (*self.places, *self.hosts.values())
        for end in ends:
            if address in end.addresses:
                return end
        for zone in self.zones:
            if f"{address}" in (zone.status.gateway, zone.status.gateway6):
                return Gateway(zone, address)
        return Elsewhere(address, self.zone_of(address))

    def zone_of(self, address: Address) -> NetworkZone | None:
        """The zone whose network an address is of."""
        return next((zone for zone in self.zones if any(address in net for net in networks(zone))), None)


def _node_of(guest: Guest) -> str:
    return guest.namespace.removeprefix(NODE_NAMESPACE_PREFIX)
