"""What the node itself takes and begins, read from a HostPolicy."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from dsecos_api.conditions import Reason
from dsecos_api.hostpolicy import HostFirewall

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.firewall.model import L4

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class HostPolicyInvalidError(AdapterError):
    """A value that cannot be read; the message names the field, the value and what is expected."""

    reason = Reason.CIDR_INVALID


@dataclass(frozen=True, slots=True)
class Allow:
    """Ports that may be reached from beyond the management networks; both ends are included."""

    protocol: L4
    first: int
    last: int
    sources: tuple[Network, ...] = ()
    """None: everybody."""


@dataclass(frozen=True, slots=True)
class Egress:
    """What the node may begin."""

    network: Network
    ports: tuple[tuple[L4, int], ...] = ()
    """None: all ports, and every protocol."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The complete wish. What DsecOS needs itself is not named here: `render` always adds it."""

    management: tuple[Network, ...] = ()
    allow: tuple[Allow, ...] = ()
    egress: tuple[Egress, ...] | None = None
    """None: everything."""
    nodes: tuple[Address, ...] = ()
    """Of the whole cluster; their tunnels are let in."""
    api_port: int | None = None
    """Port of the API server, if it is this node that serves it: let in from the other nodes."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where the agent reaches the API server."""

    host: str
    """As the kubeconfig names it."""
    port: int
    addresses: frozenset[Address]
    """What that is at present."""
    here: bool
    """Whether one of these addresses is this node's own."""


def rules_of(firewall: HostFirewall, nodes: list[str], *, api_port: int | None) -> Rules:
    """Raises HostPolicyInvalidError."""
    at = "spec.firewall"
    egress = None
    if firewall.egress is not None:
        egress = tuple(
            Egress(
                _network(f"{at}.egress[{number}].cidr", each.cidr),
                tuple(sorted((L4(port.protocol.lower()), port.port) for port in each.ports)),
            )
            for number, each in enumerate(firewall.egress)
        )
    return Rules(
        management=_networks(f"{at}.managementNetworks", firewall.management_networks),
        allow=tuple(
            Allow(
                L4(each.protocol.lower()),
                each.port,
                each.end_port or each.port,
                _networks(f"{at}.allow[{number}].from", each.from_),
            )
            for number, each in enumerate(firewall.allow)
        ),
        egress=egress,
        nodes=tuple(sorted({_address("spec.nodes", each) for each in nodes}, key=_order)),
        api_port=api_port,
    )


def known_addresses(nodes: Iterable[str]) -> tuple[Address, ...]:
    """Those that can be read: one that cannot is told by whoever makes the node's own firewall."""
    found = set()
    for each in nodes:
        with contextlib.suppress(HostPolicyInvalidError):
            found.add(_address("spec.nodes", each))
    return tuple(sorted(found, key=_order))


def known_networks(zones: Iterable[str]) -> tuple[Network, ...]:
    """Those of `spec.zones` that can be read."""
    found = set()
    for each in zones:
        with contextlib.suppress(HostPolicyInvalidError):
            found.add(_network("spec.zones", each))
    return tuple(sorted(found, key=lambda each: (each.version, each.network_address, each.prefixlen)))


def _networks(field: str, values: list[str]) -> tuple[Network, ...]:
    return tuple(_network(field, value) for value in values)


def _network(field: str, value: str) -> Network:
    try:
        return ip_network(value)
    except ValueError as error:
        text = f"{field}: {value!r} is not a network in CIDR form, for example 10.20.0.0/24"
        raise HostPolicyInvalidError(text) from error


def _address(field: str, value: str) -> Address:
    try:
        return ip_address(value)
    except ValueError as error:
        raise HostPolicyInvalidError(f"{field}: {value!r} is not an IPv4 or IPv6 address") from error


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
