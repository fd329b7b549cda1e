"""What a subclass of the contract gives, and what the contract's parts share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.model import Capability, GuestConfig, GuestKind, GuestState, Limits
from dsecos_agent.engines.protocol import Engine

from tests.patience import Deadline

MAKE = Callable[..., GuestConfig]
OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-000000000002"
MIB = 1 << 20
GIB = 1 << 30


class Hooks:
    """What the contract cannot do through the protocol. See `contract`."""

    kind = GuestKind.CONTAINER

    async def halt(self, engine: Engine, name: str) -> None:
        """End the guest's present life behind the engine's back, as a crash of its init would."""
        raise NotImplementedError

    async def change(self, engine: Engine, name: str) -> None:
        """Change one of its settings behind the engine's back."""
        raise NotImplementedError

    def stubborn(self, config: GuestConfig) -> GuestConfig:
        """The same guest, but one that does not heed a request to shut down."""
        raise NotImplementedError

    def other_node(self) -> str:
        """For engines with Migrate: a node that a new guest is not on."""
        raise NotImplementedError

    async def make_foreign(self, engine: Engine, *, running: bool) -> str:
        """For engines with Adopt: make a guest as an administrator does, without the engine; its id there.

        It is gone again when the test is over, adopted or not.
        """
        raise NotImplementedError

    async def foreign_config(self, engine: Engine, engine_id: str) -> str:
        """Its configuration as the engine's own tools show it, without what a release leaves as we have set
        it: limits and start order, where it does.
        """
        raise NotImplementedError

    async def foreign_life(self, engine: Engine, engine_id: str) -> object:
        """Whether it runs and since when: the same as long as it was not interrupted."""
        raise NotImplementedError

    async def change_adopted(self, engine: Engine, engine_id: str) -> None:
        """Change one of the limits of an adopted guest behind the engine's back."""
        raise NotImplementedError

    async def write_mark(self, engine: Engine, name: str, text: str) -> None:
        """Write to the disk of a running guest."""
        command = ["sh", "-c", "cat > /mark"]
        written = await engine.exec(name, OWNER, command, stdin=text.encode(), time_limit=10)
        assert written.exit_code == 0, written

    async def read_mark(self, engine: Engine, name: str) -> str:
        """Read back what `write_mark` wrote, from a running guest."""
        return await out(engine, name, "cat", "/mark")

    async def can(self, engine: Engine, capability: Capability) -> bool:
        """Whether guests of this kind have it."""
        return (await engine.capabilities()).has(self.kind, capability)

    async def refused(self, engine: Engine, capability: Capability, *calls: Awaitable[object]) -> None:
        """What is not there is said beforehand, said when it is tried, and changes nothing."""
        why = (await engine.capabilities()).why_not(self.kind, capability)
        assert capability in why
        before = await engine.list_guests()
        for call in calls:
            with pytest.raises(UnsupportedError):
                await call
        assert await engine.list_guests() == before


@dataclass(frozen=True)
class Mutation:
    """One call of the protocol that changes a guest."""

    name: str
    capability: Capability | None
    call: Callable[[Engine, str], Awaitable[object]]
    """With the engine and the owner's UID, on guest `one`."""


MUTATIONS = (
    Mutation("start", None, lambda engine, owner: engine.start("one", owner)),
    Mutation("shutdown", Capability.SHUTDOWN, lambda engine, owner: engine.shutdown("one", owner, grace=1)),
    Mutation("stop", None, lambda engine, owner: engine.stop("one", owner, grace=0)),
    Mutation("suspend", Capability.SUSPEND, lambda engine, owner: engine.suspend("one", owner)),
    Mutation("resume", Capability.SUSPEND, lambda engine, owner: engine.resume("one", owner)),
    Mutation("destroy", None, lambda engine, owner: engine.destroy("one", owner)),
    Mutation("migrate", Capability.MIGRATE, lambda engine, owner: engine.migrate("one", owner, "elsewhere")),
    Mutation(
        "exec", Capability.EXEC, lambda engine, owner: engine.exec("one", owner, ["true"], time_limit=5)
    ),
    Mutation("console", Capability.CONSOLE, lambda engine, owner: engine.console("one", owner)),
    Mutation(
        "set_limits",
        Capability.LIVE_LIMITS,
        lambda engine, owner: engine.set_limits("one", owner, Limits(memory_bytes=GIB)),
    ),
    Mutation(
        "resize_disk",
        Capability.RESIZE_DISK,
        lambda engine, owner: engine.resize_disk("one", owner, 64 * GIB),
    ),
    Mutation("snapshot", Capability.SNAPSHOT, lambda engine, owner: engine.snapshot("one", owner, "s1")),
    Mutation("rollback", Capability.SNAPSHOT, lambda engine, owner: engine.rollback("one", owner, "s1")),
    Mutation(
        "remove_snapshot",
        Capability.SNAPSHOT,
        lambda engine, owner: engine.remove_snapshot("one", owner, "s1"),
    ),
    Mutation("release", Capability.ADOPT, lambda engine, owner: engine.release("one", owner)),
)
"""All of them but `write_config`."""


async def until_state(engine: Engine, name: str, wanted: GuestState, limit: float = 10) -> None:
    """Look again until the guest is in this state."""
    deadline = Deadline(limit)
    while (guest := await engine.get(name)) is None or guest.state is not wanted:
        assert not deadline.passed(), guest
        await asyncio.sleep(0.01)


async def started(engine: Engine, config: GuestConfig) -> GuestConfig:
    """A guest that runs with this configuration."""
    await engine.write_config(config)
    await engine.start(config.name, OWNER)
    return config


async def state_of(engine: Engine, name: str) -> GuestState:
    """Of a guest that is there."""
    guest = await engine.get(name)
    assert guest is not None
    return guest.state


async def out(engine: Engine, name: str, *argv: str, **options: object) -> str:
    """What a command in the guest prints, which has to go well."""
    result = await engine.exec(name, OWNER, argv, time_limit=10, **options)  # type: ignore[arg-type]
    assert result.exit_code == 0, result
    return result.stdout.decode().strip()
