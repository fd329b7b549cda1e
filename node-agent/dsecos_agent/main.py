"""The node agent's process.

Order of a start: pools, records, the last known firewall and uplinks; then, side by side, the API server is
awaited and (if it does not answer) guests are started as last known; then the controllers. Stopping it leaves
guests, links, rules and name servers as they are.
"""

import asyncio
import base64
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from dsecos_api.names import AGENT_LEASE
from dsecos_runtime import (
    GUEST,
    SECRET,
    ZONE_ATTACHMENT,
    Controller,
    Heartbeat,
    Key,
    NotFound,
    Runtime,
    RuntimeSettings,
    Unavailable,
    get_logger,
    read_settings,
    run_async,
)
from dsecos_runtime.logs import configure

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.control import ControlSocket
from dsecos_agent.guests.act import Actor
from dsecos_agent.guests.bringup import BringUps, SecretMissingError
from dsecos_agent.guests.controller import GuestController
from dsecos_agent.guests.inside import Preparation
from dsecos_agent.guests.leftovers import Leftovers
from dsecos_agent.guests.lives import Lives
from dsecos_agent.guests.memory import MemoryLimits
from dsecos_agent.guests.observe import Observer
from dsecos_agent.guests.record import Records
from dsecos_agent.guests.registry import NodeRegistry
from dsecos_agent.guests.startorder import StartOrder
from dsecos_agent.guests.view import HostView
from dsecos_agent.host import Host, build_engine
from dsecos_agent.hostfirewall.controller import HostFirewallController
from dsecos_agent.hostfirewall.keeper import Keeper
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_agent.node import facts
from dsecos_agent.node.boot import Boot
from dsecos_agent.node.controller import NodeController
from dsecos_agent.node.engines import Build, Engines
from dsecos_agent.node.inventory import Inventory
from dsecos_agent.node.sweep import Sweep
from dsecos_agent.nodefirewall.controller import FirewallController
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.nodefirewall.wishes import CacheWishes
from dsecos_agent.settings import AgentSettings
from dsecos_agent.zones.controller import ZoneController
from dsecos_agent.zones.naming import port_name
from dsecos_agent.zones.serving import Serving


class Agent:
    """All parts of one agent, put together."""

    def __init__(self, settings: AgentSettings, host: Host, build: Build | None = None) -> None:
        """Nothing is touched before `prepare`; `build` makes the node's engine."""
        self.settings = settings
        self.host = host
        self.records = Records(settings.state / "guests")
        self.inventory = Inventory(settings)
        self.wishes = CacheWishes(
            self.records,
            self.port_of,
            namespace=settings.namespace,
            prefix=settings.link_prefix,
            registry_port=settings.registry_read_port,
            name_server=settings.names,
        )
        self.enforcer = Enforcer(host.firewall, self.wishes, settings.state / "network.json")
        self.host_table = HostTable(settings.instance, settings.run / "host-firewall.json")
        self.host_firewall = Keeper(
            self.host_table,
            instance=settings.instance,
            folder=settings.state,
            seconds=settings.host_firewall_seconds,
        )
        self.view = HostView(self.inventory.pools, host.links)
        self.lives = Lives(self.records, facts.boot_id())
        self.order = StartOrder()
        self.boot = Boot(
            host.engine,
            host.links,
            self.enforcer,
            self.records,
            self.lives,
            parallel=settings.parallel_starts,
        )
        self.engines = Engines(
            host.engines,
            self.inventory,
            build or partial(build_engine, settings, pools=self.inventory.pools.values),
            self.secret,
            settings.state / "engine.json",
        )
        self.runtime: Runtime | None = None
        self.limits = MemoryLimits()
        self._secrets: dict[str, Mapping[str, str]] = {}

    async def prepare(self) -> None:
        """What needs no API server. A pool or a rule that fails is told by the Node's conditions."""
        await self.boot.protect()
        await self.protect_host()
        await self.engines.recall()
        await self.host.links.ensure_forwarding()
        await asyncio.to_thread(self.trust_registry)
        await self.inventory.open()

    async def protect_host(self) -> None:
        """The node's own firewall and uplinks as last confirmed; on an error their controller tries again."""
        try:
            await self.host_firewall.recover()
        except AdapterError as error:
            get_logger().error("the node's own firewall or uplinks are not in force", error=str(error))

    def port_of(self, guest: str) -> str | None:
        """Host's end of a guest's network interface; None: the engine names it and has not told it yet."""
        told = self.records.link(guest)
        if told is not None or self.inventory.own_disks:
            return told
        return port_name(self.settings.link_prefix, guest)

    def owner_of(self, guest: str) -> str | None:
        """Owner's UID of a Guest of this node; None: there is none, as far as is known."""
        if self.runtime is not None and self.answered():
            found = self.runtime.cache.get(GUEST, Key(self.settings.namespace, guest))
            return None if found is None else found.spec.stack_ref.uid
        record = self.records.get(guest)
        return None if record is None else record.owner_uid

    def trust_registry(self) -> None:
        """Copy the authority that guests trust the registry by to where they can see it."""
        folder = self.settings.trust
        folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder.mkdir(mode=0o755, exist_ok=True)
        try:
            content = self.settings.registry_ca.read_bytes()
        except OSError as error:
            get_logger().warning("no registry that guests could trust", error=str(error))
            return
        target = folder / "ca.crt"
        if not target.exists() or target.read_bytes() != content:
            fresh = folder / ".ca.crt"
            fresh.write_bytes(content)
            fresh.chmod(0o644)
            fresh.replace(target)

    def answered(self) -> bool:
        """Whether the API server told what is wanted."""
        if self.runtime is None:
            return False
        try:
            return self.runtime.cache.ready(GUEST) and self.runtime.cache.ready(ZONE_ATTACHMENT)
        except KeyError:
            return False  # the controllers are not there yet

    async def build(self, runtime: Runtime) -> Sequence[Controller]:
        """The controllers."""
        self.runtime = runtime
        settings, host = self.settings, self.host
        self.wishes.connect(runtime.cache)
        bring_ups = BringUps(
            host.compose,
            self.records,
            self.secret,
            NodeRegistry(settings.registry_read_port, settings.registry_ca),
            Preparation(host.engine, self.records, settings.trust, settings.registry_read_port).prepare,
            parallel=settings.parallel_starts,
            docker_time_limit=settings.docker_time_limit,
            compose_time_limit=settings.compose_time_limit,
        )
        observer = Observer(
            engine=host.engine,
            compose=host.compose,
            view=self.view,
            features=self.inventory.features,
            firewall=self.enforcer,
            records=self.records,
            bring_ups=bring_ups,
            limits=self.limits,
        )
        actor = Actor(
            engine=host.engine,
            pools=self.inventory.pools,
            links=host.links,
            firewall=self.enforcer,
            records=self.records,
            lives=self.lives,
            bring_ups=bring_ups,
            view=self.view,
            registry_port=settings.registry_read_port,
            shared=settings.run / "guests",
            stop_grace=settings.stop_grace,
        )
        leftovers = Leftovers(
            cluster=runtime.cluster,
            engine=host.engine,
            view=self.view,
            records=self.records,
            actor=actor,
            firewall=self.enforcer,
            namespace=settings.namespace,
            port_of=self.port_of,
        )
        guests = GuestController(
            runtime,
            self.inventory,
            engine=host.engine,
            compose=host.compose,
            observer=observer,
            actor=actor,
            bring_ups=bring_ups,
            records=self.records,
            lives=self.lives,
            order=self.order,
            leftovers=leftovers,
        )
        self.limits.listen(guests.wake_guest)
        zones = ZoneController(
            runtime,
            links=host.links,
            view=self.view,
            firewall=self.enforcer,
            serving=Serving(host.names, settings.link_prefix, on=settings.names),
            prefix=settings.link_prefix,
            namespace=settings.namespace,
            wake_guest=guests.wake_guest,
            port_of=self.port_of,
            orphaned=self.records.orphaned,
        )
        node = NodeController(
            runtime,
            settings,
            engines=self.engines,
            inventory=self.inventory,
            firewall=self.enforcer,
            sweep=Sweep(
                cluster=runtime.cluster,
                engine=host.engine,
                links=host.links,
                view=self.view,
                pools=self.inventory.pools,
                records=self.records,
                namespace=settings.namespace,
                inventory=self.inventory,
                port_of=self.port_of,
            ),
            templates_changed=guests.wake_all,
        )
        heartbeat = Heartbeat(runtime.cluster, settings.namespace, AGENT_LEASE, identity=settings.node_name)
        runtime.spawn(heartbeat.run(), name="heartbeat")
        firewall = FirewallController(
            runtime,
            host.firewall,
            self.enforcer,
            node=settings.node_name,
            namespace=settings.namespace,
            wake_guest=guests.wake_guest,
        )
        host_firewall = HostFirewallController(
            runtime,
            self.host_firewall,
            self.host_table,
            namespace=settings.namespace,
            instance=settings.instance,
            link_prefix=settings.link_prefix,
        )
        return [firewall, zones, guests, node, host_firewall]

    async def secret(self, name: str) -> Mapping[str, str]:
        """The values of a Secret in the node's namespace; those read before, while the API server is away.

        Raises SecretMissingError, ClusterError.
        """
        if self.runtime is None:
            raise SecretMissingError(f"Secret {name} was not read yet")
        try:
            found = await self.runtime.cluster.get(SECRET, name, self.settings.namespace)
        except NotFound as error:
            raise SecretMissingError(f"Secret {name} does not exist") from error
        except Unavailable:
            if name not in self._secrets:
                raise
            return self._secrets[name]
        data = found.get("data") or {}
        self._secrets[name] = {key: base64.b64decode(value).decode() for key, value in data.items()}
        return self._secrets[name]

    async def run(self) -> int:
        """Until SIGTERM; the exit code."""
        settings = self.settings
        try:
            await self.prepare()
        except AdapterError as error:
            get_logger().error("this host cannot run guests", error=str(error))
            return 1
        control = ControlSocket(settings.run / "agent.sock", self.host.engine, self.owner_of)
        try:
            await control.start()
        except AdapterError as error:
            get_logger().error("no local socket for exec and console", error=str(error))
        boot = asyncio.create_task(
            self.boot.run(self.answered, settings.boot_patience, self.engines.assume), name="boot"
        )
        runtime_settings = RuntimeSettings(
            name="agent", namespaces=[settings.namespace], metrics_port=settings.agent_metrics_port
        )
        try:
            return await run_async(runtime_settings, self.build)
        finally:
            boot.cancel()
            await asyncio.gather(boot, return_exceptions=True)
            self.limits.close()
            await control.close()
            await self.host.close()


def main() -> None:
    """Run the agent as the environment says."""
    settings = read_settings(AgentSettings)
    configure("agent", read_settings(lambda: RuntimeSettings(name="agent")).log_level)

    async def run() -> int:
        return await Agent(settings, Host.of(settings)).run()

    sys.exit(asyncio.run(run()))
