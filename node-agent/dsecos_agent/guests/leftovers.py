"""What is left on the node of guests whose object is gone.

    a removal that had begun       is ended as the deletionPolicy said: the record tells it
    Retained, Orphaned             stays, as the deletionPolicy said
    anything else of ours          is reported, never touched: nobody told us to remove it

Whether an object is gone is said by a fresh answer of the API server alone, never by one that does not
answer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dsecos_runtime import GUEST, Cluster, Requeue, get_logger

from dsecos_agent.engines.model import ObservedGuest
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.act import Actor, Target, run_stages
from dsecos_agent.guests.actions import RemoveFinalizer
from dsecos_agent.guests.plan import plan_removal
from dsecos_agent.guests.record import Record, Records, Removal
from dsecos_agent.guests.state import Observed, VolumeKey
from dsecos_agent.guests.view import HostView
from dsecos_agent.links.protocol import ENGINE_PORT, ObservedPort
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.storage.protocol import Dataset, DatasetKind

ROUNDS = 5
SHORTLY = 0.2


class Leftovers:
    """Ends removals, and drops records of which nothing is left."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        engine: Engine,
        view: HostView,
        records: Records,
        actor: Actor,
        firewall: Enforcer,
        namespace: str,
        port_of: Callable[[str], str | None],
    ) -> None:
        """`port_of` tells a guest's port, where it is known."""
        self._cluster = cluster
        self._engine = engine
        self._view = view
        self._records = records
        self._actor = actor
        self._firewall = firewall
        self._namespace = namespace
        self._port_of = port_of

    async def settle(self, name: str) -> Requeue | None:
        """Deal with a guest that the cache does not know. Raises what the adapters raise, ClusterError."""
        record = self._records.get(name)
        if record is None or await self._exists(name):
            return None
        if record.removal is None:
            if await self._engine.get(name) is None:
                await self._without_container(name, record)
            return None
        return await self.end_removal(name)

    async def end_removal(self, name: str) -> Requeue | None:
        """End a removal that had begun; None: there is none any more. Raises what the adapters raise,
        ActionFailedError.
        """
        for _ in range(ROUNDS):
            record = self._records.get(name)
            if record is None or record.removal is None:
                return None
            seen = await self._look(name, record, record.removal)
            actions = plan_removal(record.owner_uid, record.removal, seen)
            ends = any(isinstance(action, RemoveFinalizer) for action in actions)
            await run_stages(self._actor, Target(name, record.owner_uid), actions)
            if ends:
                get_logger().info("a removal was ended whose object had gone", guest=name)
                return None
        return Requeue(SHORTLY)

    async def _without_container(self, name: str, record: Record) -> None:
        if not await self._view.has_guest(name):
            self._records.drop(name)
        elif record.forgotten is not None:
            self._records.update(name, record.owner_uid, forgotten=None)
        if record.forgotten is not None:
            await self._firewall.sync()

    async def _exists(self, name: str) -> bool:
        return any(guest.name == name for guest in await self._cluster.list(GUEST, self._namespace))

    async def _look(self, name: str, record: Record, removal: Removal) -> Observed:
        volumes: dict[VolumeKey, Dataset] = {}
        for volume in removal.volumes:
            dataset = (await self._view.datasets(volume.pool)).get((DatasetKind.VOLUME, str(volume.ref)))
            if dataset is not None:
                volumes[volume.pool, volume.ref] = dataset
        self._view.links.expire()
        disks = {} if removal.pool is None else await self._view.datasets(removal.pool)
        return Observed(
            disk=disks.get((DatasetKind.GUEST, name)),
            volumes=volumes,
            engine=await self._engine.get(name),
            port=(await self._view.links.get()).ports.get(self._port_of(name) or ""),
            record=record,
        )


@dataclass(frozen=True, slots=True)
class Orphan:
    """Something that carries our mark and has no object."""

    kind: str
    name: str


def orphans(
    known: Iterable[str],
    *,
    records: Records,
    engine: Iterable[ObservedGuest],
    datasets: Iterable[Dataset],
    ports: Iterable[ObservedPort],
    port_of: Callable[[str], str | None],
    engine_node: str | None = None,
) -> list[Orphan]:
    """What nobody accounts for: no object, no fate that a deletionPolicy gave it. Pure.

    What is on another node of the engine's cluster is that node's business.
    """
    fates = {
        name for name in records.names() if (record := records.get(name)) and (record.fate or record.removal)
    }
    accounted = {*known, *fates}
    links = {port_of(name) for name in accounted}
    found = [
        Orphan("container", guest.name)
        for guest in engine
        if guest.owner_uid and guest.name not in accounted and guest.engine_node in (None, engine_node)
    ]
    for each in datasets:
        if each.kind is DatasetKind.GUEST and each.owner_uid and each.name not in accounted:
            found.append(Orphan("disk", each.name))
    # Of a port that an engine has named nobody knows whose guest it belongs to, but the engine.
    found += [
        Orphan("port", port.name)
        for port in ports
        if port.name not in links and not ENGINE_PORT.fullmatch(port.name)
    ]
    return sorted(found, key=lambda orphan: (orphan.kind, orphan.name))
