"""The zones' name servers: made, put back, and ended with their zones."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dsecos_api import Reason, ZoneAttachment

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.links.protocol import Bridge
from dsecos_agent.names.model import NameServers, Zone
from dsecos_agent.zones.names import zone_of
from dsecos_agent.zones.naming import bridge_name

AGAIN = 30.0
"""Seconds until a server that could not be made is tried again."""

SOON = 10.0
"""Seconds: a server that ends so soon after it was put back is not put back at once."""


@dataclass(frozen=True, slots=True)
class Served:
    """How a zone's names are served."""

    reason: Reason = Reason.IN_FORCE
    message: str = ""
    repaired: str = ""
    """What others had done and was put right, in words."""
    again: float | None = None
    """Seconds until another try."""


class Serving:
    """Of one node."""

    def __init__(
        self,
        servers: NameServers,
        prefix: str,
        *,
        on: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prefix` is that of links; not `on`: no zone has a server, and those that are left are ended."""
        self._servers = servers
        self._prefix = prefix
        self._on = on
        self._clock = clock
        self._known: dict[str, tuple[tuple[str, int | None], Zone]] = {}
        """By bridge: the attachment's UID and generation, and what it asks for."""
        self._put_back: dict[str, float] = {}
        self._ended: set[str] = set()

    def subscribe(self, wake: Callable[[str], None]) -> Callable[[], None]:
        """Call back with the bridge of a server that ended by itself; returns the way to stop that."""

        def ended(bridge: str) -> None:
            self._ended.add(bridge)
            wake(bridge)

        return self._servers.subscribe(ended)

    async def serve(self, attachment: ZoneAttachment, bridge: Bridge) -> Served | None:
        """See to a zone's server. None: it is to have none. Never raises AdapterError."""
        if not self._on:
            return None
        name = bridge.name
        if name in self._ended and (left := self._put_back.get(name, -SOON) + SOON - self._clock()) > 0:
            text = f"the name server of {name} ended again at once; it is started again later"
            return Served(Reason.NAME_SERVER_FAILED, text, again=left)
        try:
            changed = await self._servers.ensure(self._zone(attachment, bridge))
        except AdapterError as error:
            return Served(Reason.NAME_SERVER_FAILED, str(error), again=AGAIN)
        put_back = changed and name in self._ended
        self._ended.discard(name)
        if put_back:
            self._put_back[name] = self._clock()
        return Served(repaired=f"the name server of {name} had ended" if put_back else "")

    async def end(self, zone_uid: str) -> None:
        """Of a zone that goes. Raises AdapterError."""
        bridge = bridge_name(self._prefix, zone_uid)
        await self._servers.remove(bridge)
        self._known.pop(bridge, None)
        self._put_back.pop(bridge, None)
        self._ended.discard(bridge)

    async def sweep(self, attachments: Callable[[], Iterable[ZoneAttachment]]) -> None:
        """End the servers that no zone of now is to have. Raises AdapterError."""
        serving = await self._servers.serving()
        # Asked afterwards: a zone that came meanwhile is among them.
        wanted = {
            bridge_name(self._prefix, each.spec.zone_ref.uid)
            for each in attachments()
            if self._on or each.spec.paused
        }
        for bridge in sorted(serving - wanted):
            await self._servers.remove(bridge)

    def _zone(self, attachment: ZoneAttachment, bridge: Bridge) -> Zone:
        version = attachment.uid, attachment.metadata.generation
        known, zone = self._known.get(bridge.name, (None, None))
        if zone is None or known != version:
            zone = zone_of(bridge, attachment.spec)
            self._known[bridge.name] = (version, zone)
        return zone
