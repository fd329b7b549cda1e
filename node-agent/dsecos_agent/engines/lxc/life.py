"""A guest's life, driven by liblxc's tools. One operation a guest at a time; any may be killed half way."""

import asyncio
import contextlib
import math
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator

from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.engines.errors import GuestFailedError, GuestNotRunningError, IllegalTransitionError
from dsecos_agent.engines.lxc import cgroups, state
from dsecos_agent.engines.lxc.directory import GuestDirectory
from dsecos_agent.engines.lxc.log import cause
from dsecos_agent.engines.model import GuestState, ObservedGuest
from dsecos_agent.processes import ProcessResult, ToolTimeoutError, run

START_LIMIT = 60.0
STOP_SLACK = 20.0
"""Seconds beyond the grace that a stop may take: liblxc runs down the network and the cgroups after init's
end.
"""

DESTROY_LIMIT = 300.0
"""Seconds that lxc-destroy may take for the files of one container."""

LINGER = 2.0
"""Seconds that a monitor may take from its guest's end to its own."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Life:
    """Starts, holds and ends the guests below the lxcpath. The caller holds the guest's lock."""

    def __init__(self, guests: GuestDirectory) -> None:
        """Nothing is touched."""
        self._guests = guests
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One a guest."""

    async def start(self, name: str, owner_uid: str) -> ObservedGuest:
        """Start. Raises NotFoundError, NotOursError, GuestFailedError."""
        guest = await self.settled(name, owner_uid)
        if guest is None:
            raise NotFoundError(f"there is no guest {name}")
        if guest.state in {GuestState.RUNNING, GuestState.SUSPENDED}:
            return guest
        await asyncio.to_thread(cgroups.remove_empty, self._guests.place(name).name)
        log = await asyncio.to_thread(self._guests.prepare_start, name)
        try:
            tool = await self._tool(
                "lxc-start", name, "-d", "-o", str(log), "-l", "WARN", time_limit=START_LIMIT
            )
        except ToolTimeoutError as error:
            raise GuestFailedError(
                f"guest {name} did not start: {error}", self._guests.log_tail(name)
            ) from error
        started = await self.settled(name, owner_uid)
        if tool.exit_code != 0 or started is None or started.state is not GuestState.RUNNING:
            told = self._guests.log_tail(name) or tool.text_err()
            why = cause(told)
            raise GuestFailedError(f"guest {name} did not start" + (f": {why}" if why else ""), told)
        return started

    async def shutdown(self, name: str, owner_uid: str, grace: float) -> bool:
        """Ask and wait; whether it is stopped. Raises NotOursError, IllegalTransitionError."""
        guest = await self.settled(name, owner_uid)
        if guest is None or guest.state is GuestState.STOPPED:
            return True
        if guest.state is GuestState.SUSPENDED:
            raise IllegalTransitionError(f"guest {name} is {guest.state}: resume it first, or stop it")
        # The tool may be killed when the time is over: the guest was asked, and that is all that it does.
        with contextlib.suppress(ToolTimeoutError):
            wait = str(max(1, math.ceil(grace)))
            await self._tool("lxc-stop", name, "--nokill", "-t", wait, time_limit=max(grace, 0.1))
        after = await self.settled(name, owner_uid)
        return after is None or after.state is GuestState.STOPPED

    async def stop(self, name: str, owner_uid: str, grace: float) -> None:
        """Ask, then kill. Raises NotOursError, GuestFailedError."""
        guest = await asyncio.to_thread(self._guests.owned, name, owner_uid)
        if guest is not None and guest.state is not GuestState.STOPPED:
            await self._end(name, guest, grace)
            after = await self.settled(name, owner_uid)
            if after is not None and after.state is not GuestState.STOPPED:
                raise GuestFailedError(f"guest {name} is still {after.state} after it was killed")
        await self._leave_no_group(name)

    async def _leave_no_group(self, name: str) -> None:
        # A monitor that has closed its socket is not gone yet, and holds its group for some milliseconds.
        deadline = asyncio.get_running_loop().time() + LINGER
        group = self._guests.place(name).name
        while not await asyncio.to_thread(cgroups.remove_empty, group):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.02)

    async def _end(self, name: str, guest: ObservedGuest, grace: float) -> None:
        if guest.state is GuestState.SUSPENDED:
            await self._hold(guest, GuestState.RUNNING)
        how = ["-t", str(max(1, round(grace)))] if grace > 0 else ["-k"]
        try:
            await self._tool("lxc-stop", name, *how, time_limit=grace + STOP_SLACK)
        except ToolTimeoutError:
            # A monitor that hangs answers no tool: what it leaves is ended without it.
            with contextlib.suppress(ToolTimeoutError):
                await self._tool("lxc-stop", name, "-k", time_limit=STOP_SLACK)
        self._kill_orphan(name)

    async def destroy(self, name: str, owner_uid: str) -> None:
        """Kill it and remove it; an adopted one with its root file system, wherever that is, and what liblxc
        keeps of snapshots. Raises NotOursError, GuestFailedError, UnsafeConfigError.
        """
        await self.stop(name, owner_uid, 0)
        if await asyncio.to_thread(self._guests.condemn, name):
            try:
                tool = await self._tool("lxc-destroy", name, "-s", time_limit=DESTROY_LIMIT)
            except ToolTimeoutError as error:
                raise GuestFailedError(f"guest {name} is not destroyed yet: {error}") from error
            if tool.exit_code != 0:
                raise GuestFailedError(f"guest {name} could not be destroyed", tool.text_err())
        await asyncio.to_thread(self._guests.remove, name)

    async def suspend(self, name: str, owner_uid: str) -> None:
        """Hold. Raises GuestNotRunningError, NotOursError, GuestFailedError."""
        self._guests.held(name).unlink(missing_ok=True)
        await self._turn(name, owner_uid, GuestState.SUSPENDED)

    async def resume(self, name: str, owner_uid: str) -> None:
        """Let go. Raises GuestNotRunningError, NotOursError, GuestFailedError."""
        await self._turn(name, owner_uid, GuestState.RUNNING)
        self._guests.held(name).unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def quiet(self, name: str, owner_uid: str) -> AsyncIterator[None]:
        """Hold a running guest meanwhile, so that its disk is of one moment.

        One that stays held because we were killed is let go by the next who does this, starts or resumes it.
        """
        guest = await self.settled(name, owner_uid)
        note = self._guests.held(name)
        try:
            if guest is not None and guest.state is GuestState.RUNNING:
                note.touch(mode=0o600)
                await self._turn(name, owner_uid, GuestState.SUSPENDED)
            yield
        finally:
            if note.exists():
                # A guest that has ended meanwhile need not be let go.
                with contextlib.suppress(GuestNotRunningError):
                    await self._turn(name, owner_uid, GuestState.RUNNING)
                note.unlink(missing_ok=True)

    async def settled(self, name: str, owner_uid: str) -> ObservedGuest | None:
        """Wait until it neither starts nor stops: somebody else, or we before a restart, may be at it."""
        deadline = asyncio.get_running_loop().time() + STOP_SLACK
        while True:
            guest = await asyncio.to_thread(self._guests.owned, name, owner_uid)
            if guest is None or guest.state not in {GuestState.STARTING, GuestState.STOPPING}:
                return guest
            if asyncio.get_running_loop().time() > deadline and not await self._end_monitor(name, guest):
                raise GuestFailedError(f"guest {name} stays {guest.state}", self._guests.log_tail(name))
            await asyncio.sleep(0.02)

    async def _turn(self, name: str, owner_uid: str, wanted: GuestState) -> None:
        guest = await self.settled(name, owner_uid)
        if guest is None or guest.state is GuestState.STOPPED:
            raise GuestNotRunningError(f"guest {name} is {guest.state if guest else 'not there'}")
        if guest.state is wanted:
            return
        try:
            await self._hold(guest, wanted)
        except ToolTimeoutError as error:
            if wanted is GuestState.SUSPENDED:
                await self._hold(guest, GuestState.RUNNING)
            raise GuestFailedError(f"guest {name} did not become {wanted} in time") from error
        after = await self.settled(name, owner_uid)
        if after is None or after.state is not wanted:
            raise GuestFailedError(f"guest {name} did not become {wanted}", self._guests.log_tail(name))

    async def _hold(self, guest: ObservedGuest, wanted: GuestState) -> None:
        place = self._guests.place(guest.name)
        if state.is_monitored(place.lxcpath, place.name):
            program = "lxc-freeze" if wanted is GuestState.SUSPENDED else "lxc-unfreeze"
            if (await self._tool(program, guest.name, time_limit=STOP_SLACK)).exit_code == 0:
                return
        # The tools ask the monitor and read the configuration. A guest that has lost either has its groups.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            cgroups.hold(cgroups.of_process(guest.init_pid or 0), frozen=wanted is GuestState.SUSPENDED)

    async def _end_monitor(self, name: str, guest: ObservedGuest) -> bool:
        # An init that is killed while liblxc sets it up can leave a monitor that waits for ever. That of an
        # adopted guest may be running hooks that are none of ours, however long they take.
        monitor = None if guest.adopted else await asyncio.to_thread(self._monitor_of, name)
        if monitor is None or guest.init_pid is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(monitor, signal.SIGKILL)
        return True

    def _monitor_of(self, name: str) -> int | None:
        place = self._guests.place(name)
        return state.monitor_of(place.lxcpath, place.name)

    def _kill_orphan(self, name: str) -> None:
        # An init whose monitor was killed: liblxc calls such a guest stopped and would start a second one. Or
        # one whose configuration was taken away, which its tools do not know any more.
        boot = self._guests.life(name)
        if boot is not None:
            os.kill(boot.init_pid, signal.SIGKILL)

    async def _tool(self, program: str, name: str, *options: str, time_limit: float) -> ProcessResult:
        place = await asyncio.to_thread(self._guests.place, name)
        at = ["-P", str(place.lxcpath), "-n", place.name]
        return await run([program, *at, *options], env={"PATH": PATH}, time_limit=time_limit)
