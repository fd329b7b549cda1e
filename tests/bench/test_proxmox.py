"""Twenty containers created and started on Proxmox VE, against a plain script that does the same unchecked.

The cluster is the simulator, whose tasks take a part of the time that they took on a real node; so do the
pauses of both. Both have eight at a time; the script looks at a task twice a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.engines.model import GuestConfig, Limits, NetworkInterface, RootImage
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.storage.protocol import Archive
from dsecos_api import proxmox
from dsecos_proxmox_simulator import Simulator, World
from proxmoxer import ProxmoxAPI

from tests.bench import plain_proxmox

COUNT, AT_A_TIME, ROUNDS = 20, 8, 3
PACE = 0.4
"""Of a real node's durations, and of pauses."""
LOOKS = 0.5 * PACE
"""Seconds between two looks of the script at a task."""
TIME_GOAL, CALLS_GOAL = 1.1, 1.5
OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STORAGE = "local-lvm"


class Quick(Clock):
    """Runs as fast as the simulator's time."""

    def elapsed(self) -> float:
        return super().elapsed() / PACE

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds * PACE)


@pytest.fixture
def pve() -> Iterator[Simulator]:
    with Simulator(World(pace=PACE)) as simulator:
        yield simulator


@pytest.fixture
def settings(pve: Simulator) -> ProxmoxSettings:
    """A token with what the documentation says that it needs."""
    granted: dict[str, set[str]] = {}
    scope = proxmox.Scope("pve1", STORAGE, "local")
    for privilege in proxmox.wanted(8):
        granted.setdefault(scope.path(privilege.place), set()).add(privilege.name)
    secret = pve.add_token("dsecos@pve", "agent", granted)
    return ProxmoxSettings(
        url=pve.url,
        node="pve1",
        token=f"dsecos@pve!agent={secret}",
        fingerprint=pve.fingerprint,
        storage=STORAGE,
        connections=AT_A_TIME,
        # By default fewer: the simulator's disks know no contention, a real node's do.
        node_tasks=AT_A_TIME,
        storage_tasks=AT_A_TIME,
    )


def archive(folder: Path) -> Archive:
    """A template's archive; its content does not matter here."""
    path = folder / "rootfs.tar.zst"
    path.write_bytes(b"not much of a root file system")
    return Archive(path, hashlib.sha256(path.read_bytes()).hexdigest())


def config(number: int) -> GuestConfig:
    """What the script makes, as a guest."""
    port = NetworkInterface(
        host_name="unused",
        bridge="vmbr0",
        mac=f"02:00:00:00:01:{number:02x}",
        address=IPv4Interface(f"10.250.0.{number + 2}/16"),
        gateway=None,
    )
    return GuestConfig(
        name=f"bench-{number}",
        owner_uid=OWNER,
        root=RootImage("debian", 1 << 30),
        id_map=None,
        interfaces=(port,),
        limits=Limits(cpu_millis=500, memory_bytes=128 << 20),
    )


async def ours(settings: ProxmoxSettings, folder: Path, round_: int, count: int = COUNT) -> tuple[float, int]:
    """Seconds and calls of a new agent's engine; the template is on the storage, as for the script."""
    template = archive(folder)
    engine = ProxmoxEngine(
        settings, state=folder / f"state-{round_}", images=lambda image: template, clock=Quick()
    )
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(guest: GuestConfig) -> None:
        async with slots:
            await engine.write_config(guest)
            await engine.start(guest.name, OWNER)

    await engine.ensure_ready()
    before, begun = sum(engine.client.calls.values()), time.monotonic()
    await asyncio.gather(*(one(config(number)) for number in range(count)))
    seconds, calls = time.monotonic() - begun, sum(engine.client.calls.values()) - before
    print(f"  by call: {dict(engine.client.calls)}")
    await asyncio.gather(*(engine.destroy(config(number).name, OWNER) for number in range(count)))
    await engine.close()
    return seconds, calls


def theirs(pve: Simulator, api: Any, template: str) -> tuple[float, int]:
    """Seconds and calls of the script."""
    vmids = range(30000, 30000 + COUNT)
    before, begun = len(pve.calls), time.monotonic()
    plain_proxmox.make(api, "pve1", vmids, template, STORAGE, every=LOOKS)
    seconds, calls = time.monotonic() - begun, len(pve.calls) - before
    running = [vmid for vmid in vmids if (guest := pve.world.guest(vmid)) and guest.status == "running"]
    assert len(running) == COUNT
    for vmid in vmids:
        pve.world.destroy_guest(vmid)
    return seconds, calls


@pytest.mark.timeout(600)
def test_twenty_containers_cost_little_more_than_without_checks(
    pve: Simulator, settings: ProxmoxSettings, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(pve.ca_pem)
    api = ProxmoxAPI(pve.host, user="root@pam", password="secret", verify_ssl=str(authority), timeout=30)
    rounds = []
    asyncio.run(ours(settings, tmp_path, 0, count=1))
    template = next(volume.volid for volume in pve.world.volumes() if "dsecos-debian" in volume.volid)
    for number in range(1, ROUNDS + 1):
        mine, script = asyncio.run(ours(settings, tmp_path, number)), theirs(pve, api, template)
        print(
            f"engine {mine[0]:.2f} s, {mine[1]} calls; script {script[0]:.2f} s, {script[1]} calls; "
            f"ratios {mine[0] / script[0]:.2f}, {mine[1] / script[1]:.2f}"
        )
        rounds.append((mine, script))
    seconds = [statistics.median(each[who][0] for each in rounds) for who in (0, 1)]
    calls = [statistics.median(each[who][1] for each in rounds) for who in (0, 1)]
    told = {"seconds": seconds, "calls": calls, "goals": [TIME_GOAL, CALLS_GOAL]}
    ratios = seconds[0] / seconds[1], calls[0] / calls[1]
    print(json.dumps({**told, "ratios": ratios}))
    assert ratios[0] <= TIME_GOAL
    assert ratios[1] <= CALLS_GOAL
