"""What a zone has: networks, id and MTU; or why it cannot be had. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from dsecos_api import Reason
from dsecos_api.peering import spans_nodes

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.scheduling.network import asks, lacks, tunnel_address
from dsecos_operator.scheduling.obstacle import Obstacle
from dsecos_operator.zones.check import Networks, check
from dsecos_operator.zones.limits import beyond
from dsecos_operator.zones.mtu import mtu
from dsecos_operator.zones.observe import Observed


@dataclass(frozen=True)
class Verdict:
    """What was found out about a zone."""

    networks: Networks | None = None
    """None: the zone cannot be had, or is not there."""
    mtu: int | None = None
    problem: Refused | None = None
    """Why it cannot be had."""
    hindrance: Refused | None = None
    """What keeps it from some nodes; on the others it is in force."""


def judge(observed: Observed, allowed: Sequence[IPv4Network | IPv6Network] = ()) -> Verdict:
    """All but the id, which `ids` gives out. `allowed`: see `check`."""
    zone = observed.zone
    if zone is None:
        return Verdict()
    try:
        networks = check(zone, observed.others, observed.nodes, allowed)
        largest = mtu(zone, observed.nodes, observed.needed, observed.own)
    except Refused as refused:
        return Verdict(problem=refused)
    return Verdict(networks, largest, hindrance=_hindrance(observed))


def unfit(observed: Observed) -> Mapping[str, list[Obstacle]]:
    """Nodes that cannot take the zone, and why; not those that are gone."""
    if observed.zone is None:
        return {}
    wanted = asks(observed.zone)
    found = {node.name: list(lacks(node, wanted)) for node in observed.nodes}
    return {name: why for name, why in found.items() if why}


def _hindrance(observed: Observed) -> Refused | None:
    """Nodes that the zone should be on and cannot be; all of them, if it cannot be on any. Or what of it is
    not reached.
    """
    unable = unfit(observed)
    named = [each for each in observed.needed if each in unable]
    nowhere = len(unable) == len(observed.nodes)
    if nowhere and not named and all(any(not each.passing for each in why) for why in unable.values()):
        named = sorted(unable)
    if not named:
        return _same_address(observed) or beyond(observed)
    told = "; ".join(f"{name}: {', '.join(each.why for each in unable[name])}" for name in named[:5])
    more = f" and {len(named) - 5} more nodes" if len(named) > 5 else ""
    reasons = {each.reason for name in named for each in unable[name]}
    reason = Reason.MTU_TOO_SMALL if reasons == {Reason.MTU_TOO_SMALL} else Reason.NODE_INCAPABLE
    return Refused(reason, f"the zone cannot be on {told}{more}")


def _same_address(observed: Observed) -> Refused | None:
    """Nodes of the zone between which no packet can pass, as they cannot be told apart."""
    if observed.zone is None or not spans_nodes(observed.zone):
        return None
    known: dict[str, str] = {}
    for node in observed.nodes:
        address = tunnel_address(node) if node.name in observed.needed else None
        if address is not None and known.setdefault(address, node.name) != node.name:
            both = f"{known[address]} and {node.name}"
            why = f"{both} tell the same tunnel address {address}; set spec.addresses.tunnel of these Nodes"
            return Refused(Reason.NODE_INCAPABLE, why)
    return None
