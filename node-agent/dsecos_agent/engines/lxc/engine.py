"""The LXC engine: `Engine` on top of lxc-start, lxc-stop and lxc-attach.

The guests are whatever has a configuration below the lxcpath, or a claim there of a container of the host's
own lxcpath; nothing else is remembered. An lxcpath is part of the monitors' socket names, so it has to be the
same string in every process that looks at them.

Killed at any point: a configuration is written beside and renamed; lxc-start is a process of its own, which
goes on without us and whose guest is then found running; a destroy removes the configuration last, so what is
half gone is still ours.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from dsecos_agent.adapter_errors import NotFoundError, UnsupportedError
from dsecos_agent.engines.errors import ExecTimeoutError, GuestNotRunningError
from dsecos_agent.engines.lxc import attach, block, cgroups, counters, host, state
from dsecos_agent.engines.lxc import config as lxc_config
from dsecos_agent.engines.lxc.adoption import Adoption
from dsecos_agent.engines.lxc.console import open_console
from dsecos_agent.engines.lxc.directory import GuestDirectory
from dsecos_agent.engines.lxc.disks import Disk, Disks, GuestPool
from dsecos_agent.engines.lxc.life import Life
from dsecos_agent.engines.lxc.outside import Outside
from dsecos_agent.engines.lxc.subids import IdRange, Subids
from dsecos_agent.engines.lxc.watch import DeathWatches
from dsecos_agent.engines.model import (
    DEFAULT_OUTPUT_LIMIT,
    Adopted,
    Capabilities,
    ConfigDigest,
    ExecResult,
    GuestConfig,
    GuestState,
    Limits,
    Metrics,
    ObservedGuest,
    Snapshot,
)
from dsecos_agent.engines.protocol import Console, Watch
from dsecos_agent.processes import ToolTimeoutError, run
from dsecos_agent.processes.files import write_atomically

SECCOMP_FILE = "guest.seccomp"
ROLLBACK_GRACE = 30.0
"""Seconds that a guest has to end before its disk is taken back; its volumes stay as they are."""


class LxcEngine:
    """Guests below `lxcpath`, whose id maps come from `ids`; `run_directory` remembers what was added to the
    host; `pools` tells which storage pools are open at the moment, for sizes and snapshots of guests in them;
    `outside` is the host's own lxcpath, whose containers can be adopted.
    """

    def __init__(
        self,
        lxcpath: Path,
        run_directory: Path,
        ids: IdRange,
        pools: Callable[[], Iterable[GuestPool]] = tuple,
        outside: Path = Path("/var/lib/lxc"),
    ) -> None:
        """Nothing is touched before `ensure_ready`. Raises UnsupportedError: a path cannot be used."""
        if not lxcpath.is_absolute() or len(f"{lxcpath}/{'n' * 63}/command") > state.ABSTRACT_SOCKET_LIMIT:
            raise UnsupportedError(
                f"{lxcpath} is too long or not absolute: liblxc names its sockets after it"
            )
        if outside == lxcpath:
            raise UnsupportedError(f"{lxcpath} is the engine's own: nothing there can be adopted")
        self._lxcpath = lxcpath
        self._ids = ids
        self._subids = Subids(ids, run_directory / "subids.json")
        self._swap_accounting = cgroups.has_swap_accounting()
        self._guests = GuestDirectory(lxcpath, Outside(outside))
        self._adoption = Adoption(self._guests, Outside(outside))
        self._disks = Disks(pools)
        self._life = Life(self._guests)
        self._watches = DeathWatches()

    async def ensure_ready(self) -> None:
        """Make the lxcpath, write the seccomp profile, reserve the ids. Raises UnsupportedError."""
        self._lxcpath.mkdir(parents=True, exist_ok=True)
        self._lxcpath.chmod(0o711)
        profile = resources.files(__package__).joinpath(SECCOMP_FILE).read_text()
        write_atomically(self._lxcpath / SECCOMP_FILE, profile)
        await asyncio.to_thread(self._subids.reserve)

    async def release_host(self) -> None:
        """Give the id reservation back. Only when no guest runs."""
        await asyncio.to_thread(self._subids.release)

    async def capabilities(self) -> Capabilities:
        """Look at the host."""
        return await host.inspect(self._disks.capabilities())

    def digest(self, config: GuestConfig) -> ConfigDigest:
        """Fingerprint. Raises UnsafeConfigError."""
        return self._render(config)[1]

    def settings(self, config: GuestConfig) -> Mapping[str, str]:
        """The file's keys and values. Raises UnsafeConfigError."""
        return lxc_config.settings_of(self._render(config)[0])

    async def list_guests(self) -> Sequence[ObservedGuest]:
        """All guests below the lxcpath."""
        return await asyncio.to_thread(self._guests.list)

    async def get(self, name: str) -> ObservedGuest | None:
        """One guest."""
        return await asyncio.to_thread(self._guests.observe, name)

    async def write_config(self, config: GuestConfig) -> bool:
        """Create, change or adopt it. Raises NotOursError, UnsafeConfigError, UnsupportedError."""
        text, digest = self._render(config)
        async with self._life.locks[config.name]:
            if isinstance(config.root, Adopted):
                return await asyncio.to_thread(self._adoption.take, config, config.root, text)
            present = await asyncio.to_thread(self._guests.owned, config.name, config.owner_uid)
            if present is not None and present.adopted:
                raise UnsupportedError(f"guest {config.name} was adopted: it cannot become another one")
            if present is not None and present.config_digest == digest.full:
                return False
            await asyncio.to_thread(self._guests.check_ids, config, self._ids)
            await asyncio.to_thread(self._guests.create, config.name, text)
            return True

    async def release(self, name: str, owner_uid: str) -> None:
        """Give it back. Raises NotOursError, UnsupportedError."""
        async with self._life.locks[name]:
            await asyncio.to_thread(self._adoption.release, name, owner_uid)

    async def forget(self, name: str) -> None:
        """Nothing is noted."""

    async def start(self, name: str, owner_uid: str) -> ObservedGuest:
        """Start. Raises NotFoundError, NotOursError, GuestFailedError."""
        async with self._life.locks[name]:
            guest = await asyncio.to_thread(self._guests.owned, name, owner_uid)
            if guest is not None and guest.state is GuestState.STOPPED:
                disk = await asyncio.to_thread(self._disk_in_pool, guest)
                if disk is not None:
                    await disk.finish_rollback()
            return await self._life.start(name, owner_uid)

    async def shutdown(self, name: str, owner_uid: str, *, grace: float) -> bool:
        """Ask and wait. Raises NotOursError, IllegalTransitionError."""
        async with self._life.locks[name]:
            return await self._life.shutdown(name, owner_uid, grace)

    async def stop(self, name: str, owner_uid: str, *, grace: float) -> None:
        """Stop. Raises NotOursError, GuestFailedError."""
        async with self._life.locks[name]:
            await self._life.stop(name, owner_uid, grace)

    async def suspend(self, name: str, owner_uid: str) -> None:
        """Hold. Raises GuestNotRunningError, NotOursError, GuestFailedError."""
        async with self._life.locks[name]:
            await self._life.suspend(name, owner_uid)

    async def resume(self, name: str, owner_uid: str) -> None:
        """Let go. Raises GuestNotRunningError, NotOursError, GuestFailedError."""
        async with self._life.locks[name]:
            await self._life.resume(name, owner_uid)

    async def destroy(self, name: str, owner_uid: str) -> None:
        """Kill and remove. Raises NotOursError, GuestFailedError."""
        async with self._life.locks[name]:
            await self._life.destroy(name, owner_uid)

    async def migrate(self, name: str, owner_uid: str, target: str) -> None:  # noqa: ARG002 - whatever it is
        """Never. Raises NotOursError, UnsupportedError."""
        await asyncio.to_thread(self._guests.owned, name, owner_uid)
        raise UnsupportedError(f"guest {name} cannot be moved: {host.NO_CLUSTER}")

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
        """Run a command in the guest. Raises GuestNotRunningError, NotOursError, ExecTimeoutError.

        When the time is over the command and what shares its process group are killed; what it put into a
        session of its own stays.
        """
        await self._running(name, owner_uid)
        command, environment = attach.command(self._guests.place(name), argv, env or {})
        try:
            result = await run(
                command, stdin=stdin, env=environment, time_limit=time_limit, output_limit=output_limit
            )
        except ToolTimeoutError as error:
            raise ExecTimeoutError(
                f"{argv[0]} in guest {name} did not end within {time_limit:g} s"
            ) from error
        return ExecResult(result.exit_code, result.stdout, result.stderr, result.truncated)

    async def console(self, name: str, owner_uid: str, *, columns: int = 80, rows: int = 24) -> Console:
        """Open a terminal. Raises GuestNotRunningError, NotOursError."""
        await self._running(name, owner_uid)
        command, environment = attach.command(
            self._guests.place(name), attach.LOGIN_SHELL, {"TERM": attach.TERM}
        )
        return await open_console(command, environment, columns=columns, rows=rows)

    async def set_limits(self, name: str, owner_uid: str, limits: Limits) -> None:
        """Change limits now. Raises GuestNotRunningError, NotOursError, RetryableError."""
        guest = await self._running(name, owner_uid)
        group = counters.group_of(guest)
        if guest.adopted:
            await asyncio.to_thread(self._adoption.set_limits, guest, group, limits)
        else:
            await asyncio.to_thread(cgroups.apply, group, limits)

    async def metrics(self, name: str) -> Metrics:
        """Counters now. Raises GuestNotRunningError."""
        guest = await self._running(name, None)
        life, ports = self._guests.life(name), self._guests.ports(name)
        counted = await asyncio.to_thread(counters.count, guest, life, ports)
        disk = await asyncio.to_thread(self._disk_in_pool, guest)
        return replace(counted, disk_bytes=await disk.usage()) if disk else counted

    async def resize_disk(self, name: str, owner_uid: str, size: int) -> None:
        """Set its limit in the pool. Raises NotFoundError, NotOursError, UnsupportedError."""
        async with self._life.locks[name]:
            await (await self._disk(name, owner_uid)).resize(size)

    async def snapshot(self, name: str, owner_uid: str, snapshot: str, *, description: str = "") -> None:
        """Keep its trees, held still meanwhile. Raises NotFoundError, NotOursError, OutOfSpaceError,
        UnsupportedError.
        """
        async with self._life.locks[name]:
            disk = await self._disk(name, owner_uid)
            if not await disk.has(snapshot) or self._guests.held(name).exists():
                async with self._life.quiet(name, owner_uid):
                    await disk.snapshot(snapshot, description)

    async def rollback(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Stop it and take its trees back. Raises NotFoundError, NotOursError, UnsupportedError."""
        async with self._life.locks[name]:
            disk = await self._disk(name, owner_uid)
            await disk.require(snapshot)
            await self._life.stop(name, owner_uid, ROLLBACK_GRACE)
            await disk.rollback(snapshot)

    async def remove_snapshot(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Forget one. Raises NotFoundError, NotOursError, UnsupportedError."""
        async with self._life.locks[name]:
            await (await self._disk(name, owner_uid)).remove_snapshot(snapshot)

    async def list_snapshots(self, name: str) -> Sequence[Snapshot]:
        """The oldest first. Raises NotFoundError, UnsupportedError."""
        return await (await self._disk(name, None)).snapshots()

    def watch(self, name: str, callback: Callable[[str], None]) -> Watch:
        """Be told of the guest's death."""
        return self._watches.add(name, self._guests.life(name), callback)

    async def close(self) -> None:
        """Release descriptors."""
        self._watches.close()

    # What follows is how.

    def _render(self, config: GuestConfig) -> tuple[str, ConfigDigest]:
        directory, seccomp = self._guests.of(config.name), self._lxcpath / SECCOMP_FILE
        facts = lxc_config.HostFacts(directory, seccomp, self._swap_accounting)
        if isinstance(config.root, Adopted):
            return block.render(config, facts)
        return lxc_config.render(config, facts)

    async def _seen(self, name: str, owner_uid: str | None) -> ObservedGuest | None:
        if owner_uid is None:
            return await self.get(name)
        return await asyncio.to_thread(self._guests.owned, name, owner_uid)

    async def _running(self, name: str, owner_uid: str | None) -> ObservedGuest:
        guest = await self._seen(name, owner_uid)
        if guest is None or guest.state is not GuestState.RUNNING:
            raise GuestNotRunningError(f"guest {name} is {guest.state if guest else 'not there'}")
        return guest

    async def _disk(self, name: str, owner_uid: str | None) -> Disk:
        """Raises NotFoundError, NotOursError, UnsupportedError."""
        guest = await self._seen(name, owner_uid)
        if guest is None:
            raise NotFoundError(f"there is no guest {name}")
        disk = await asyncio.to_thread(self._disk_in_pool, guest)
        if disk is None:
            raise UnsupportedError(f"the disk of guest {name} is in no open storage pool")
        return disk

    def _disk_in_pool(self, guest: ObservedGuest) -> Disk | None:
        root = self._guests.root(guest.name)
        return self._disks.of(root, guest.owner_uid or "") if root else None
