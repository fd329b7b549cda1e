"""What the attachments say about other zones and other nodes. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_network

from dsecos_api.networkzone import PortRule
from dsecos_api.zoneattachment import Ingress

from dsecos_agent.firewall.addresses import Network
from dsecos_agent.firewall.model import L4, Crossing, Policy, Tunnel, ZonePolicy
from dsecos_agent.links.protocol import Encapsulation, Transit


class Spanning:
    """Collects it, zone by zone. The order does not matter."""

    def __init__(self, previous: Policy) -> None:
        """`previous` is what paused zones keep."""
        self._previous = previous
        self._crossings: set[Crossing] = set()
        self._addresses: set[IPv4Address] = set()
        self._ids: set[int] = set()
        self._peers: set[IPv4Address] = set()

    def add(self, zone: ZonePolicy, ingress: Iterable[Ingress], transit: Transit | None) -> None:
        """What an attachment asks for."""
        for each in ingress:
            ports = ports_of(each.ports)
            for source in (ip_network(cidr, strict=False) for cidr in each.cidrs):
                self._crossings |= {
                    Crossing(source, own, ports) for own in networks_of(zone) if own.version == source.version
                }
        if transit is not None and transit.encapsulation is Encapsulation.VXLAN:
            self._addresses.add(transit.address)
            self._ids.add(transit.id)
            self._peers.update(remote.address for remote in transit.remotes)

    def keep(self, zone: ZonePolicy) -> None:
        """What a paused zone has: who may come in, and all nodes that may bring something."""
        own = networks_of(zone)
        self._crossings.update(each for each in self._previous.crossings if each.destination in own)
        before = self._previous.tunnel
        spans = zone.transit is not None and zone.encapsulation is Encapsulation.VXLAN
        if spans and before is not None:
            self._addresses.add(before.address)
            self._ids.update(before.ids)
            self._peers.update(before.peers)

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        """Sorted."""
        return tuple(sorted(self._crossings, key=_order))

    @property
    def tunnel(self) -> Tunnel | None:
        """None: no zone of this node spans nodes by VXLAN."""
        if not self._addresses:
            return None
        # One while a node's address changes is as good as another: both are this node's.
        return Tunnel(min(self._addresses), tuple(sorted(self._ids)), tuple(sorted(self._peers)))


def ports_of(rules: Iterable[PortRule]) -> frozenset[tuple[L4, int]]:
    """As the firewall speaks of them."""
    return frozenset((L4(rule.protocol.lower()), rule.port) for rule in rules)


def networks_of(zone: ZonePolicy) -> tuple[Network, ...]:
    """Of the zone: IPv4, and IPv6 where it has it."""
    return (zone.gateway.network,) if zone.gateway6 is None else (zone.gateway.network, zone.gateway6.network)


def _order(crossing: Crossing) -> tuple[object, ...]:
    source, destination = crossing.source, crossing.destination
    return (
        source.version,
        int(source.network_address),
        source.prefixlen,
        int(destination.network_address),
        destination.prefixlen,
        sorted(crossing.ports),
    )
