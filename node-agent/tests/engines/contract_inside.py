"""What any engine does within a guest: exec, console, metrics."""

import asyncio

import pytest
from dsecos_agent.engines.errors import ExecTimeoutError, GuestNotRunningError
from dsecos_agent.engines.model import Capability
from dsecos_agent.engines.protocol import Console, Engine

from .contract_hooks import MAKE, OWNER, Hooks, out, started


async def shown(console: Console, wanted: bytes) -> bytes:
    """Read until it is on the terminal."""
    seen = b""
    while wanted not in seen:
        piece = await asyncio.wait_for(console.read(), 10)
        assert piece, seen
        seen += piece
    return seen


class InsideContract(Hooks):
    """The guest is there to be entered."""

    async def test_exec(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.EXEC):
            call = engine.exec("one", OWNER, ["true"], time_limit=5)
            await self.refused(engine, Capability.EXEC, call)
            return
        assert await out(engine, "one", "cat", stdin=b"from stdin") == "from stdin"
        failed = await engine.exec("one", OWNER, ["sh", "-c", "echo no >&2; exit 7"], time_limit=10)
        assert (failed.exit_code, failed.stdout, failed.stderr.strip()) == (7, b"", b"no")
        assert not failed.truncated

    async def test_exec_keeps_the_environment_apart(
        self, engine: Engine, make_config: MAKE, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENT_SECRET", "of the agent")
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.EXEC):
            return
        seen = await out(engine, "one", "env", env={"PASSWORD": "a b\n$c'\"", "other": ""})
        assert "PASSWORD=a b\n$c'\"" in seen
        assert "other=" in seen.splitlines()
        assert "AGENT_SECRET" not in seen

    async def test_exec_is_bounded(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.EXEC):
            return
        much = ["sh", "-c", "head -c 3000000 /dev/zero; echo end"]
        result = await engine.exec("one", OWNER, much, time_limit=30, output_limit=1000)
        assert result.truncated
        assert len(result.stdout) == 1000
        assert result.stdout.endswith(b"end\n"), "the tail says how it went"

    async def test_exec_in_time(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.EXEC):
            return
        with pytest.raises(ExecTimeoutError):
            await engine.exec("one", OWNER, ["sleep", "4711"], time_limit=0.3)

    async def test_only_a_running_guest_can_be_entered(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        if await self.can(engine, Capability.EXEC):
            with pytest.raises(GuestNotRunningError):
                await engine.exec("one", OWNER, ["true"], time_limit=5)
        if await self.can(engine, Capability.CONSOLE):
            with pytest.raises(GuestNotRunningError):
                await engine.console("one", OWNER)

    async def test_console(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.CONSOLE):
            await self.refused(engine, Capability.CONSOLE, engine.console("one", OWNER))
            return
        console = await engine.console("one", OWNER, columns=100, rows=30)
        try:
            await console.write(b"echo $((6*7))-$((6*8))\n")
            await shown(console, b"42-48")
            console.resize(120, 40)
            await console.write(b"echo $((7*7))-$((7*8))\n")
            await shown(console, b"49-56")
        finally:
            await console.close()
        await console.close()
        assert await console.read() == b""
        with pytest.raises(GuestNotRunningError):
            await console.write(b"echo\n")

    async def test_a_console_ends_with_its_shell(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.CONSOLE):
            return
        console = await engine.console("one", OWNER)
        try:
            await console.write(b"exit\n")
            while await asyncio.wait_for(console.read(), 10):
                pass
        finally:
            await console.close()

    async def test_a_console_ends_with_the_guest(self, engine: Engine, make_config: MAKE) -> None:
        await started(engine, make_config("one"))
        if not await self.can(engine, Capability.CONSOLE):
            return
        console = await engine.console("one", OWNER)
        try:
            await engine.stop("one", OWNER, grace=0)
            while await asyncio.wait_for(console.read(), 10):
                pass
        finally:
            await console.close()

    async def test_metrics(self, engine: Engine, make_config: MAKE) -> None:
        await engine.write_config(make_config("one"))
        if not await self.can(engine, Capability.METRICS):
            await self.refused(engine, Capability.METRICS, engine.metrics("one"))
            return
        with pytest.raises(GuestNotRunningError):
            await engine.metrics("one")
        await engine.start("one", OWNER)
        metrics = await engine.metrics("one")
        assert metrics.cpu_seconds is not None or metrics.cpu_share is not None
        assert metrics.memory_bytes is not None
        assert metrics.memory_bytes >= 0
        assert metrics.uptime_seconds is not None
        assert metrics.uptime_seconds >= 0
