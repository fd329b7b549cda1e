"""The firewall's wish, from what the cache knows."""

from collections.abc import Hashable, Iterable

from dsecos_api.hostpolicy import HOST_POLICY_NAME
from dsecos_runtime import GUEST, HOST_POLICY, ZONE_ATTACHMENT, Cache, Key

from dsecos_agent.firewall.model import Policy
from dsecos_agent.guests.record import Records
from dsecos_agent.hostfirewall.model import known_addresses, known_networks
from dsecos_agent.links.protocol import Bridge, Transit
from dsecos_agent.nodefirewall.reading import GuestPolicies
from dsecos_agent.nodefirewall.render import Ports, Rendered, render
from dsecos_agent.zones.inforce import Wishes as ZoneWishes
from dsecos_agent.zones.plan import Wanted


class CacheWishes:
    """Renders anew only when a spec, a record or what was in force before is another."""

    def __init__(
        self,
        records: Records,
        ports: Ports,
        *,
        namespace: str,
        prefix: str,
        registry_port: int | None,
        name_server: bool = False,
    ) -> None:
        """`ports` tells guests' links."""
        self._records = records
        self._ports = ports
        self._namespace = namespace
        self._prefix = prefix
        self._registry_port = registry_port
        self._name_server = name_server
        self._zones = ZoneWishes(prefix)
        self._guests = GuestPolicies()
        self._cache: Cache | None = None
        self._key: Hashable = None
        self._rendered = Rendered()

    def connect(self, cache: Cache) -> None:
        """From now on there is something to ask."""
        self._cache = cache

    def rendered(self, previous: Policy) -> Rendered | None:
        """The wish of now; None before the cache is complete."""
        if self._cache is None or not self._complete(self._cache):
            return None
        guests = self._cache.list(GUEST, self._namespace)
        attachments = self._cache.list(ZONE_ATTACHMENT, self._namespace)
        forgotten = tuple(self._records.forgotten())
        specs = tuple((each.uid, each.metadata.generation) for each in (*guests, *attachments))
        policy = self._cache.get(HOST_POLICY, Key(self._namespace, HOST_POLICY_NAME))
        nodes = known_addresses(() if policy is None else policy.spec.nodes)
        links = tuple(self._ports(guest.name) for guest in guests)
        elsewhere = known_networks(() if policy is None else policy.spec.zones)
        key = (specs, links, nodes, elsewhere, forgotten, id(previous))
        if key != self._key:
            self._rendered = render(
                attachments,
                guests,
                forgotten,
                prefix=self._prefix,
                ports=self._ports,
                registry_port=self._registry_port,
                name_server=self._name_server,
                previous=previous,
                protected=nodes,
                elsewhere=elsewhere,
                read=self._guests.of,
            )
            self._guests.keep({guest.name for guest in guests})
            self._key = key
        return self._rendered

    @staticmethod
    def _complete(cache: Cache) -> bool:
        return cache.ready(GUEST) and cache.ready(ZONE_ATTACHMENT) and cache.ready(HOST_POLICY)

    def bridges(self) -> tuple[Bridge, ...]:
        """The bridges of all zones of now."""
        return tuple(wanted.bridge for wanted in self._wanted())

    def transits(self) -> tuple[Transit, ...]:
        """The links to other nodes of all zones of now."""
        return tuple(wanted.transit for wanted in self._wanted() if wanted.transit is not None)

    def _wanted(self) -> Iterable[Wanted]:
        if self._cache is None:
            return ()
        return self._zones.supported(self._cache.list(ZONE_ATTACHMENT, self._namespace)).values()
