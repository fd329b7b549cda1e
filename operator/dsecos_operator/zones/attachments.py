"""The zone's presence on each node: what its agent is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsecos_api import Metadata, NetworkZone, Node, ZoneAttachment
from dsecos_api.names import (
    LABEL_MANAGED_BY,
    LABEL_ZONE,
    LABEL_ZONE_NAMESPACE,
    attachment_name,
    node_namespace,
)
from dsecos_api.networkzone import Egress, EgressMode, Encapsulation, EncapsulationType
from dsecos_api.peering import spans_nodes
from dsecos_api.zoneattachment import Ingress, Name, Remote, Transit, ZoneAttachmentSpec, ZoneRef

from dsecos_operator.scheduling import addresses, mac
from dsecos_operator.scheduling.network import tunnel_address
from dsecos_operator.zones.check import Networks

MOST_REMOTES = 1024
MOST_ADDRESSES = 8192
"""What the schema takes in lists: nodes of a zone, and addresses of a zone's guests on one node. Beyond them
come those that sort last, which then are not reached from other nodes (`limits` tells it).
"""

Ends = Mapping[str, str]
"""Tunnel addresses, by node."""


def attachment(
    zone: NetworkZone,
    node: str,
    networks: Networks,
    mtu: int,
    *,
    ingress: Sequence[Ingress] = (),
    transit: Transit | None = None,
    names: Sequence[Name] = (),
) -> ZoneAttachment:
    """The zone's presence on a node. `transit` None: the zone is local."""
    return ZoneAttachment(
        metadata=Metadata(
            name=attachment_name(zone.namespace, zone.name),
            namespace=node_namespace(node),
            labels={
                LABEL_ZONE: zone.name,
                LABEL_ZONE_NAMESPACE: zone.namespace,
                LABEL_MANAGED_BY: "dsecos-operator",
            },
        ),
        kind="ZoneAttachment",
        spec=ZoneAttachmentSpec(
            zone_ref=ZoneRef(namespace=zone.namespace, name=zone.name, uid=zone.uid),
            cidrs=zone.spec.cidrs,
            gateway=networks.gateway,
            prefix_length=addresses.network(networks.cidr).prefixlen,
            gateway6=networks.gateway6,
            # A local zone's bridge keeps the address that its name gives it.
            mac=mac(zone.uid) if spans_nodes(zone) else None,
            encapsulation=zone.spec.encapsulation or Encapsulation(type=EncapsulationType.LOCAL),
            mtu=mtu,
            egress=zone.spec.egress or Egress(mode=EgressMode.DENY),
            ingress=list(ingress),
            transit=transit,
            names=list(names),
            paused=zone.spec.paused or None,
        ),
    )


def ends(nodes: Sequence[Node], present: Mapping[str, ZoneAttachment], on: Sequence[str]) -> Ends:
    """Tunnel addresses of the nodes that the zone is on. One that a node no longer tells is as it was."""
    known = {name: each.spec.transit.address for name, each in present.items() if each.spec.transit}
    known |= {each.name: found for each in nodes if (found := tunnel_address(each)) is not None}
    return {name: known[name] for name in sorted(on) if name in known}


def transit(
    zone: NetworkZone, number: int, node: str, reach: Ends, guests: Mapping[str, Sequence[str]]
) -> Transit:
    """A node's end of the zone's link, and where it leads. `guests`: addresses by node.

    A node without guests of the zone is told too: packets of peers come from there, and it is answered there.
    """
    remotes = [
        Remote(
            node=other,
            address=address,
            mac=transit_mac(zone.uid, other),
            guests=list(guests.get(other, ()))[:MOST_ADDRESSES],
        )
        for other, address in reach.items()
        if other != node
    ]
    return Transit(
        id=number, address=reach[node], mac=transit_mac(zone.uid, node), remotes=remotes[:MOST_REMOTES]
    )


def transit_mac(uid: str, node: str) -> str:
    """Of a node's end of a zone's link."""
    return mac(f"{uid}/{node}")


def same(present: ZoneAttachment, wanted: ZoneAttachment) -> bool:
    """Whether an apply would change nothing. The order in lists that are maps or sets means nothing."""
    labelled = wanted.metadata.labels.items() <= present.metadata.labels.items()
    if not labelled or present.spec == wanted.spec:
        return labelled
    # Names are many: they are compared first, and not put in order.
    alike = _names(present.spec) == _names(wanted.spec)
    return alike and _canonical(present.spec) == _canonical(wanted.spec)


def _names(spec: ZoneAttachmentSpec) -> object:
    return {
        (each.namespace, each.stack): (frozenset(each.addresses), frozenset(each.services))
        for each in spec.names
    }


def _canonical(spec: ZoneAttachmentSpec) -> object:
    """The spec but for names, with its lists in one order."""

    def ordered(value: object) -> object:
        if isinstance(value, dict):
            return {name: ordered(each) for name, each in value.items()}
        if isinstance(value, list):
            return sorted((ordered(each) for each in value), key=repr)
        return value

    return ordered(spec.model_copy(update={"names": []}).to_dict())
