"""The LXC engine: `Engine` on top of lxc-start, lxc-stop and lxc-attach.

The guests are whatever has a configuration below the lxcpath; nothing else is remembered. The lxcpath is part
of the monitors' socket names, so it has to be the same string in every process that looks at them.

Killed at any point: a configuration is written beside and renamed; lxc-start is a process of its own, which
goes on without us and whose guest is then found running; a destroy removes the configuration last, so what is
half gone is still ours.
"""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from dsecos_agent.adapter_errors import NotFoundError, UnsupportedError
from dsecos_agent.engines.errors import (
    ExecTimeoutError,
    GuestFailedError,
    GuestNotRunningError,
    UnsafeConfigError,
)
from dsecos_agent.engines.lxc import cgroups, host, state
from dsecos_agent.engines.lxc import config as lxc_config
from dsecos_agent.engines.lxc.directory import GuestDirectory
from dsecos_agent.engines.lxc.subids import IdRange, Subids
from dsecos_agent.engines.lxc.watch import DeathWatches
from dsecos_agent.engines.model import (
    DEFAULT_OUTPUT_LIMIT,
    Capabilities,
    ConfigDigest,
    ExecResult,
    GuestConfig,
    GuestState,
    Limits,
    Metrics,
    ObservedGuest,
)
from dsecos_agent.engines.protocol import Watch
from dsecos_agent.processes import ProcessResult, ToolTimeoutError, run
from dsecos_agent.processes.files import write_atomically

START_LIMIT = 60.0
STOP_SLACK = 20.0
"""Seconds beyond the grace that a stop may take: liblxc runs down the network and the cgroups after init's
end.
"""

SECCOMP_FILE = "guest.seccomp"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LxcEngine:
    """Guests below `lxcpath`, whose id maps come from `ids`; `run_directory` remembers what was added to the
    host.
    """

    def __init__(self, lxcpath: Path, run_directory: Path, ids: IdRange) -> None:
        """Nothing is touched before `ensure_ready`. Raises UnsupportedError when the lxcpath is too long."""
        if not lxcpath.is_absolute() or len(f"{lxcpath}/{'n' * 63}/command") > state.ABSTRACT_SOCKET_LIMIT:
            raise UnsupportedError(
                f"{lxcpath} is too long or not absolute: liblxc names its sockets after it"
            )
        self._lxcpath = lxcpath
        self._ids = ids
        self._subids = Subids(ids, run_directory / "subids.json")
        self._swap_accounting = cgroups.has_swap_accounting()
        self._guests = GuestDirectory(lxcpath)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
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
        return await host.inspect()

    def digest(self, config: GuestConfig) -> ConfigDigest:
        """Fingerprint. Raises UnsafeConfigError."""
        return self._render(config)[1]

    async def list_guests(self) -> Sequence[ObservedGuest]:
        """All guests below the lxcpath."""
        return await asyncio.to_thread(self._guests.list)

    async def get(self, name: str) -> ObservedGuest | None:
        """One guest."""
        return await asyncio.to_thread(self._guests.observe, name)

    async def write_config(self, config: GuestConfig) -> bool:
        """Create the guest or replace its configuration. Raises NotOursError, UnsafeConfigError."""
        text, digest = self._render(config)
        async with self._locks[config.name]:
            present = await asyncio.to_thread(self._guests.owned, config.name, config.owner_uid)
            if present is not None and present.config_digest == digest.full:
                return False
            await asyncio.to_thread(self._guests.check_ids, config, self._ids)
            await asyncio.to_thread(self._guests.create, config.name, text)
            return True

    async def start(self, name: str, owner_uid: str) -> ObservedGuest:
        """Start. Raises NotFoundError, NotOursError, GuestFailedError."""
        async with self._locks[name]:
            guest = await self._settled(name, owner_uid)
            if guest is None:
                raise NotFoundError(f"there is no guest {name}")
            if guest.state in {GuestState.RUNNING, GuestState.SUSPENDED}:
                return guest
            await asyncio.to_thread(cgroups.remove_empty, name)
            log = await asyncio.to_thread(self._guests.prepare_start, name)
            try:
                tool = await self._tool(
                    "lxc-start", name, "-d", "-o", str(log), "-l", "WARN", time_limit=START_LIMIT
                )
            except ToolTimeoutError as error:
                raise GuestFailedError(
                    f"guest {name} did not start: {error}", self._guests.log_tail(name)
                ) from error
            started = await self._settled(name, owner_uid)
            if tool.exit_code != 0 or started is None or started.state is not GuestState.RUNNING:
                raise GuestFailedError(
                    f"guest {name} did not start", self._guests.log_tail(name) or tool.text_err()
                )
            return started

    async def stop(self, name: str, owner_uid: str, *, grace: float) -> None:
        """Stop. Raises NotOursError, GuestFailedError."""
        async with self._locks[name]:
            await self._stop(name, owner_uid, grace)

    async def suspend(self, name: str, owner_uid: str) -> None:
        """Hold. Raises GuestNotRunningError, NotOursError, GuestFailedError."""
        await self._hold(name, owner_uid, "lxc-freeze", GuestState.SUSPENDED)

    async def resume(self, name: str, owner_uid: str) -> None:
        """Let go. Raises GuestNotRunningError, NotOursError, GuestFailedError."""
        await self._hold(name, owner_uid, "lxc-unfreeze", GuestState.RUNNING)

    async def destroy(self, name: str, owner_uid: str) -> None:
        """Kill and forget. Raises NotOursError, GuestFailedError."""
        async with self._locks[name]:
            await self._stop(name, owner_uid, 0)
            await asyncio.to_thread(cgroups.remove_empty, name)
            await asyncio.to_thread(self._guests.remove, name)

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
        names = sorted(env or {})
        # The tool runs on the host as root: no variable may carry a name of the guest's choice there, like
        # LD_PRELOAD.
        handed = {f"DSECOS_{number}": (env or {})[name] for number, name in enumerate(names)}
        command: list[str | Path] = ["lxc-attach", "-P", self._lxcpath, "-n", name, "--clear-env"]
        command += [option for variable in handed for option in ("--keep-var", variable)]
        command += ["--set-var", "HOME=/root", "--", *_named(names, handed), *argv]
        environment = {"PATH": PATH, **handed}
        try:
            result = await run(
                command, stdin=stdin, env=environment, time_limit=time_limit, output_limit=output_limit
            )
        except ToolTimeoutError as error:
            raise ExecTimeoutError(
                f"{argv[0]} in guest {name} did not end within {time_limit:g} s"
            ) from error
        return ExecResult(result.exit_code, result.stdout, result.stderr, result.truncated)

    async def set_limits(self, name: str, owner_uid: str, limits: Limits) -> None:
        """Change limits now. Raises GuestNotRunningError, NotOursError, RetryableError."""
        guest = await self._running(name, owner_uid)
        await asyncio.to_thread(lambda: cgroups.apply(self._cgroup(guest), limits))

    async def usage(self, name: str) -> Metrics:
        """Counters now. Raises GuestNotRunningError."""
        guest = await self._running(name, None)
        return await asyncio.to_thread(lambda: cgroups.usage(self._cgroup(guest)))

    def watch(self, name: str, callback: Callable[[str], None]) -> Watch:
        """Be told of the guest's death."""
        return self._watches.add(name, state.read_boot(self._guests.of(name)), callback)

    async def close(self) -> None:
        """Release descriptors."""
        self._watches.close()

    # What follows is how.

    def _render(self, config: GuestConfig) -> tuple[str, ConfigDigest]:
        facts = lxc_config.HostFacts(
            directory=self._guests.of(config.name),
            seccomp=self._lxcpath / SECCOMP_FILE,
            swap_accounting=self._swap_accounting,
        )
        return lxc_config.render(config, facts)

    async def _running(self, name: str, owner_uid: str | None) -> ObservedGuest:
        guest = (
            await self.get(name)
            if owner_uid is None
            else await asyncio.to_thread(self._guests.owned, name, owner_uid)
        )
        if guest is None or guest.state is not GuestState.RUNNING:
            raise GuestNotRunningError(f"guest {name} is {guest.state if guest else 'not there'}")
        return guest

    @staticmethod
    def _cgroup(guest: ObservedGuest) -> cgroups.GuestCgroup:
        try:
            return cgroups.of_process(guest.init_pid or 0)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise GuestNotRunningError(f"guest {guest.name} has just ended") from error

    async def _settled(self, name: str, owner_uid: str) -> ObservedGuest | None:
        """Wait until it neither starts nor stops: somebody else, or we before a restart, may be at it."""
        deadline = asyncio.get_running_loop().time() + STOP_SLACK
        while True:
            guest = await asyncio.to_thread(self._guests.owned, name, owner_uid)
            if guest is None or guest.state not in {GuestState.STARTING, GuestState.STOPPING}:
                return guest
            if asyncio.get_running_loop().time() > deadline:
                raise GuestFailedError(f"guest {name} stays {guest.state}", self._guests.log_tail(name))
            await asyncio.sleep(0.02)

    async def _hold(self, name: str, owner_uid: str, program: str, wanted: GuestState) -> None:
        async with self._locks[name]:
            guest = await self._settled(name, owner_uid)
            if guest is None or guest.state is GuestState.STOPPED:
                raise GuestNotRunningError(f"guest {name} is {guest.state if guest else 'not there'}")
            if guest.state is wanted:
                return
            await self._tool(program, name, time_limit=STOP_SLACK)
            after = await self._settled(name, owner_uid)
            if after is None or after.state is not wanted:
                raise GuestFailedError(f"guest {name} did not become {wanted}", self._guests.log_tail(name))

    async def _stop(self, name: str, owner_uid: str, grace: float) -> None:
        guest = await asyncio.to_thread(self._guests.owned, name, owner_uid)
        if guest is None or guest.state is GuestState.STOPPED:
            return
        if guest.state is GuestState.SUSPENDED:
            await self._tool("lxc-unfreeze", name, time_limit=STOP_SLACK)
        how = ["-t", str(max(1, round(grace)))] if grace > 0 else ["-k"]
        try:
            await self._tool("lxc-stop", name, *how, time_limit=grace + STOP_SLACK)
        except ToolTimeoutError:
            await self._tool("lxc-stop", name, "-k", time_limit=STOP_SLACK)
        self._kill_orphan(name)
        after = await self._settled(name, owner_uid)
        if after is not None and after.state is not GuestState.STOPPED:
            raise GuestFailedError(f"guest {name} is still {after.state} after it was killed")

    def _kill_orphan(self, name: str) -> None:
        # An init whose monitor was killed: liblxc calls such a guest stopped and would start a second one.
        boot = state.read_boot(self._guests.of(name))
        if boot is not None and not state.is_monitored(self._lxcpath, name):
            os.kill(boot.init_pid, signal.SIGKILL)

    async def _tool(self, program: str, name: str, *options: str, time_limit: float) -> ProcessResult:
        return await run(
            [program, "-P", self._lxcpath, "-n", name, *options], env={"PATH": PATH}, time_limit=time_limit
        )


def _named(names: Sequence[str], handed: Mapping[str, str]) -> list[str]:
    """A command that, in the guest, gives the variables their names and runs what follows."""
    if not names:
        return []
    if wrong := [name for name in names if not lxc_config.ENV_NAME.fullmatch(name)]:
        raise UnsafeConfigError(f"{wrong[0]!r} is not the name of an environment variable")
    exports = " ".join(f'{name}="${variable}"' for name, variable in zip(names, handed, strict=True))
    return ["/bin/sh", "-c", f'export {exports}; unset {" ".join(handed)}; exec "$@"', "sh"]
