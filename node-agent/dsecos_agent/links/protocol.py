"""What the agent does to the host's links: one bridge a zone, the guests' veths as its ports.

Only links whose name begins with the instance's prefix are ever looked at or changed. A bridge carries its
owner's UID in its alias (`ip link show` prints it). Veths are made by the engine together with the guest;
here they are only put back on their bridge, which loses its ports when somebody deletes it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Protocol

from dsecos_agent.engines.protocol import Watch

LINK_GROUP = 0xD5EC
"""The group (`ip link set ... group`) of every zone's bridge, whatever the instance: instances on one host
know each other by it.
"""


ENGINE_PORT = re.compile(r"(veth|tap)[0-9]+i[0-9]+")
"""A guest's port that its engine has named: Proxmox VE, by VMID and interface."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A zone's presence on this node."""

    name: str
    """`<prefix>z<8 hex>`"""
    owner_uid: str
    gateway: IPv4Interface
    """The bridge's own address, with the zone's prefix length."""
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class ObservedBridge:
    """A bridge of ours, as found."""

    name: str
    owner_uid: str | None
    addresses: tuple[IPv4Interface, ...]
    up: bool
    mtu: int
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObservedPort:
    """A guest's host-side veth, as found; `bridge` is None when it hangs in the air."""

    name: str
    bridge: str | None
    isolated: bool
    up: bool


class Links(Protocol):
    """Offered by `netlink.NetlinkLinks`."""

    async def list_bridges(self) -> Sequence[ObservedBridge]:
        """All bridges `<prefix>z...`, sorted by name."""

    async def list_ports(self) -> Sequence[ObservedPort]:
        """All guests' ports, sorted by name: `<prefix>g...`, and all that an engine has named, also of guests
        that are not ours.
        """

    async def ensure_bridge(self, bridge: Bridge) -> bool:
        """Make it as described (addresses of its own only, sysctls, up); True when something was changed.

        Raises NotOursError, AdapterError.
        """

    async def remove_bridge(self, name: str, owner_uid: str) -> None:
        """Delete it; a missing one is fine. Raises NotOursError."""

    async def attach(self, port: str, bridge: str) -> bool:
        """Make the veth a port of the bridge, isolated from the other ports, and up; True when something was
        changed.

        Raises NotFoundError when either is missing.
        """

    async def ensure_forwarding(self) -> bool:
        """Let the host forward IPv4; True when it did so before us (what was set is remembered).

        False means that the host was no router: tell the firewall, so that it does not become one for others.
        """

    async def restore_forwarding(self) -> None:
        """Set what `ensure_forwarding` set back to what it was and forget it. For `make down`."""

    def subscribe(self, callback: Callable[[], None]) -> Watch:
        """Call back, on the event loop, whenever a link or address with our prefix appears, changes or goes.

        Says only "look again": several changes may come as one call, and one's own changes come too.
        """

    async def close(self) -> None:
        """Release sockets; links stay."""
