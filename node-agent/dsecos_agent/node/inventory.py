"""The node's storage pools and the guest templates in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsecos_api.conditions import Reason, Type
from dsecos_api.node import Pool as PoolSpec
from dsecos_api.quantity import to_bytes
from dsecos_runtime import get_logger
from pydantic import TypeAdapter, ValidationError

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.model import Capabilities, Capability, GuestKind
from dsecos_agent.guests.config import Node
from dsecos_agent.guests.desired import Block
from dsecos_agent.node.images import Image, read_images
from dsecos_agent.processes.files import write_atomically
from dsecos_agent.settings import AgentSettings
from dsecos_agent.storage import Pool, open_pool
from dsecos_agent.storage.protocol import DatasetKind, PoolFeatures

DEFAULT = "default"

NO_ENGINE = Capabilities("no engine", {})

_SPECS = TypeAdapter(tuple[PoolSpec, ...])


@dataclass
class Problems:
    """What of storage does not work, for the Node's condition; empty when all does."""

    pools: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    importing: str = ""
    """The template that is being imported."""

    @property
    def text(self) -> str:
        """All of them."""
        return "; ".join([*self.pools.values(), *self.images.values()])


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    path: Path
    driver: str | None = None
    size: int | None = None

    @classmethod
    def of(cls, spec: PoolSpec) -> _Wanted:
        return cls(spec.name, Path(spec.path), str(spec.type), to_bytes(spec.size) if spec.size else None)


class Inventory:
    """Opens pools, imports templates, and tells guests what there is."""

    def __init__(self, settings: AgentSettings) -> None:
        """Nothing is touched before `open`."""
        self._settings = settings
        self._specs_file = settings.state / "pools.json"
        self._held: dict[str, frozenset[str]] = {}
        self._importing = asyncio.Lock()
        self._default = DEFAULT
        self.pools: dict[str, Pool] = {}
        """By name."""
        self.features: dict[str, PoolFeatures] = {}
        """Of each pool."""
        self.templates: dict[str, str] = {}
        """Digest of each template that can be cloned, by name."""
        self.problems = Problems()
        self.capabilities = NO_ENGINE
        """What the node's engine can do."""
        self.engine_node: str | None = None
        """Name of this node in the engine's cluster."""
        self.engine_problem: Block | None = Block(
            Type.GUEST_READY, Reason.ENGINE_NOT_CONFIGURED, "the Node was not read yet", stalled=False
        )
        """Why the engine cannot be used; None: it can."""

    @property
    def own_disks(self) -> bool:
        """Whether the engine makes guests' disks: then this node needs no storage pool of ours."""
        return any(self.capabilities.has(kind, Capability.OWN_DISKS) for kind in GuestKind)

    @property
    def namespace(self) -> str:
        """The namespace of this node."""
        return self._settings.namespace

    @property
    def default(self) -> Pool | None:
        """The pool that is meant where none is named."""
        return self.pools.get(self._default)

    def facts(self) -> Node:
        """What guests are resolved against."""
        settings = self._settings
        return Node(
            prefix=settings.link_prefix,
            trust=settings.trust,
            run=settings.run,
            registry_port=settings.registry_read_port,
            pids=settings.guest_pids,
            pools={name: pool.root for name, pool in self.pools.items()},
            named_pools=frozenset({*self.pools, *self.problems.pools}),
            default_pool=self._default,
            templates=self.templates,
            template_pools=self._held,
            capabilities=self.capabilities,
            engine_node=self.engine_node,
            names=settings.names,
        )

    async def open(self, specs: Sequence[PoolSpec] | None = None) -> None:
        """Open the pools that the Node names; None: those that it named last. One that fails becomes a
        problem.

        A pool is never closed here: guests run from it. None is opened before the engine is known, and none
        for an engine that makes guests' disks.
        """
        if self.own_disks or not self.capabilities.kinds:
            await self._list_images()
            return
        if specs is None:
            specs = self._remembered()
        else:
            await asyncio.to_thread(self._remember, specs)
        wanted = [_Wanted.of(spec) for spec in specs] or [self._only_default()]
        self._default = wanted[0].name
        self.problems.pools = {}
        for spec in wanted:
            await self._open(spec)
        for image in await asyncio.to_thread(read_images, self._settings.images):
            if any(image.template.digest in held for held in self._held.values()):
                self.templates = {**self.templates, image.name: image.template.digest}

    async def import_images(self) -> bool:
        """Import every template that is new into every pool; True when something came. Problems are kept."""
        if self.own_disks or not self.capabilities.kinds:
            return await self._list_images()
        async with self._importing:
            images = await asyncio.to_thread(read_images, self._settings.images)
            self.problems.images = {}
            before = (dict(self.templates), dict(self._held))
            for image in images:
                for name in self.pools:
                    await self._import(image, name)
            self.problems.importing = ""
            if images:
                await self._prune({image.template.digest for image in images})
            return (self.templates, self._held) != before

    async def _list_images(self) -> bool:
        """The engine imports templates itself, when a guest is made from one; True when one is new."""
        if not self.own_disks:
            return False
        images = await asyncio.to_thread(read_images, self._settings.images)
        before, self.templates = self.templates, {image.name: image.template.digest for image in images}
        return before != self.templates

    async def _import(self, image: Image, pool: str) -> None:
        digest = image.template.digest
        try:
            if digest not in self._held.get(pool, frozenset()):
                self.problems.importing = image.name
                get_logger().info("importing template", template=image.name, digest=digest, pool=pool)
                await self.pools[pool].import_template(image.template)
                await self._look(pool)
            self.templates = {**self.templates, image.name: digest}
        except (AdapterError, OSError) as error:
            self.problems.images[image.name] = f"template {image.name} cannot be imported: {error}"
            get_logger().warning("template not imported", template=image.name, error=str(error))

    async def _prune(self, wanted: set[str]) -> None:
        """Templates that no image names any more; guests cloned from them keep their data."""
        for name, pool in self.pools.items():
            old = self._held.get(name, frozenset()) - wanted - set(self.templates.values())
            for digest in old:
                await pool.remove_template(digest)
            if old:
                await self._look(name)

    def _only_default(self) -> _Wanted:
        return _Wanted(DEFAULT, self._settings.pools / DEFAULT)

    async def _open(self, spec: _Wanted) -> None:
        try:
            if spec.name not in self.pools:
                same = [pool for pool in self.pools.values() if pool.root == spec.path]
                size = spec.size or self._settings.pool_size
                self.pools[spec.name] = (
                    same[0] if same else open_pool(spec.path, driver=spec.driver, size=size)
                )
            self.features[spec.name] = await self.pools[spec.name].ensure_ready()
            await self._look(spec.name)
        except (AdapterError, OSError) as error:
            self.pools.pop(spec.name, None)
            self.features.pop(spec.name, None)
            self.problems.pools[spec.name] = f"pool {spec.name} cannot be used: {error}"
            get_logger().warning("pool not opened", pool=spec.name, error=str(error))

    async def _look(self, pool: str) -> None:
        datasets = await self.pools[pool].list_datasets()
        held = frozenset(each.name for each in datasets if each.kind is DatasetKind.TEMPLATE)
        self._held = {**self._held, pool: held}

    def _remembered(self) -> tuple[PoolSpec, ...]:
        try:
            return _SPECS.validate_json(self._specs_file.read_bytes())
        except (OSError, ValidationError):
            return ()

    def _remember(self, specs: Sequence[PoolSpec]) -> None:
        if tuple(specs) != self._remembered():
            self._specs_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._specs_file, _SPECS.dump_json(tuple(specs)).decode())
