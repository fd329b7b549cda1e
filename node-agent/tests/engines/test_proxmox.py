"""The Proxmox VE engine keeps the contract, on the simulator: containers."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from dsecos_agent.engines.model import GuestConfig, GuestKind, GuestState
from dsecos_agent.engines.protocol import Engine

from .contract import EngineContract
from .contract_adoption import AdoptionContract
from .contract_hooks import OWNER, started, state_of
from .proxmox import world
from .proxmox.world import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with world.lab(tmp_path, nodes=("pve1", "pve2")) as made:
        made.add_machine_template()
        made.world.run_in_guest = run
        yield made


@pytest.fixture
def same_engine(lab: Lab) -> Callable[[], Engine]:
    return lab.engine


@pytest.fixture
async def engine(lab: Lab) -> AsyncIterator[Engine]:
    engine = lab.engine()
    await engine.ensure_ready()
    yield engine
    for guest in await engine.list_guests():
        await engine.destroy(guest.name, guest.owner_uid or "")
    await engine.close()


THEIRS = 105
"""An id outside of our range."""
MARKS = {
    GuestKind.CONTAINER: ("arch", {"before": "amd64", "after": "arm64"}),
    GuestKind.VM: ("ostype", {"before": "l26", "after": "l24"}),
}


def run(_: object, command: list[str], given: str) -> tuple[int, str, str]:
    """What a guest agent does, on this host."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


class ProxmoxContract(EngineContract, AdoptionContract):
    """What both kinds of guest share."""

    @pytest.fixture
    def make_config(self) -> Callable[..., GuestConfig]:
        return lambda name, **changes: world.config(name, kind=self.kind, **changes)

    @pytest.fixture(autouse=True)
    def known(self, lab: Lab) -> None:
        self.lab = lab

    async def vmid(self, engine: Engine, name: str) -> int:
        guest = await engine.get(name)
        assert guest is not None
        return int(guest.engine_id)

    async def halt(self, engine: Engine, name: str) -> None:
        self.lab.world.set_status(await self.vmid(engine, name), "stopped")

    async def change(self, engine: Engine, name: str) -> None:
        self.lab.world.change_config(await self.vmid(engine, name), memory="1024")

    def stubborn(self, config: GuestConfig) -> GuestConfig:
        self.lab.world.deaf.update(world.VMIDS)
        return config

    def other_node(self) -> str:
        return "pve2"

    async def make_foreign(self, engine: Engine, *, running: bool) -> str:
        self.lab.add_foreign(THEIRS, self.kind, running=running)
        return f"{THEIRS}"

    async def foreign_config(self, engine: Engine, engine_id: str) -> str:
        guest = self.lab.world.guest(int(engine_id))
        assert guest is not None
        kept = {key: text for key, text in guest.config.items() if key not in {"cpulimit", "memory"}}
        return json.dumps({**kept, "description": kept["description"].strip()}, sort_keys=True)

    async def foreign_life(self, engine: Engine, engine_id: str) -> object:
        guest = self.lab.world.guest(int(engine_id))
        assert guest is not None
        return guest.status, guest.started_at, guest.pid, guest.paused

    async def change_adopted(self, engine: Engine, engine_id: str) -> None:
        self.lab.world.change_config(int(engine_id), memory="1536")

    async def write_mark(self, engine: Engine, name: str, text: str) -> None:
        # Of an administrator's options, which a snapshot keeps with the disks.
        key, values = MARKS[self.kind]
        self.lab.world.change_config(await self.vmid(engine, name), **{key: values[text]})

    async def read_mark(self, engine: Engine, name: str) -> str:
        guest = self.lab.world.guest(await self.vmid(engine, name))
        assert guest is not None
        key, values = MARKS[self.kind]
        return next(text for text, value in values.items() if value == guest.config[key])

    async def test_stop_kills_when_the_grace_is_over(
        self, engine: Engine, make_config: Callable[..., GuestConfig]
    ) -> None:
        # The simulator's time runs faster than ours, so what tells is what was asked, in which order.
        await started(engine, self.stubborn(make_config("one")))
        await engine.stop("one", OWNER, grace=1)
        assert [task.type[2:] for task in self.lab.simulator.issued()][-2:] == ["shutdown", "stop"]
        assert await state_of(engine, "one") is GuestState.STOPPED


class TestContainers(ProxmoxContract):
    kind = GuestKind.CONTAINER


class TestMachines(ProxmoxContract):
    kind = GuestKind.VM
