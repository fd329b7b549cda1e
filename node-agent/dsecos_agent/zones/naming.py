"""The names that links have, derived from what they are for. IFNAMSIZ leaves 15 characters; ours have 11."""

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_network

from dsecos_api import ZoneAttachment
from dsecos_api.names import short_hash
from dsecos_api.networkzone import EncapsulationType
from dsecos_api.zoneattachment import Remote as RemoteSpec
from dsecos_api.zoneattachment import ZoneAttachmentSpec

from dsecos_agent.links.protocol import MOST_VLAN, Bridge, Encapsulation, Remote, Transit


class UnsupportedZoneError(ValueError):
    """The attachment asks for what this agent cannot do; the text says what."""


def bridge_name(prefix: str, zone_uid: str) -> str:
    """A zone's bridge. By UID: a zone that was deleted and made again never meets its former bridge."""
    return f"{prefix}z{short_hash(zone_uid)}"


def transit_name(prefix: str, zone_uid: str) -> str:
    """A zone's link to other nodes."""
    return f"{prefix}v{short_hash(zone_uid)}"


def port_name(prefix: str, guest: str) -> str:
    """The host's end of a guest's veth."""
    return f"{prefix}g{short_hash(guest)}"


def bridge_of(prefix: str, attachment: ZoneAttachment) -> Bridge:
    """The bridge that an attachment asks for. Raises UnsupportedZoneError, also for what its transit link
    would need.
    """
    spec = attachment.spec
    _check(spec)
    return Bridge(
        name=bridge_name(prefix, spec.zone_ref.uid),
        owner_uid=spec.zone_ref.uid,
        gateway=IPv4Interface(f"{spec.gateway}/{spec.prefix_length}"),
        mtu=spec.mtu,
        gateway6=_gateway6(spec),
        mac=spec.mac,
    )


def transit_of(prefix: str, attachment: ZoneAttachment) -> Transit | None:
    """The link to other nodes that an attachment asks for. Raises UnsupportedZoneError."""
    spec = attachment.spec
    _check(spec)
    if spec.transit is None:
        return None
    remotes = (_remote(remote) for remote in spec.transit.remotes)
    return Transit(
        name=transit_name(prefix, spec.zone_ref.uid),
        owner_uid=spec.zone_ref.uid,
        id=spec.transit.id,
        address=_tunnel_address(spec.transit.address, "this node"),
        mac=spec.transit.mac,
        mtu=spec.mtu,
        remotes=tuple(sorted(remotes, key=lambda remote: remote.address)),
        encapsulation=Encapsulation(spec.encapsulation.type.value),
    )


def _check(spec: ZoneAttachmentSpec) -> None:
    kind = spec.encapsulation.type
    if ip_address(spec.gateway).version != 4:
        msg = f"the gateway {spec.gateway} is an IPv6 address; name an IPv4 network as well"
        raise UnsupportedZoneError(msg)
    _gateway6(spec)
    if spec.transit is None:
        return
    if kind == EncapsulationType.LOCAL:
        raise UnsupportedZoneError("a zone of encapsulation local has no link to other nodes")
    if kind == EncapsulationType.VLAN and spec.transit.id > MOST_VLAN:
        raise UnsupportedZoneError(f"{spec.transit.id} is no 802.1Q id: these lie between 1 and {MOST_VLAN}")
    _tunnel_address(spec.transit.address, "this node")
    for remote in spec.transit.remotes:
        _tunnel_address(remote.address, f"node {remote.node}")


def _gateway6(spec: ZoneAttachmentSpec) -> IPv6Interface | None:
    if spec.gateway6 is None:
        return None
    address = ip_address(spec.gateway6)
    for cidr in spec.cidrs:
        network = ip_network(cidr, strict=False)
        if isinstance(address, IPv6Address) and address in network:
            return IPv6Interface((address, network.prefixlen))
    raise UnsupportedZoneError(f"gateway6 {spec.gateway6} is in no IPv6 network of the zone")


def _tunnel_address(address: str, whose: str) -> IPv4Address:
    try:
        return IPv4Address(address)
    except ValueError as error:
        msg = f"the tunnel address {address} of {whose} is no IPv4 address; this version has no other tunnels"
        raise UnsupportedZoneError(msg) from error


def _remote(remote: RemoteSpec) -> Remote:
    try:
        guests = sorted(map(ip_address, remote.guests), key=lambda guest: (guest.version, int(guest)))
    except ValueError as error:
        raise UnsupportedZoneError(f"node {remote.node} has a guest without an address: {error}") from error
    return Remote(_tunnel_address(remote.address, f"node {remote.node}"), remote.mac, tuple(guests))
