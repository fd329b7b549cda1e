"""What to do for a zone's links, and whose are not as they should be. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from dsecos_api import Guest
from dsecos_api.types import RunPolicy

from dsecos_agent.links.entries import Carried, carried
from dsecos_agent.links.entries import wanted as entries_of
from dsecos_agent.links.protocol import Bridge, ObservedBridge, ObservedPort, ObservedTransit, Transit
from dsecos_agent.zones.changes import bridge_changes, transit_changes


@dataclass(frozen=True, slots=True)
class Wanted:
    """A zone's links on this node."""

    bridge: Bridge
    transit: Transit | None = None
    carried: Carried = field(init=False, compare=False, repr=False)
    """All that the transit link is to carry: made once, for it may be long."""

    def __post_init__(self) -> None:
        """Frozen but for this."""
        entries = () if self.transit is None else entries_of(self.transit)
        object.__setattr__(self, "carried", carried(entries))


@dataclass(frozen=True, slots=True)
class Seen:
    """The same, as found."""

    bridge: ObservedBridge | None
    transit: ObservedTransit | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Base of all steps."""

    name: ClassVar[str]


@dataclass(frozen=True, slots=True)
class MakeBridge(Action):
    """Make the bridge, or put it right."""

    name: ClassVar = "zone-bridge"
    bridge: Bridge


@dataclass(frozen=True, slots=True)
class ApplyRules(Action):
    """Put the zone's rules into force; nothing happens where they are."""

    name: ClassVar = "zone-firewall"


@dataclass(frozen=True, slots=True)
class MakeTransit(Action):
    """Make the link to other nodes, or put it right."""

    name: ClassVar = "zone-transit"
    transit: Transit


@dataclass(frozen=True, slots=True)
class RemoveTransit(Action):
    """Delete the link to other nodes."""

    name: ClassVar = "zone-transit-remove"
    transit: str
    owner_uid: str


@dataclass(frozen=True, slots=True)
class RemoveBridge(Action):
    """Delete the bridge."""

    name: ClassVar = "zone-bridge-remove"
    bridge: str
    owner_uid: str


def clash(bridge: Bridge, networks: Mapping[str, Iterable[IPv4Network | IPv6Network]]) -> str:
    """Which of the host's own networks, by link, the bridge would take away, in words; empty: none."""
    wanted: list[IPv4Network | IPv6Network] = [bridge.gateway.network]
    if bridge.gateway6 is not None:
        wanted.append(bridge.gateway6.network)
    for link, reached in sorted(networks.items()):
        for network in reached:
            for own in wanted:
                if network.overlaps(own):
                    return f"{own} overlaps {network}, which this node itself reaches over {link}"
    return ""


def right(bridge: Bridge, found: ObservedBridge | None) -> bool:
    """Whether a bridge is as it should be."""
    return not bridge_changes(bridge, found)


def changes(wanted: Wanted, seen: Seen) -> list[str]:
    """What is not as it should be, in words; empty: all is."""
    transit = [] if wanted.transit is None else transit_changes(wanted.transit, seen.transit, wanted.carried)
    return [*bridge_changes(wanted.bridge, seen.bridge), *transit]


def foreign(bridge: Bridge, found: ObservedBridge) -> bool:
    """Whether somebody else's bridge bears the name.

    One without a mark that is down was left half-made by us.
    """
    return found.owner_uid != bridge.owner_uid and (found.owner_uid is not None or found.up)


def attached(port: ObservedPort, bridge: str | None) -> bool:
    """Whether a port is on the bridge, up, and apart from its neighbours."""
    return port.bridge == bridge and port.up and port.isolated


def plan(wanted: Wanted, seen: Seen) -> list[Action]:
    """Rules first: a bridge without rules would be a network without a firewall. Then from the guests
    outwards.
    """
    actions: list[Action] = [ApplyRules()]
    if not right(wanted.bridge, seen.bridge):
        actions.append(MakeBridge(wanted.bridge))
    if wanted.transit is not None and transit_changes(wanted.transit, seen.transit, wanted.carried):
        actions.append(MakeTransit(wanted.transit))
    if wanted.transit is None:
        actions += _without_transit(wanted.bridge.owner_uid, seen)
    return actions


def removal(owner_uid: str, seen: Seen) -> list[Action]:
    """The zone goes from this node: the way to it first. What is not ours stays."""
    actions = _without_transit(owner_uid, seen)
    if seen.bridge is not None and seen.bridge.owner_uid == owner_uid:
        actions.append(RemoveBridge(seen.bridge.name, owner_uid))
    return actions


def _without_transit(owner_uid: str, seen: Seen) -> list[Action]:
    if seen.transit is None or seen.transit.owner_uid != owner_uid:
        return []
    return [RemoveTransit(seen.transit.name, owner_uid)]


def lost_ports(
    wanted: Mapping[str, Wanted],
    ports: Mapping[str, ObservedPort],
    guests: Iterable[Guest],
    *,
    port_of: Callable[[str], str | None],
) -> list[str]:
    """Names of the guests whose port is not as it should be. `wanted` is by attachment; `port_of` tells a
    guest's port, where it is known.
    """
    lost = []
    for guest in guests:
        if guest.spec.network is None:
            continue
        port = ports.get(port_of(guest.name) or "")
        zone = wanted.get(guest.spec.network.attachment)
        running = guest.spec.run_policy == RunPolicy.RUNNING and guest.status.started_at is not None
        there = port is not None and attached(port, None if zone is None else zone.bridge.name)
        if (port is None and running) or (port is not None and not there):
            lost.append(guest.name)
    return lost
