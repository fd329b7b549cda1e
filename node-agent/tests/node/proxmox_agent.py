"""The agent's process on a simulated Proxmox VE: the whole agent, but for what cannot be there.

    real            controllers, Proxmox engine and its API over HTTPS, bridges, nftables, API server
    double          what root does on the node itself (pct), guests' network ports, the Docker in a container

Run as a program by `proxmox.py`; never part of the product.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dsecos_agent.compose.protocol import InGuest, Service, Where
from dsecos_agent.compose.runner import GuestCompose
from dsecos_agent.engines.model import ExecResult, GuestConfig, GuestKind, GuestState, ObservedGuest
from dsecos_agent.engines.protocol import Console, Engine, Watch
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.guests.services import expected
from dsecos_agent.host import Host, archive_of, proxmox_settings
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import ObservedPort
from dsecos_agent.main import Agent
from dsecos_agent.settings import AgentSettings
from dsecos_api.node import Engine as EngineSpec
from dsecos_runtime import RuntimeSettings
from dsecos_runtime.logs import configure

ROOT_PASSWORD = "DSECOS_TEST_ROOT_PASSWORD"
DOCKER = "DSECOS_TEST_DOCKER"
"""Directory that stands for the guests' disks, where several nodes have the same guests in turn."""
HASTE = "DSECOS_TEST_HASTE"
"""What waits are divided by: the simulator's tasks are quicker than those of a real node."""


class HastyClock(Clock):
    """Waits a part of what it is asked for."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / float(os.environ.get(HASTE, "10")))


class SimulatedLinks(NetlinkLinks):
    """Real bridges; ports come and go as the engine says that guests start and end."""

    def __init__(self, prefix: str, run: Path) -> None:
        super().__init__(prefix, run)
        self.ports: dict[str, ObservedPort] = {}

    async def list_ports(self) -> Sequence[ObservedPort]:
        return sorted(self.ports.values(), key=lambda port: port.name)

    async def attach(self, port: str, bridge: str) -> bool:
        before = self.ports.get(port)
        self.ports[port] = ObservedPort(port, bridge, isolated=True, up=True)
        return before != self.ports[port]


class RootOfTheNode:
    """What `PctLocal` does, by the password of root@pam; commands in a guest end well and say nothing."""

    def __init__(self, settings: ProxmoxSettings) -> None:
        self._node = settings.node
        password = os.environ.get(ROOT_PASSWORD, "secret")
        self._client = Client(replace(settings, token="", user="root@pam", password=password))

    async def exec(
        self,
        kind: GuestKind,
        vmid: int,
        argv: Sequence[str],
        *,
        stdin: bytes,
        env: Mapping[str, str],
        time_limit: float,
        output_limit: int,
    ) -> ExecResult:
        return ExecResult(0, b"", b"", truncated=False)

    async def console(self, kind: GuestKind, vmid: int, columns: int, rows: int) -> Console:
        raise NotImplementedError

    async def set_mounts(self, vmid: int, mounts: Mapping[str, str]) -> None:
        await self._client.put(f"/nodes/{self._node}/lxc/{vmid}/config", **mounts)

    async def set_features(self, vmid: int, *, keyctl: bool) -> None:
        await self._client.put(
            f"/nodes/{self._node}/lxc/{vmid}/config", features=f"nesting=1,keyctl={int(keyctl)}"
        )


class WiredEngine(ProxmoxEngine):
    """The Proxmox engine; guests' ports are there while they run."""

    def __init__(self, settings: ProxmoxSettings, links: SimulatedLinks, state: Path, images: Path) -> None:
        super().__init__(
            settings,
            state=state,
            images=partial(archive_of, images),
            local=RootOfTheNode(settings),
            clock=HastyClock(),
        )
        self._links = links
        self._bridges: dict[str, str] = {}
        self._here = settings.node

    async def get(self, name: str) -> ObservedGuest | None:
        """As it is; its port too, where others have started, stopped or moved it."""
        guest = await super().get(name)
        if guest is not None:
            runs = guest.state is GuestState.RUNNING and guest.engine_node == self._here
            if not runs:
                self._unplug(guest)
            elif not all(port in self._links.ports for port in guest.ports):
                self._plug(guest)
        return guest

    async def write_config(self, config: GuestConfig) -> bool:
        for each in config.interfaces:
            self._bridges[config.name] = each.bridge
        return await super().write_config(config)

    async def start(self, name: str, owner_uid: str) -> ObservedGuest:
        guest = await super().start(name, owner_uid)
        self._plug(guest)
        return guest

    async def stop(self, name: str, owner_uid: str, *, grace: float) -> None:
        await super().stop(name, owner_uid, grace=grace)
        await self.get(name)

    async def destroy(self, name: str, owner_uid: str) -> None:
        guest = await self.get(name)
        if guest is not None:
            self._unplug(guest)
        await super().destroy(name, owner_uid)

    def _plug(self, guest: ObservedGuest) -> None:
        for port in guest.ports:
            bridge = self._bridges.get(guest.name)
            self._links.ports[port] = ObservedPort(port, bridge, isolated=False, up=True)

    def _unplug(self, guest: ObservedGuest) -> None:
        for port in guest.ports:
            self._links.ports.pop(port, None)


class NoWatch:
    """Nothing ever happens."""

    def close(self) -> None:
        """Nothing to end."""


class FileCompose(GuestCompose):
    """A container's Docker that brings everything up at once; what is up is in a file, as it would be on the
    guest's disk. A VM's Docker is asked in it, as always.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        super().__init__(engine, sleep=HastyClock().sleep)
        self._folder = folder
        self._apart: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    async def wait_ready(self, where: Where, *, time_limit: float) -> str:
        if isinstance(where, InGuest):
            self._apart.add(where.guest)
            return await super().wait_ready(where, time_limit=time_limit)
        return "double"

    async def up(
        self, guest: str, owner_uid: str, document: str, *, env: Mapping[str, str], time_limit: float
    ) -> None:
        if guest in self._apart:
            await super().up(guest, owner_uid, document, env=env, time_limit=time_limit)
            return
        names = [service.name for service in expected(document)]
        (self._folder / guest).write_text(json.dumps(names))

    async def services(self, where: Where) -> Sequence[Service]:
        if isinstance(where, InGuest):
            return await super().services(where)
        try:
            names = json.loads((self._folder / where.name).read_text())
        except FileNotFoundError:
            names = []
        return [Service(name, "image", "sha256:0", "running", "healthy", 0, None, "0") for name in names]

    def subscribe(self, where: Where, callback: Callable[[], None]) -> Watch:
        return super().subscribe(where, callback) if isinstance(where, InGuest) else NoWatch()


def agent(settings: AgentSettings) -> Agent:
    """The agent with its doubles."""
    links = SimulatedLinks(settings.link_prefix, settings.run)

    def build(spec: EngineSpec, token: str) -> Engine:
        assert spec.proxmox is not None
        wish = replace(
            proxmox_settings(spec.proxmox, token), settle_limit=0.3, watch_interval=0.5, lock_limit=5.0
        )
        return WiredEngine(wish, links, settings.state / "proxmox", settings.images)

    docker = Path(os.environ.get(DOCKER) or settings.home / "docker")
    host = replace(Host.of(settings), links=links)
    host = replace(host, compose=FileCompose(host.engine, docker))
    return Agent(settings, host, build)


if __name__ == "__main__":
    configure("agent", RuntimeSettings(name="agent").log_level)
    sys.exit(asyncio.run(agent(AgentSettings()).run()))
