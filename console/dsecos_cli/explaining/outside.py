"""Out of a zone, and into it from outside: `egress` of the zone, `expose` of the Stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from dsecos_api import NetworkZone
from dsecos_api.networkzone import Egress, EgressMode, PortRule
from dsecos_api.peering import key
from dsecos_api.shared import Expose

from dsecos_cli.explaining.model import (
    Address,
    Change,
    Elsewhere,
    Gateway,
    Host,
    Packet,
    Place,
    Port,
    Step,
    Transport,
    name_of,
    nodes_of,
    ports_text,
)
from dsecos_cli.explaining.objects import NAME_SERVER, Objects
from dsecos_cli.explaining.texts import flow

Found = tuple[list[Step], list[Change]]
NEVER = "no guest reaches it, whatever its zone says"


_NEVER = {
    "link-local": ("169.254.0.0/16", "fe80::/10", "fec0::/10"),
    "cloud metadata": ("100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::254/128"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "reserved": ("0.0.0.0/8", "240.0.0.0/4", "::/128", "::ffff:0:0/96"),
}
"""Networks that no node lets its guests reach."""
_NEVER_NETWORKS = [(kind, ip_network(cidr)) for kind, cidrs in _NEVER.items() for cidr in cidrs]


def special(address: Address) -> str:
    """Why an address is for one link or one machine only; empty if it is not."""
    return next((kind for kind, network in _NEVER_NETWORKS if address in network), "")


def leaving(objects: Objects, zone: NetworkZone, to: Host | Gateway | Elsewhere, packet: Packet) -> Found:
    """The steps of a packet from a zone's guest to what is no guest."""
    if isinstance(to, Gateway):
        return [_at_gateway(objects, zone, to, packet.port)], []
    address = packet.destination
    if address is None or isinstance(to, Host):
        return [Step(f"{to}", "status.addresses", f"has {address}: {NEVER}", passes=False)], []
    if kind := special(address):
        return [Step("", "", f"{address} is {kind}: {NEVER}", passes=False)], []
    if to.zone is not None:
        says = f"holds {address}, which no guest has"
        return [Step(f"NetworkZone {name_of(to.zone)}", "spec.cidrs", says, passes=False)], []
    return _egress(zone, address, packet.port)


def _egress(zone: NetworkZone, address: Address, port: Port) -> Found:
    subject = f"NetworkZone {name_of(zone)}"
    egress = zone.spec.egress or Egress(mode=EgressMode.DENY)
    target: dict[str, Any] = {"cidr": f"{address}/{address.max_prefixlen}"}
    if port.rule is not None:
        target["ports"] = [port.rule.to_dict()]
    if egress.mode is EgressMode.DENY:
        field, says = (
            ("spec.egress.mode", "is Deny") if zone.spec.egress else ("spec.egress", "is unset: Deny")
        )
        change = Change(flow({"mode": "NAT", "to": [target]}), subject, "spec.egress")
        return [Step(subject, field, says, passes=False)], [change]
    step = _listed(subject, egress, address, port)
    if not step.passes:
        return [step], [Change(flow([target]), subject, "spec.egress.to")]
    whose = "the node's address" if egress.mode is EgressMode.NAT else "the guest's own address"
    return [step, Step(subject, "spec.egress.mode", f"is {egress.mode.value}: it leaves with {whose}")], []


def _listed(subject: str, egress: Egress, address: Address, port: Port) -> Step:
    if not egress.to:
        return Step(subject, "spec.egress.to", "is empty: everywhere outside", decisive=True)
    near: list[str] = []
    for index, rule in enumerate(egress.to):
        if address not in ip_network(rule.cidr, strict=False):
            continue
        field = f"spec.egress.to[{index}]"
        if not rule.ports or port.within(rule.ports):
            says = f"lets {rule.cidr} be reached at {ports_text(rule.ports)}"
            return Step(subject, field, says, decisive=True)
        near.append(f"{rule.cidr} at {ports_text(rule.ports)} only")
    says = f"lists {', '.join(near)}, not {port}" if near else f"does not list {address}"
    return Step(subject, "spec.egress.to", says, passes=False)


def _at_gateway(objects: Objects, zone: NetworkZone, to: Gateway, port: Port) -> Step:
    if key(to.zone) != key(zone):
        return Step(f"{to}", "", f"is of another zone: {NEVER}", passes=False)
    if port.transport is Transport.ICMP:
        return Step(f"{to}", "", "answers its own guests' echo requests", decisive=True)
    if port == Port(Transport.TCP, objects.registry_port):
        return Step(f"{to}", "", f"has the node's registry at {port}", decisive=True)
    if port in NAME_SERVER:
        return Step(f"{to}", "", f"has the zone's name server at {port}", decisive=True)
    served = f"TCP {objects.registry_port}, its registry, and port 53, the zone's name server"
    says = f"takes echo requests, {served}, and nothing else"
    return Step(f"{to}", "", says, passes=False)


def entering(sender: Elsewhere | Host, to: Place, packet: Packet) -> Found:
    """The steps of a packet to a guest from what is no guest."""
    source = packet.source
    if isinstance(sender, Elsewhere):
        if sender.zone is not None:
            says = f"holds {source}, which no guest has: from elsewhere nobody comes with it"
            return [Step(f"NetworkZone {name_of(sender.zone)}", "spec.cidrs", says, passes=False)], []
        return _exposed((sender.address,), to, packet.port)
    if sender.name == to.node:
        return _from_own_node(sender, to, packet)
    zone = to.zone
    if packet.through is None and zone is not None and sender.name in nodes_of(zone):
        says = f"has {sender.name}, and a node sends nothing into a zone but to its own guests"
        return [Step(f"NetworkZone {name_of(zone)}", "status.nodes", says, passes=False)], []
    return _exposed(_of_family(sender.addresses, source), to, packet.port)


def _of_family(addresses: Iterable[Address], like: Address | None) -> tuple[Address, ...]:
    return tuple(each for each in addresses if like is None or each.version == like.version)


def _from_own_node(sender: Host, to: Place, packet: Packet) -> Found:
    """A node speaks to its own guests as their gateway."""
    port = packet.port
    if port.transport is Transport.ICMP:
        return [Step(f"{sender}", "", "may send echo requests to its own guests", decisive=True)], []
    if packet.through is not None:
        for index, entry in enumerate(exposures(to)):
            families = {ip_network(cidr, strict=False).version for cidr in entry.from_}
            if port.within([_rule(entry)]) and packet.destination and packet.destination.version in families:
                says = f"is passed on to {sender} itself too, whatever `from` holds"
                return [Step(f"{to}", f"spec.expose[{index}].hostPort", says, decisive=True)], []
    told = (to.zone.status.gateway, to.zone.status.gateway6) if to.zone is not None else ()
    return _exposed(_of_family((ip_address(text) for text in told if text), packet.source), to, port)


def exposures(place: Place) -> list[Expose]:
    """What a Stack exposes; where it is gone, what its guest was left with."""
    if place.stack is not None:
        return place.stack.spec.expose
    guest = place.guest
    return guest.spec.network.ports if guest is not None and guest.spec.network is not None else []


def _exposed(sources: Sequence[Address], to: Place, port: Port) -> Found:
    """Whether the Stack exposes the port to one of the addresses that the packet may come with."""
    subject = f"{to}"
    if port.transport is Transport.ICMP:
        says = "is about TCP and UDP: nobody outside reaches it by ICMP"
        return [Step(subject, "spec.expose", says, passes=False)], []
    named = " or ".join(f"{source}" for source in sources) or "it"
    cidrs = [f"{source}/{source.max_prefixlen}" for source in sources[:1]]
    for index, entry in enumerate(exposures(to)):
        if not port.within([_rule(entry)]):
            continue
        field = f"spec.expose[{index}].from"
        for number, cidr in enumerate(entry.from_):
            held = [source for source in sources if source in ip_network(cidr, strict=False)]
            if held:
                step = Step(subject, f"{field}[{number}]", f"is {cidr}, which holds {held[0]}", decisive=True)
                return [step, _reached_at(to, held[0], entry)], []
        says = (
            f"does not hold {named}: {', '.join(entry.from_)}"
            if entry.from_
            else "is empty: nobody may connect"
        )
        return [Step(subject, field, says, passes=False)], [Change(flow(cidrs), subject, field)]
    wanted = {"port": port.number, "protocol": port.transport.value, "from": cidrs}
    step = Step(subject, "spec.expose", f"does not name {port}", passes=False)
    return [step], [Change(flow([wanted]), subject, "spec.expose")]


def _rule(entry: Expose) -> PortRule:
    return PortRule(port=entry.port, protocol=entry.protocol)


def _reached_at(to: Place, source: Address, entry: Expose) -> Step:
    own = next((f"{each}" for each in to.addresses if each.version == source.version), "its address")
    says = f"passes it on at {own} for whoever has a route there"
    if entry.host_port is not None:
        says += f", and at {entry.protocol.value} {entry.host_port} of its own"
    return Step(f"Node {to.node}", "", says)
