"""A cloud of real links: each node, each guest and the outside is a network namespace.

Bridges, transit links and rules of the nodes are those that the agent's own code makes of the nodes' objects.

    outside (routes) 192.0.2.100 --- switch --- 192.0.2.N node N --- zones' bridges --- guests
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from dsecos_agent.firewall.model import Policy
from dsecos_agent.firewall.render import render as render_text
from dsecos_agent.firewall.validate import Names
from dsecos_agent.hostfirewall.model import known_addresses, known_networks
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.nodefirewall.render import render
from dsecos_agent.zones.naming import bridge_name, bridge_of, port_name, transit_of
from dsecos_api import Guest, Node, ZoneAttachment
from dsecos_api.names import node_namespace
from dsecos_cli.explaining.model import Address, Port, Transport
from dsecos_cli.explaining.objects import NAME_SERVER, REGISTRY_PORT
from dsecos_operator.hostpolicies.plan import node_addresses, zone_networks

from tests.network.cases import FAR, METADATA, OUTSIDE, PORTS, Cloud
from tests.network.namespaces import Space
from tests.network.probing import Servers

PREFIX, INSTANCE = "dt", "dtnet"
AT_GATEWAY = [Port(Transport.TCP, REGISTRY_PORT), *NAME_SERVER]
SERVED = [Port(Transport(each["protocol"]), int(each["port"])) for each in PORTS]


@dataclass
class Fabric:
    """What probes are sent between."""

    servers: Servers
    outside: Space
    nodes: dict[str, Space] = field(default_factory=dict)
    guests: dict[str, Space] = field(default_factory=dict)
    """By name of the Guest."""


@contextmanager
def fabric(cloud: Cloud, home: Path) -> Iterator[Fabric]:
    """All of it, as long as the context lasts."""
    with ExitStack() as stack:
        made = _Builder(cloud, home, stack)
        made.underlay()
        for node in cloud.nodes:
            made.node(node)
        made.serve()
        yield made.fabric


def addresses_of(guest: Guest) -> list[Address]:
    """Of a guest: IPv4, and IPv6 where its zone has it."""
    network = guest.spec.network
    return addresses(network.address, network.address6) if network is not None else []


def addresses(*texts: str | None) -> list[Address]:
    """Those that are there."""
    return [ip_address(text) for text in texts if text]


class _Builder:
    def __init__(self, cloud: Cloud, home: Path, stack: ExitStack) -> None:
        self._cloud, self._home, self._stack = cloud, home, stack
        self._switch = self._space()
        self.fabric = Fabric(Servers(), self._space())
        stack.callback(self.fabric.servers.close)
        self.fabric.nodes = {node.name: self._space() for node in cloud.nodes}
        self.fabric.guests = {guest.name: self._space() for guest in cloud.guests}

    def _space(self) -> Space:
        space = Space()
        self._stack.callback(space.close)
        return space

    def underlay(self) -> None:
        """One network for nodes and outside; there everything else is, as far as nodes know."""
        outside = self.fabric.outside
        self._switch.ip(
            "link add sw type bridge mcast_snooping 0",
            "link set sw up",
            *_plugged("out", outside),
            *(line for name, space in self.fabric.nodes.items() for line in _plugged(name, space)),
        )
        outside.ip(
            *_joined(addresses(*OUTSIDE)),
            *(f"addr add {address} dev lo" for address in (*FAR, *METADATA)),
            *self._ways_to_guests(),
        )
        with outside.entered():  # a router that knows the way to every guest
            for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", setting).write_text("1")
        for node in self._cloud.nodes:
            ways = (f"route add default via {address}" for address in OUTSIDE)
            self.fabric.nodes[node.name].ip(*_joined(self._own(node)), *ways)

    def _own(self, node: Node) -> tuple[Address, ...]:
        return self._cloud.objects.hosts[node.name].addresses

    def _ways_to_guests(self) -> Iterator[str]:
        for guest in self._cloud.guests:
            node = self._cloud.objects.hosts[_node_of(guest)]
            for address in addresses_of(guest):
                via = next(each for each in node.addresses if each.version == address.version)
                yield f"route add {address} via {via}"

    def node(self, node: Node) -> None:
        """What its agent does."""
        space = self.fabric.nodes[node.name]
        attachments = [a for a in self._cloud.attachments if a.namespace == node_namespace(node.name)]
        guests = [guest for guest in self._cloud.guests if _node_of(guest) == node.name]
        policy = self._policy(attachments, guests)
        links = NetlinkLinks(PREFIX, self._home / node.name)
        with space.entered():
            asyncio.run(self._links(links, attachments))
        space.feed(["nft", "-f", "-"], [render_text(policy, Names(INSTANCE, PREFIX))])
        for guest in guests:
            self._guest(space, guest, attachments)
        with space.entered():
            asyncio.run(self._attach(links, guests, attachments))

    def _policy(self, attachments: list[ZoneAttachment], guests: list[Guest]) -> Policy:
        rendered = render(
            attachments,
            guests,
            prefix=PREFIX,
            ports=lambda name: port_name(PREFIX, name),
            registry_port=REGISTRY_PORT,
            name_server=True,
            previous=Policy(),
            protected=known_addresses(node_addresses(self._cloud.nodes)),
            elsewhere=known_networks(zone_networks(self._cloud.zones)),
        )
        assert not rendered.conflicts
        return rendered.policy

    async def _links(self, links: NetlinkLinks, attachments: list[ZoneAttachment]) -> None:
        await links.ensure_forwarding()
        await links.ensure_forwarding6()
        for attachment in attachments:
            await links.ensure_bridge(bridge_of(PREFIX, attachment))
            transit = transit_of(PREFIX, attachment)
            if transit is not None:
                await links.ensure_transit(transit)

    def _guest(self, node: Space, guest: Guest, attachments: list[ZoneAttachment]) -> None:
        """As its engine makes it: its address alone, everything else through the gateway."""
        network, inside = guest.spec.network, self.fabric.guests[guest.name]
        assert network is not None
        mtu = next(each.spec.mtu for each in attachments if each.name == network.attachment)
        port = port_name(PREFIX, guest.name)
        node.ip(f"link add {port} type veth peer name eth0 address {network.mac} netns {inside.path}")
        gateways = [network.gateway, *([network.gateway6] if network.gateway6 else [])]
        inside.ip(
            f"link set eth0 mtu {mtu} up",
            *(f"addr add {each} dev eth0" for each in addresses_of(guest)),
            *(f"route add default via {gateway} dev eth0 onlink" for gateway in gateways),
        )

    async def _attach(
        self, links: NetlinkLinks, guests: list[Guest], attachments: list[ZoneAttachment]
    ) -> None:
        bridges = {a.name: bridge_name(PREFIX, a.spec.zone_ref.uid) for a in attachments}
        for guest in guests:
            assert guest.spec.network is not None
            await links.attach(port_name(PREFIX, guest.name), bridges[guest.spec.network.attachment])

    def serve(self) -> None:
        """Everybody answers at all of their addresses."""
        servers, cloud = self.fabric.servers, self._cloud
        servers.listen(self.fabric.outside, addresses(*OUTSIDE, *FAR, *METADATA), SERVED)
        for guest in cloud.guests:
            servers.listen(self.fabric.guests[guest.name], addresses_of(guest), SERVED)
        for node in cloud.nodes:
            here = [a.spec for a in cloud.attachments if a.namespace == node_namespace(node.name)]
            gateways = [each for spec in here for each in addresses(spec.gateway, spec.gateway6)]
            space = self.fabric.nodes[node.name]
            servers.listen(space, [*self._own(node), *gateways], SERVED)
            servers.listen(space, gateways, [each for each in AT_GATEWAY if each not in SERVED])


def _node_of(guest: Guest) -> str:
    return guest.namespace.removeprefix(node_namespace(""))


def _plugged(port: str, space: Space) -> list[str]:
    return [f"link add {port} type veth peer name eth0 netns {space.path}", f"link set {port} master sw up"]


def _joined(own: Iterable[Address]) -> list[str]:
    lengths = {4: 24, 6: 64}
    return ["link set eth0 up", *(f"addr add {each}/{lengths[each.version]} dev eth0" for each in own)]
