"""What should pass, said a second time and in another way: one packet, one answer."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dsecos_agent.hostfirewall.model import Rules


@dataclass(frozen=True, slots=True)
class Begin:
    """The first packet of something new."""

    protocol: str
    """tcp or udp."""
    far: IPv4Address | IPv6Address
    """The other end."""
    port: int


def lets_in(rules: Rules, packet: Begin) -> bool:
    """Whether the node itself takes it."""
    managed = [network for network in rules.management if packet.far in network]
    tunnel = (packet.protocol, packet.port) == ("udp", 4789)
    served = (packet.protocol, packet.port) == ("tcp", rules.api_port)
    named = [
        allow
        for allow in rules.allow
        if packet.port in range(allow.first, allow.last + 1)
        if packet.protocol == str(allow.protocol)
        if not allow.sources or any(packet.far in source for source in allow.sources)
    ]
    return bool(managed or named) or (packet.far in rules.nodes and (tunnel or served))


def lets_out(rules: Rules, packet: Begin) -> bool:
    """Whether the node itself may send it."""
    tunnel = (packet.protocol, packet.port) == ("udp", 4789)
    if rules.egress is None or (tunnel and packet.far in rules.nodes):
        return True
    return any(
        packet.far in egress.network
        and (not egress.ports or (packet.protocol, packet.port) in {(str(p), n) for p, n in egress.ports})
        for egress in rules.egress
    )
