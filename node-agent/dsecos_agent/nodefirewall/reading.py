"""One guest's part of the policy, from its object."""

from collections.abc import Collection, Hashable
from ipaddress import IPv4Address, IPv6Address, ip_network

from dsecos_api import Guest
from dsecos_api.guest import GuestNetwork
from dsecos_api.shared import Expose

from dsecos_agent.firewall.addresses import Network
from dsecos_agent.firewall.model import L4, ExposedPort, GuestPolicy, ZonePolicy


class GuestPolicies:
    """Read anew only when a guest's spec, its link or its zone is another: to read thousands of guests takes
    longer than all that follows.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Hashable, GuestPolicy]] = {}
        """By name: what it was read from, and what it is."""

    def of(self, link: str, guest: Guest, network: GuestNetwork, zone: ZonePolicy) -> GuestPolicy:
        """As `guest_policy`."""
        key = (guest.uid, guest.metadata.generation, link, zone.bridge, zone.gateway6 is None)
        known = self._known.get(guest.name)
        if known is None or known[0] != key:
            known = self._known[guest.name] = (key, guest_policy(link, guest, network, zone))
        return known[1]

    def keep(self, names: Collection[str]) -> None:
        """Forget all others."""
        self._known = {name: known for name, known in self._known.items() if name in names}


def guest_policy(link: str, guest: Guest, network: GuestNetwork, zone: ZonePolicy) -> GuestPolicy:
    """`network` is the guest's. It speaks IPv6 where its zone does."""
    address6 = IPv6Address(network.address6) if network.address6 and zone.gateway6 else None
    families = {4} if address6 is None else {4, 6}
    exposed = (_exposed(port, families) for port in network.ports)
    return GuestPolicy(
        name=guest.name,
        link=link,
        bridge=zone.bridge,
        mac=network.mac,
        address=IPv4Address(network.address),
        exposed=tuple(
            sorted((port for port in exposed if port), key=lambda port: (port.port, port.protocol))
        ),
        address6=address6,
    )


def _exposed(port: Expose, families: set[int]) -> ExposedPort | None:
    networks = (ip_network(source, strict=False) for source in port.from_)
    sources = sorted((each for each in networks if each.version in families), key=_order)
    if not sources:
        return None
    return ExposedPort(port.port, L4(port.protocol.lower()), port.host_port, tuple(sources))


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
