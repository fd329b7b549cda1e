"""The Proxmox VE engine: `Engine` on the API of one cluster, for the guests of one node.

What exists is what the cluster lists with our marks; only ids that are claimed and tasks that are on their
way are noted (`journal`). Killed at any point: the next call on that guest first finds out what became of the
task that was under way (`tasks`), then looks at the guest, and does what is left to do.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dsecos_runtime import fault_point

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import GuestNotRunningError
from dsecos_agent.engines.model import (
    DEFAULT_OUTPUT_LIMIT,
    Capabilities,
    Capability,
    ConfigDigest,
    ExecResult,
    GuestConfig,
    GuestKind,
    Limits,
    Metrics,
    ObservedGuest,
    Snapshot,
)
from dsecos_agent.engines.protocol import Console, Watch
from dsecos_agent.engines.proxmox import adoption, capabilities, forms, guest_agent, observe
from dsecos_agent.engines.proxmox.access import Access, Found
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.creation import Creation
from dsecos_agent.engines.proxmox.disks import Disks
from dsecos_agent.engines.proxmox.journal import Journal
from dsecos_agent.engines.proxmox.lifecycle import Lifecycle
from dsecos_agent.engines.proxmox.local import LocalGuests
from dsecos_agent.engines.proxmox.moves import Moves
from dsecos_agent.engines.proxmox.places import Place
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.templates import Templates
from dsecos_agent.engines.proxmox.watch import StateWatches
from dsecos_agent.storage.protocol import Archive


class ProxmoxEngine:
    """Guests on `settings.node`, and on whichever node they have moved to from there."""

    def __init__(
        self,
        settings: ProxmoxSettings,
        *,
        state: Path,
        images: Callable[[str], Archive | None],
        local: LocalGuests | None = None,
        clock: Clock | None = None,
        point: Callable[[str], None] = fault_point,
    ) -> None:
        """Connects to nothing. `state` is a directory of ours; `images` gives a template's archive on this
        host; `local` is there when this host is the node. Raises UnsupportedError for settings that cannot
        work.
        """
        clock = clock or Clock()
        self.client = Client(settings, sleep=clock.sleep, point=point)
        self._access = access = Access(settings, self.client, Journal(state / "guests", point), clock)
        self._local = local
        self._lifecycle = Lifecycle(access)
        templates = Templates(self.client, access.tasks, access.gates, settings, images)
        self._creation = Creation(access, self._lifecycle, templates, images, local)
        self._disks = Disks(access, self._creation, self._lifecycle)
        self._moves = Moves(access)
        self._looking = observe.Looking(access, is_here=local is not None)
        self._watches = StateWatches(access.places, self._runs, clock, settings.watch_interval)

    async def ensure_ready(self) -> None:
        """Nothing has to be prepared; look whether Proxmox takes our credential."""
        await self.client.get("/version")

    async def release_host(self) -> None:
        """Nothing was changed on the host."""

    async def capabilities(self) -> Capabilities:
        """Ask Proxmox."""
        return await capabilities.inspect(self._access, is_here=self._local is not None)

    def digest(self, config: GuestConfig) -> ConfigDigest:
        """Fingerprint. Raises UnsafeConfigError."""
        return forms.of_config(config).digests(config)

    def settings(self, config: GuestConfig) -> Mapping[str, str]:
        """Settings. Raises UnsafeConfigError."""
        return forms.of_config(config).settings(config)

    async def write_config(self, config: GuestConfig) -> bool:
        """Create, adopt or change. Raises as the protocol says."""
        return await self._creation.write(config)

    async def release(self, name: str, owner_uid: str) -> None:
        """Give an adopted guest up. Raises NotOursError, UnsupportedError."""
        await adoption.release(self._access, name, owner_uid)

    async def forget(self, name: str) -> None:
        """Drop its notes, and with them the claim on its id."""
        await self._access.forget(name)

    async def list_guests(self) -> Sequence[ObservedGuest]:
        """All guests that the credential may see; others' are named `<VMID>/<hostname>`."""
        return await self._looking.all()

    async def get(self, name: str) -> ObservedGuest | None:
        """One guest of ours."""
        return await self._looking.get(name)

    async def metrics(self, name: str) -> Metrics:
        """Counters now. Raises GuestNotRunningError."""
        place = await self._looking.place(name)
        if place is None:
            raise GuestNotRunningError(f"there is no guest {name}")
        return observe.metrics_of(name, await self._access.now(place))

    def watch(self, name: str, callback: Callable[[str], None]) -> Watch:
        """Be told when it does not run any more, some seconds later."""
        return self._watches.add(name, callback)

    async def start(self, name: str, owner_uid: str) -> ObservedGuest:
        """Start. Raises NotFoundError, NotOursError, GuestFailedError, BridgeMissingError."""
        found, now = await self._lifecycle.start(name, owner_uid)
        return self._looking.show(found, now)

    async def shutdown(self, name: str, owner_uid: str, *, grace: float) -> bool:
        """Ask. Raises NotOursError, IllegalTransitionError."""
        return await self._lifecycle.shutdown(name, owner_uid, grace)

    async def stop(self, name: str, owner_uid: str, *, grace: float) -> None:
        """Ask, then kill. Raises NotOursError, GuestFailedError."""
        await self._lifecycle.stop(name, owner_uid, grace)

    async def suspend(self, name: str, owner_uid: str) -> None:
        """Hold a VM. Raises GuestNotRunningError, NotOursError, GuestFailedError, UnsupportedError."""
        await self._lifecycle.hold(name, owner_uid, suspended=True)

    async def resume(self, name: str, owner_uid: str) -> None:
        """Let a VM go on. Raises as `suspend` does."""
        await self._lifecycle.hold(name, owner_uid, suspended=False)

    async def destroy(self, name: str, owner_uid: str) -> None:
        """Kill and remove, with its disks. Raises NotOursError, GuestFailedError."""
        await self._lifecycle.destroy(name, owner_uid)

    async def migrate(self, name: str, owner_uid: str, target: str) -> None:
        """Move. Raises NotFoundError, NotOursError, GuestFailedError, IllegalTransitionError."""
        await self._moves.migrate(name, owner_uid, target)

    async def exec(
        self,
        name: str,
        owner_uid: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        time_limit: float,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
    ) -> ExecResult:
        """Run a command: in a container through the node, in a VM through its guest agent."""
        found = await self._running(name, owner_uid)
        if found.place.kind is GuestKind.VM:
            return await guest_agent.execute(
                self._access,
                found.place,
                argv,
                stdin=stdin,
                env=env or {},
                time_limit=time_limit,
                output_limit=output_limit,
            )
        local = self._at_the_node(found, Capability.EXEC)
        return await local.exec(
            found.place.kind,
            found.place.vmid,
            argv,
            stdin=stdin,
            env=env or {},
            time_limit=time_limit,
            output_limit=output_limit,
        )

    async def console(self, name: str, owner_uid: str, *, columns: int = 80, rows: int = 24) -> Console:
        """A terminal, through the node. Raises GuestNotRunningError, NotOursError, UnsupportedError."""
        found = await self._running(name, owner_uid)
        local = self._at_the_node(found, Capability.CONSOLE)
        return await local.console(found.place.kind, found.place.vmid, columns, rows)

    async def set_limits(self, name: str, owner_uid: str, limits: Limits) -> None:
        """Change a container's limits now. Raises GuestNotRunningError, NotOursError, UnsupportedError."""
        await self._lifecycle.limit(name, owner_uid, limits)

    async def resize_disk(self, name: str, owner_uid: str, size: int) -> None:
        """Grow the root disk. Raises NotFoundError, NotOursError, OutOfSpaceError, UnsupportedError."""
        await self._disks.resize(name, owner_uid, size)

    async def snapshot(self, name: str, owner_uid: str, snapshot: str, *, description: str = "") -> None:
        """Keep the disks' state. Raises NotFoundError, NotOursError, OutOfSpaceError, UnsupportedError."""
        await self._disks.snapshot(name, owner_uid, snapshot, description)

    async def rollback(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Go back; the guest is stopped afterwards. Raises NotFoundError, NotOursError, UnsupportedError."""
        await self._disks.rollback(name, owner_uid, snapshot)

    async def remove_snapshot(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Forget one. Raises NotOursError."""
        await self._disks.remove_snapshot(name, owner_uid, snapshot)

    async def list_snapshots(self, name: str) -> Sequence[Snapshot]:
        """The oldest first. Raises NotFoundError."""
        return await self._disks.list(name)

    async def close(self) -> None:
        """Close the connections; guests and tasks go on."""
        await self._watches.close()
        await self.client.close()

    async def _running(self, name: str, owner_uid: str) -> Found:
        found = await self._access.ours(name, owner_uid)
        now = await self._access.now(found.place) if found else None
        if found is None or now is None or not now.runs or now.is_suspended:
            raise GuestNotRunningError(f"guest {name} is {'not running' if found else 'not there'}")
        return found

    async def _runs(self, place: Place) -> bool:
        return (await self._access.now(place)).runs

    def _at_the_node(self, found: Found, capability: Capability) -> LocalGuests:
        settings = self._access.settings
        if self._local is None or found.place.node != settings.node:
            raise UnsupportedError(
                f"guest {found.place.vmid} on node {found.place.node}: {capability} is there only for an "
                "agent that runs on that node"
            )
        return self._local
