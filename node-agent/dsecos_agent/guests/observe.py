"""Looks at everything that belongs to one guest and puts it into one `Observed`. Changes nothing."""

from collections.abc import Mapping
from dataclasses import replace

from dsecos_agent.compose.protocol import Compose, DockerUnavailableError, Service
from dsecos_agent.engines.model import ObservedGuest
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.blocks import elsewhere
from dsecos_agent.guests.bringup import BringUps
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.memory import MemoryLimits
from dsecos_agent.guests.record import Records
from dsecos_agent.guests.services import judge
from dsecos_agent.guests.state import Observed, VolumeKey
from dsecos_agent.guests.view import HostView, LinkView
from dsecos_agent.links.protocol import ObservedPort
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.storage.protocol import Dataset, DatasetKind, PoolFeatures, VolumeRef


class Observer:
    """Looks.

    What it keeps between looks can only be told from two of them: a lost port, a kill at the memory limit.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        compose: Compose,
        view: HostView,
        features: Mapping[str, PoolFeatures],
        firewall: Enforcer,
        records: Records,
        bring_ups: BringUps,
        limits: MemoryLimits,
    ) -> None:
        """`features` by pool."""
        self._engine = engine
        self._compose = compose
        self._view = view
        self._features = features
        self._firewall = firewall
        self._records = records
        self._bring_ups = bring_ups
        self._limits = limits
        self._portless: dict[str, int | None] = {}

    async def observe(self, wanted: Wanted) -> Observed:
        """One guest as it is now."""
        engine = await self._engine.get(wanted.name)
        volumes, disk = ({}, None) if wanted.own_disks else await self._datasets(wanted)
        links = await self._view.links.get()
        port = await self._port(wanted.port, engine, links)
        record = self._records.get(wanted.name)
        if record is not None and record.owner_uid != wanted.owner_uid:
            record = None
        seen = Observed(
            disk=disk,
            volumes=volumes,
            quotas={pool: features.quotas for pool, features in self._features.items()},
            engine=engine,
            bridge=None if wanted.bridge is None else links.bridges.get(wanted.bridge.name),
            port=port,
            # Of a guest that is seen for the first time the engine has yet to name the port.
            port_lost=wanted.port is not None and self._port_lost(wanted.name, engine, port),
            rules_in_force=self._firewall.in_force(wanted.name),
            conflict=self._firewall.conflict(wanted.name),
            record=record,
            bring_up=self._bring_ups.state(wanted.name),
            problem=self._bring_ups.problem(wanted.name),
        )
        return await self._with_services(wanted, seen)

    def forget(self, guest: str) -> None:
        """The guest is gone."""
        self._portless.pop(guest, None)
        self._limits.forget(guest)

    async def _datasets(self, wanted: Wanted) -> tuple[dict[VolumeKey, Dataset], Dataset | None]:
        found: dict[VolumeKey, Dataset] = {}
        disk = None
        owner = wanted.stack
        for pool in self._features:
            datasets = await self._view.datasets(pool)
            for (kind, name), dataset in datasets.items():
                parts = name.split("/")
                if kind is DatasetKind.VOLUME and len(parts) == 3 and (parts[0], parts[1]) == owner:
                    found[pool, VolumeRef(*parts)] = dataset
            if pool == wanted.pool:
                disk = datasets.get((DatasetKind.GUEST, wanted.name))
        return found, disk

    async def _port(
        self, name: str | None, engine: ObservedGuest | None, links: LinkView
    ) -> ObservedPort | None:
        if name is None:
            return None
        port = links.ports.get(name)
        if (port is None) == (engine is None or engine.init_pid is None):
            return port
        # What is known of the links may be older than the guest's present life.
        self._view.links.expire()
        return (await self._view.links.get()).ports.get(name)

    def _port_lost(self, name: str, engine: ObservedGuest | None, port: ObservedPort | None) -> bool:
        if port is not None or engine is None or engine.init_pid is None:
            if port is not None:
                self._portless.pop(name, None)
            return False
        return self._portless.setdefault(name, engine.init_pid) == engine.init_pid

    async def _with_services(self, wanted: Wanted, seen: Observed) -> Observed:
        if wanted.adopted or not seen.running or wanted.deleting or elsewhere(wanted, seen) is not None:
            return seen
        services = None
        if seen.bring_up is None:
            services = await self._services(wanted)
            if services is not None and judge(wanted.services, services).all_healthy:
                self._limits.seen_healthy(wanted.name)
        return replace(seen, services=services, out_of_memory=self._limits.reached(wanted.name))

    async def _services(self, wanted: Wanted) -> tuple[Service, ...] | None:
        try:
            return tuple(await self._compose.services(wanted.docker))
        except DockerUnavailableError:
            return None
