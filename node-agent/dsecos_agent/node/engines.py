"""Which engine this node has, from its Node's spec; kept in mind for a start without the API server.

    state/engine.json      the Node's spec.engine as it last was; holds no secret

An engine that cannot be used (no token yet, refused, out of reach, another certificate) is a problem that the
Node and its Guests tell; everything else goes on, and it is tried again.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from dsecos_api.conditions import Reason, Type
from dsecos_api.node import Engine as EngineSpec
from dsecos_api.node import EngineType
from dsecos_runtime import ClusterError, get_logger
from pydantic import ValidationError

from dsecos_agent.adapter_errors import AdapterError, RetryableError
from dsecos_agent.engines.errors import EngineUnreachableError
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.bringup import SecretMissingError
from dsecos_agent.guests.desired import Block
from dsecos_agent.guests.failures import reason_of
from dsecos_agent.node.inventory import Inventory
from dsecos_agent.processes.files import write_atomically

Build = Callable[[EngineSpec, str], Engine]
"""Makes the engine that a spec asks for; the text is its token, empty where it needs none."""

Secrets = Callable[[str], Awaitable[Mapping[str, str]]]
"""The values of a Secret in the node's namespace. Raises SecretMissingError, ClusterError."""


class EngineNotConfiguredError(RetryableError):
    """The node's engine is not known, or what it needs is not there."""


class EngineSlot:
    """Stands for the node's engine, also while there is none: then each call raises
    EngineNotConfiguredError.
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None

    @property
    def filled(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    def as_engine(self) -> Engine:
        """For those who use it."""
        return cast("Engine", self)

    async def put(self, engine: Engine) -> None:
        """From now on it is this one."""
        before, self._engine = self._engine, engine
        if before is not None:
            await before.close()

    async def close(self) -> None:
        """Close the one that is there."""
        if self._engine is not None:
            await self._engine.close()

    def __getattr__(self, name: str) -> Any:
        """What the engine offers."""
        return _refuse if self._engine is None else getattr(self._engine, name)


def _refuse(*_: object, **__: object) -> None:
    raise EngineNotConfiguredError("the node's engine is not set up yet")


class Engines:
    """Fills the slot."""

    def __init__(
        self, slot: EngineSlot, inventory: Inventory, build: Build, secrets: Secrets, memory: Path
    ) -> None:
        """Nothing is touched before `recall` or `settle`."""
        self._slot = slot
        self._inventory = inventory
        self._build = build
        self._secrets = secrets
        self._memory = memory
        self._made: tuple[EngineSpec, str] | None = None

    async def recall(self) -> bool:
        """Set up the engine that was there last if that needs no API server; whether any is known.

        Raises AdapterError: this host cannot run it.
        """
        spec = self._remembered()
        if spec is None:
            return False
        if spec.type is EngineType.LXC:
            await self._fill(spec, "")
        return True

    async def assume(self) -> None:
        """Nothing is known, and nobody answers: LXC is what the system ships. Raises AdapterError."""
        if not self._slot.filled and self._remembered() is None:
            get_logger().warning("the node's engine is not known: taken to be lxc")
            await self._fill(EngineSpec(type=EngineType.LXC), "", remember=False)
            await self._inventory.open()

    async def settle(self, spec: EngineSpec) -> bool:
        """Have the engine that is asked for, and know what it can do; True when there is news for guests."""
        before = (self._inventory.engine_problem, self._inventory.capabilities, self._made)
        try:
            await self._fill(spec, await self._token(spec))
            problem = None
        except SecretMissingError as error:
            problem = Block(Type.GUEST_READY, Reason.ENGINE_NOT_CONFIGURED, str(error))
        except ClusterError:
            return False  # it is asked again when the API server answers
        except AdapterError as error:
            reason, stalled = reason_of(error)
            problem = Block(Type.GUEST_READY, reason, str(error) or repr(error), stalled=stalled)
            get_logger().warning("engine not ready", reason=str(reason), error=str(error))
        self._inventory.engine_problem = problem
        return before != (problem, self._inventory.capabilities, self._made)

    async def _token(self, spec: EngineSpec) -> str:
        if spec.proxmox is None:
            return ""
        ref = spec.proxmox.token_secret_ref
        values = await self._secrets(ref.name)
        if not values.get(ref.key, "").strip():
            raise SecretMissingError(f"Secret {ref.name} has no key {ref.key} with the engine's API token")
        return values[ref.key].strip()

    async def _fill(self, spec: EngineSpec, token: str, *, remember: bool = True) -> None:
        if self._made == (spec, token):
            self._remember(spec)
            await self._learn(self._slot.as_engine())
            return
        engine = self._build(spec, token)
        try:
            await self._learn(engine)
        except BaseException:
            await engine.close()
            raise
        await self._slot.put(engine)
        self._made = (spec, token)
        self._inventory.engine_node = None if spec.proxmox is None else spec.proxmox.node
        self._inventory.engine_problem = None
        if remember:
            self._remember(spec)

    async def _learn(self, engine: Engine) -> None:
        """What it can do; an engine that does not answer can still do what it could."""
        await engine.ensure_ready()
        found = await engine.capabilities()
        if not found.kinds:
            raise EngineUnreachableError("; ".join(sorted(set(found.missing.values()))) or found.engine)
        self._inventory.capabilities = found

    def _remember(self, spec: EngineSpec) -> None:
        if spec != self._remembered():
            self._memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._memory, spec.model_dump_json(by_alias=True, exclude_none=True))

    def _remembered(self) -> EngineSpec | None:
        try:
            return EngineSpec.model_validate_json(self._memory.read_bytes())
        except (OSError, ValidationError):
            return None
