"""The Node controller: reports what this server is, has and holds; opens the pools that the Node names."""

import asyncio
import contextlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from dsecos_api import Node
from dsecos_runtime import NODE, Controller, Input, Key, Requeue, Runtime, ignoring_status

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.links import probe
from dsecos_agent.node import facts
from dsecos_agent.node.engines import Engines
from dsecos_agent.node.inventory import Inventory
from dsecos_agent.node.report import Facts, status, tunnel_address
from dsecos_agent.node.sweep import Sweep
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.settings import AgentSettings

IMAGES_EVERY = 15.0
"""Seconds between two looks for a newly built guest template."""

ENGINE_EVERY = 5.0
"""Seconds between two tries to use an engine that cannot be used."""


def agent_version() -> str:
    """Version of this package."""
    try:
        return version("dsecos-agent")
    except PackageNotFoundError:
        return "unknown"


class NodeController(Controller):
    """Keeps this node's Node up to date."""

    name = "node"
    outputs = (NODE,)
    workers = 1
    resync = 60.0

    def __init__(
        self,
        runtime: Runtime,
        settings: AgentSettings,
        *,
        engines: Engines,
        inventory: Inventory,
        firewall: Enforcer,
        sweep: Sweep,
        templates_changed: Callable[[], None],
    ) -> None:
        """`templates_changed` is called when a guest template was imported, a pool was opened or the engine
        can be used."""
        super().__init__()
        self._runtime = runtime
        self._settings = settings
        self._engines = engines
        self._inventory = inventory
        self._firewall = firewall
        self._sweep = sweep
        self._templates_changed = templates_changed
        self._import = asyncio.Event()
        """The engine is known now, and with it where templates go."""
        self._zones: frozenset[str] | None = None
        """What the kernel can do for zones; tried once."""
        name = settings.node_name
        self._key = Key("", name)
        self.inputs = (Input(NODE, changed=ignoring_status, fields=f"metadata.name={name}"),)

    async def background(self) -> None:
        """Import guest templates as they are built."""
        while True:
            self._import.clear()
            import_task = asyncio.create_task(self._inventory.import_images())
            done, _ = await asyncio.wait([import_task], timeout=1.0)
            if not done:
                self.wake(self._key)  # an import lasts: say so
            if await import_task:
                self._templates_changed()
                self.wake(self._key)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IMAGES_EVERY):
                    await self._import.wait()

    async def reconcile(self, key: Key) -> Requeue | None:
        """Report."""
        node = self._runtime.cache.get(NODE, key)
        if node is None or key != self._key or node.deleting:
            return None
        news = await self._engines.settle(node.spec.engine)
        if news:
            self._templates_changed()
        if not node.spec.paused:
            before = (dict(self._inventory.features), self._inventory.templates)
            await self._inventory.open(node.spec.pools)
            if before != (self._inventory.features, self._inventory.templates):
                self._templates_changed()
        if news:
            self._import.set()
        await self._runtime.status.write(NODE, node, status(node, await self._look(node)))
        if self._inventory.engine_problem is not None:
            return Requeue(ENGINE_EVERY)
        for orphan in await self._sweep.new_orphans():
            text = f"{orphan.kind} {orphan.name} carries our mark but has no Guest: it is left as it is"
            self._runtime.events.warning(NODE, node, "OrphanFound", text)
        return None

    async def _look(self, node: Node) -> Facts:
        if self._zones is None:
            self._zones = await asyncio.to_thread(probe.abilities)
        address = facts.primary_address()
        modules = facts.security_modules()
        inventory = self._inventory
        return Facts(
            agent_version=agent_version(),
            engine=inventory.capabilities,
            engine_problem=inventory.engine_problem,
            kernel=facts.kernel(),
            os_image=facts.os_image(),
            boot_time=facts.boot_time(),
            cpu_millis=facts.cpu_millis(),
            memory_bytes=facts.memory_bytes(),
            disk_bytes=await self._disk(),
            max_guests=self._settings.max_guests,
            address=address,
            modules=modules,
            confining=facts.mandatory_access_control(modules or []),
            images=sorted(inventory.templates),
            storage_problem=inventory.problems.text,
            importing=inventory.problems.importing,
            firewall_enforced=self._firewall.enforced,
            tunnel_mtu=await asyncio.to_thread(facts.mtu_of, tunnel_address(node, address)),
            zones=self._zones,
        )

    async def _disk(self) -> int | None:
        pool = self._inventory.default
        if pool is None:
            return None
        try:
            return (await pool.capacity()).total_bytes
        except AdapterError:
            return None
