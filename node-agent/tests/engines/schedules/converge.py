"""A plain controller: look, decide, act, until nothing is left to do, with what any engine offers."""

import asyncio
from collections.abc import Callable, Mapping

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.engines.model import Capabilities, Capability, GuestConfig, GuestState, ObservedGuest
from dsecos_agent.engines.protocol import Engine

from .model import Wanted

PAUSE = 0.03
"""Seconds between two rounds of which the first met an error."""

PATIENCE = 0.25
"""Seconds until a guest that starts or stops is looked at again."""

MakeConfig = Callable[[str, Wanted], GuestConfig]


class Controller:
    """Brings guests to what is declared of them."""

    def __init__(self, engine: Engine, config: MakeConfig, owner_uid: str) -> None:
        """Two things no engine shows are remembered from round to round: what was never removed, and
        limits of lives that were never given them.
        """
        self._engine = engine
        self._config = config
        self._owner = owner_uid
        self.calls: list[str] = []
        """What was called, for the report of a failure."""
        self._removed: set[str] = set()
        self._limited: set[str] = set()

    async def converge(self, wanted: Mapping[str, Wanted], rounds: int) -> int:
        """Rounds that it took, the last of which found nothing to do. Raises TimeoutError, with the errors of
        the last round, when `rounds` are not enough.
        """
        capabilities = await self._patiently()
        self._kinds = capabilities.kinds
        for number in range(1, rounds + 1):
            results = await asyncio.gather(
                *(self._pass(name, want) for name, want in wanted.items()), return_exceptions=True
            )
            errors = [result for result in results if isinstance(result, BaseException)]
            for error in errors:
                if not isinstance(error, AdapterError):
                    raise error
                self.calls.append(f"-- {type(error).__name__}: {error}")
            if not errors and not any(results) and await self._is_settled(wanted):
                return number
            if errors:
                await asyncio.sleep(PAUSE)
        raise TimeoutError(f"not as declared after {rounds} rounds\n" + "\n".join(self.calls[-25:]))

    async def _is_settled(self, wanted: Mapping[str, Wanted]) -> bool:
        """One more call of each guest finds nothing to write; it also ends what the engine had noted."""
        present = [(name, want) for name, want in wanted.items() if want.state is not None]
        wrote = [await self._engine.write_config(self._config(name, want)) for name, want in present]
        return not any(wrote)

    async def _patiently(self) -> Capabilities:
        for _ in range(20):
            try:
                await self._engine.ensure_ready()
                return await self._engine.capabilities()
            except AdapterError as error:
                self.calls.append(f"-- {type(error).__name__}: {error}")
                await asyncio.sleep(PAUSE)
        raise TimeoutError("the engine does not become ready\n" + "\n".join(self.calls))

    async def _pass(self, name: str, want: Wanted) -> bool:
        """One look at one guest, and what follows from it; whether anything did."""
        guest = await self._engine.get(name)
        before = len(self.calls)
        if want.state is None:
            if guest is not None or name not in self._removed:
                await self._call("release" if want.adopts else "destroy", name)
                self._removed.add(name)
        elif guest is None:
            await self._write(name, want)
        elif guest.state in {GuestState.RUNNING, GuestState.STOPPED, GuestState.SUSPENDED}:
            await self._settle(guest, want)
        else:
            self.calls.append(f"{name} is {guest.state}")
            await asyncio.sleep(PATIENCE)
        return len(self.calls) > before

    async def _settle(self, guest: ObservedGuest, want: Wanted) -> None:
        name, config = guest.name, self._config(guest.name, want)
        digest = self._engine.digest(config)
        capable = self._kinds[want.kind]
        running = guest.state is GuestState.RUNNING
        limited = Capability.LIVE_LIMITS not in capable or name in self._limited
        if guest.state is GuestState.SUSPENDED:
            same = (guest.config_digest, guest.booted_digest) == (digest.full, digest.boot) and limited
            same = same and (guest.disk_bytes or want.disk) == want.disk
            if Capability.SNAPSHOT in capable:
                same = same and await self._snapshots_of(name) == want.snapshots
            if not same or want.state is not GuestState.SUSPENDED or self._astray(guest, want):
                await self._call("resume", name)
            return
        if Capability.MIGRATE in capable and self._astray(guest, want):
            await self._call("migrate", name, want.node)
            return
        written = guest.config_digest == digest.full
        if running and Capability.LIVE_LIMITS in capable and not (written and limited):
            await self._call("set_limits", name, config.limits)
            self._limited.add(name)
        if not written:
            await self._write(name, want)
            return
        if Capability.RESIZE_DISK in capable and (guest.disk_bytes or 0) < want.disk:
            await self._call("resize_disk", name, want.disk)
        if Capability.SNAPSHOT in capable:
            await self._snapshots(name, want)
        if running and (want.state is GuestState.STOPPED or guest.booted_digest != digest.boot):
            await self._call("stop", name, grace=1)
        elif not running and want.state is not GuestState.STOPPED:
            await self._call("start", name)
        elif running and want.state is GuestState.SUSPENDED:
            await self._call("suspend", name)

    @staticmethod
    def _astray(guest: ObservedGuest, want: Wanted) -> bool:
        return want.node not in (None, guest.engine_node)

    async def _snapshots(self, name: str, want: Wanted) -> None:
        found = await self._snapshots_of(name)
        for extra in sorted(found - want.snapshots):
            await self._call("remove_snapshot", name, extra)
        for missing in sorted(want.snapshots - found):
            await self._call("snapshot", name, missing)

    async def _snapshots_of(self, name: str) -> frozenset[str]:
        return frozenset(each.name for each in await self._engine.list_snapshots(name))

    async def _write(self, name: str, want: Wanted) -> None:
        self.calls.append(f"write_config {name}")
        await self._engine.write_config(self._config(name, want))

    async def _call(self, verb: str, name: str, *args: object, **options: object) -> None:
        self.calls.append(" ".join([verb, name, *map(str, args)]))
        await getattr(self._engine, verb)(name, self._owner, *args, **options)
