"""What a zone's name server is to know, from its ZoneAttachment. Pure."""

from collections.abc import Iterator, Set
from ipaddress import ip_address, ip_network

from dsecos_api.names import DOMAIN
from dsecos_api.networkzone import Egress, EgressMode, EgressRule
from dsecos_api.types import Protocol
from dsecos_api.zoneattachment import Name, ZoneAttachmentSpec

from dsecos_agent.links.protocol import Bridge
from dsecos_agent.names.model import Address, NameServerError, Zone

DNS = 53


def zone_of(bridge: Bridge, spec: ZoneAttachmentSpec) -> Zone:
    """The zone's name server on this node. Raises NameServerError for an address that is none."""
    gateways: tuple[Address, ...] = (bridge.gateway.ip,)
    if bridge.gateway6 is not None:
        gateways += (bridge.gateway6.ip,)
    families = {gateway.version for gateway in gateways}
    hosts: dict[str, tuple[Address, ...]] = {}
    for name in spec.names:
        # Of a family that the zone does not speak its guests could only wait for an answer.
        if addresses := tuple(each for each in _addresses(name) if each.version in families):
            stack = f"{name.stack}.{name.namespace}.{DOMAIN}"
            hosts |= dict.fromkeys((stack, *(f"{service}.{stack}" for service in name.services)), addresses)
    return Zone(bridge.name, gateways, hosts, forwards(spec.egress, families))


def forwards(egress: Egress, families: Set[int]) -> bool:
    """Whether guests may speak DNS to everywhere, in one of the zone's families: names then are no way out
    that they would not have.
    """
    return egress.mode is not EgressMode.DENY and (
        not egress.to or any(_everywhere(rule, families) for rule in egress.to)
    )


def _everywhere(rule: EgressRule, families: Set[int]) -> bool:
    network = ip_network(rule.cidr, strict=False)
    asks = not rule.ports or any(each.port == DNS and each.protocol is Protocol.UDP for each in rule.ports)
    return network.prefixlen == 0 and network.version in families and asks


def _addresses(name: Name) -> Iterator[Address]:
    for text in name.addresses:
        try:
            yield ip_address(text)
        except ValueError as error:
            raise NameServerError(
                f"Stack {name.stack} of {name.namespace} has no address: {error}"
            ) from error
