"""The names that links have, derived from what they are for. IFNAMSIZ leaves 15 characters; ours have 11."""

from ipaddress import IPv4Interface, ip_address

from dsecos_api import ZoneAttachment
from dsecos_api.names import short_hash

from dsecos_agent.links.protocol import Bridge


class UnsupportedZoneError(ValueError):
    """The attachment asks for what this agent cannot do; the text says what."""


def bridge_name(prefix: str, zone_uid: str) -> str:
    """A zone's bridge. By UID: a zone that was deleted and made again never meets its former bridge."""
    return f"{prefix}z{short_hash(zone_uid)}"


def port_name(prefix: str, guest: str) -> str:
    """The host's end of a guest's veth."""
    return f"{prefix}g{short_hash(guest)}"


def bridge_of(prefix: str, attachment: ZoneAttachment) -> Bridge:
    """The bridge that an attachment asks for. Raises UnsupportedZoneError."""
    spec = attachment.spec
    if spec.encapsulation.type != "local":
        msg = f"encapsulation {spec.encapsulation.type} has no controller in this version; use local"
        raise UnsupportedZoneError(msg)
    if ip_address(spec.gateway).version != 4:
        msg = f"the gateway {spec.gateway} is an IPv6 address; this version drives IPv4 zones"
        raise UnsupportedZoneError(msg)
    return Bridge(
        name=bridge_name(prefix, spec.zone_ref.uid),
        owner_uid=spec.zone_ref.uid,
        gateway=IPv4Interface(f"{spec.gateway}/{spec.prefix_length}"),
        mtu=spec.mtu,
    )
