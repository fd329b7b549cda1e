"""The firewall's wish, from what the cache knows."""

from collections.abc import Hashable

from dsecos_runtime import GUEST, ZONE_ATTACHMENT, Cache

from dsecos_agent.firewall.model import Policy
from dsecos_agent.guests.record import Records
from dsecos_agent.links.protocol import Bridge
from dsecos_agent.nodefirewall.render import Ports, Rendered, render
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of


class CacheWishes:
    """Renders anew only when a spec, a record or what was in force before is another."""

    def __init__(
        self, records: Records, ports: Ports, *, namespace: str, prefix: str, registry_port: int | None
    ) -> None:
        """`ports` tells guests' links."""
        self._records = records
        self._ports = ports
        self._namespace = namespace
        self._prefix = prefix
        self._registry_port = registry_port
        self._cache: Cache | None = None
        self._key: Hashable = None
        self._rendered = Rendered()

    def connect(self, cache: Cache) -> None:
        """From now on there is something to ask."""
        self._cache = cache

    def rendered(self, previous: Policy) -> Rendered | None:
        """The wish of now; None before the cache is complete."""
        if self._cache is None or not (self._cache.ready(GUEST) and self._cache.ready(ZONE_ATTACHMENT)):
            return None
        guests = self._cache.list(GUEST, self._namespace)
        attachments = self._cache.list(ZONE_ATTACHMENT, self._namespace)
        forgotten = tuple(self._records.forgotten())
        specs = tuple((each.uid, each.metadata.generation) for each in (*guests, *attachments))
        links = tuple(self._ports(guest.name) for guest in guests)
        key = (specs, links, forgotten, id(previous))
        if key != self._key:
            self._rendered = render(
                attachments,
                guests,
                forgotten,
                prefix=self._prefix,
                ports=self._ports,
                registry_port=self._registry_port,
                previous=previous,
            )
            self._key = key
        return self._rendered

    def bridges(self) -> tuple[Bridge, ...]:
        """The bridges of all zones of now."""
        found = []
        for attachment in () if self._cache is None else self._cache.list(ZONE_ATTACHMENT, self._namespace):
            try:
                found.append(bridge_of(self._prefix, attachment))
            except UnsupportedZoneError:
                continue
        return tuple(found)
