"""What to do for a zone, and whose links are not as they should be. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.types import RunPolicy

from dsecos_agent.links.protocol import Bridge, ObservedBridge, ObservedPort
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of


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
class RemoveBridge(Action):
    """Delete the bridge."""

    name: ClassVar = "zone-bridge-remove"
    bridge: str
    owner_uid: str


def right(bridge: Bridge, found: ObservedBridge | None) -> bool:
    """Whether a bridge is as it should be."""
    return (
        found is not None
        and found.owner_uid == bridge.owner_uid
        and found.up
        and found.mtu == bridge.mtu
        and found.addresses == (bridge.gateway,)
    )


def foreign(bridge: Bridge, found: ObservedBridge) -> bool:
    """Whether somebody else's bridge bears the name.

    One without a mark that is down was left half-made by us.
    """
    return found.owner_uid != bridge.owner_uid and (found.owner_uid is not None or found.up)


def attached(port: ObservedPort, bridge: str | None) -> bool:
    """Whether a port is on the bridge, up, and apart from its neighbours."""
    return port.bridge == bridge and port.up and port.isolated


def plan(bridge: Bridge, found: ObservedBridge | None) -> list[Action]:
    """Rules first: a bridge without rules would be a network without a firewall."""
    return [ApplyRules(), *([] if right(bridge, found) else [MakeBridge(bridge)])]


def drifted(
    bridges: Mapping[str, ObservedBridge],
    ports: Mapping[str, ObservedPort],
    attachments: Iterable[ZoneAttachment],
    guests: Iterable[Guest],
    prefix: str,
    *,
    port_of: Callable[[str], str | None],
) -> tuple[list[str], list[str]]:
    """Names of the attachments whose bridge, and of the guests whose port, is not as it should be. `port_of`
    tells a guest's port, where it is known.
    """
    zones: list[str] = []
    names: dict[str, str] = {}
    for attachment in attachments:
        try:
            bridge = bridge_of(prefix, attachment)
        except UnsupportedZoneError:
            continue
        names[attachment.name] = bridge.name
        if not right(bridge, bridges.get(bridge.name)):
            zones.append(attachment.name)
    lost = []
    for guest in guests:
        if guest.spec.network is None:
            continue
        port = ports.get(port_of(guest.name) or "")
        bridge_wanted = names.get(guest.spec.network.attachment)
        running = guest.spec.run_policy == RunPolicy.RUNNING and guest.status.started_at is not None
        if (port is None and running) or (port is not None and not attached(port, bridge_wanted)):
            lost.append(guest.name)
    return zones, lost
