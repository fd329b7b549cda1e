"""Client and tasks on a simulated cluster, for tests of what needs no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.gates import Gates
from dsecos_agent.engines.proxmox.journal import Journal
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.tasks import Tasks
from dsecos_api import proxmox
from dsecos_api.proxmox import Scope
from dsecos_proxmox_simulator import Simulator

TOKEN = "dsecos@pve!content"


class QuickClock(Clock):
    """Waits a tenth of what it is asked for: the simulator's tasks are quicker than that."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


@dataclass(frozen=True)
class Parts:
    """What the parts of an engine are made of."""

    simulator: Simulator
    settings: ProxmoxSettings
    client: Client
    tasks: Tasks
    gates: Gates


def rights(version: str, beside: Iterable[tuple[str, str]] = ()) -> dict[str, list[str]]:
    """Exactly the privileges that the documentation names, by path, and some more."""
    scope = Scope("pve1", "local-lvm", "local")
    found: dict[str, list[str]] = {}
    for privilege in proxmox.wanted(int(version[0]), later=True):
        found.setdefault(scope.path(privilege.place), []).append(privilege.name)
    for path, name in beside:
        found.setdefault(path, []).append(name)
    return found


@asynccontextmanager
async def parts(simulator: Simulator, home: Path, **changes: Any) -> AsyncIterator[Parts]:
    """Closed with the block."""
    # What the documentation names beside the list: a storage for backups, and removing old archives.
    beside = [("/storage/btr", "Datastore.AllocateSpace"), ("/storage/btr", "Datastore.Audit")]
    beside += [("/storage/local", "Datastore.Allocate")]
    secret = simulator.add_token("dsecos@pve", "content", rights(simulator.version, beside))
    settings = ProxmoxSettings(
        url=simulator.url,
        node="pve1",
        token=f"{TOKEN}={secret}",
        fingerprint=simulator.fingerprint,
        settle_limit=0.3,
        lock_limit=5.0,
    )
    settings = replace(settings, **changes)
    clock = QuickClock()
    client = Client(settings, sleep=clock.sleep, point=lambda _: None)
    gates = Gates(settings)
    journal = Journal(home / "journal", lambda _: None)
    try:
        yield Parts(simulator, settings, client, Tasks(client, journal, settings, gates, clock), gates)
    finally:
        await client.close()
