"""Where guests are: one look at the cluster for all who ask at once, never older than the question."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import NotOursError, UnsupportedError
from dsecos_agent.engines.model import Capability, GuestKind, GuestState
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.gates import Gates
from dsecos_agent.engines.proxmox.places import Places, read_listing
from dsecos_proxmox_simulator import Simulator, World

from tests.patience import heard

from .world import OWNER, STRANGER, Lab, config

RESOURCES = ("GET", "/cluster/resources")


async def test_many_who_ask_at_once_share_a_look(made: Lab) -> None:
    client = Client(made.settings(), point=lambda _: None)
    places = Places(client)
    listings = await asyncio.gather(*(places.listing() for _ in range(20)))
    assert all(listing is listings[0] for listing in listings)
    assert client.calls[RESOURCES] == 1
    await client.close()


async def test_who_asks_while_a_look_is_under_way_gets_the_next_one(made: Lab) -> None:
    under_way = asyncio.Event()
    client = Client(made.settings(), point=lambda _: under_way.set())
    places = Places(client)
    first = asyncio.ensure_future(places.listing())
    await under_way.wait()
    made.world.add_guest(100, hostname="later")
    later = await asyncio.gather(*(places.listing() for _ in range(5)))
    assert all(100 in listing.places for listing in later)
    assert client.calls[RESOURCES] == 2
    await first
    await client.close()


def test_a_node_that_the_cluster_has_lost_is_away_and_a_template_is_no_guest() -> None:
    tags = f"dsecos;dsecos-guest-one;dsecos-uid-{OWNER}"
    listing = read_listing(
        [
            {"type": "node", "node": "pve1", "status": "online"},
            {"type": "node", "node": "pve2", "status": "offline"},
            {"type": "storage", "node": "pve1", "storage": "local"},
            {"type": "lxc", "node": "pve1", "vmid": 100, "template": 1, "tags": tags},
            {"type": "qemu", "node": "pve2", "vmid": 101, "status": "unknown", "tags": tags.upper().lower()},
        ]
    )
    assert listing.away == {"pve2"}
    found = listing.find("one", OWNER, None)
    assert found is not None
    assert (found.vmid, found.kind, found.path) == (101, GuestKind.VM, "/nodes/pve2/qemu/101")
    assert listing.find("two", OWNER, None) is None
    with pytest.raises(NotOursError):
        listing.find("one", STRANGER, None)


async def test_only_so_much_at_a_time(made: Lab) -> None:
    gates = Gates(made.settings(node_tasks=2, storage_tasks=3))
    inside = most = 0

    async def work(gate: object) -> None:
        nonlocal inside, most
        async with gate:  # type: ignore[attr-defined]  # whichever gate it is
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    for limit, gate in ((2, gates.node), (3, gates.storage), (1, gates.template)):
        most = 0
        await asyncio.gather(*(work(gate("x")) for _ in range(10)))
        assert most == limit


async def test_one_look_serves_all_who_watch_and_nobody_looks_when_nobody_watches(
    made: Lab, engine: ProxmoxEngine
) -> None:
    names = [f"guest-{number}" for number in range(5)]
    for name in names:
        await engine.write_config(config(name))
        await engine.start(name, OWNER)
    told: asyncio.Queue[str] = asyncio.Queue()
    for name in names:
        engine.watch(name, told.put_nowait)
    ended = await engine.get("guest-3")
    assert ended is not None
    made.world.set_status(int(ended.engine_id), "stopped")
    before = engine.client.calls[RESOURCES]
    assert await heard(told) == "guest-3"
    assert engine.client.calls[RESOURCES] - before <= 5
    assert told.empty()


async def test_one_that_is_moved_while_it_runs_is_told_once(made: Lab, engine: ProxmoxEngine) -> None:
    for name in ("one", "two"):
        await engine.write_config(config(name))
        await engine.start(name, OWNER)
    told: asyncio.Queue[str] = asyncio.Queue()
    for name in ("one", "two"):
        engine.watch(name, told.put_nowait)
    found, other = await engine.get("one"), await engine.get("two")
    assert found is not None
    assert other is not None
    made.world.set_status(int(other.engine_id), "stopped")
    assert await heard(told) == "two", "so the other was seen where it was"
    made.world.move_guest(int(found.engine_id), "pve2")
    assert await heard(told) == "one"
    engine.watch("one", told.put_nowait)
    made.world.set_status(int(found.engine_id), "stopped")
    assert await heard(told) == "one"
    assert told.empty()


async def test_what_cannot_be_had_is_said_with_its_reason(engine: ProxmoxEngine) -> None:
    found = await engine.capabilities()
    assert found.engine.startswith("proxmox 8.4")
    assert found.has(GuestKind.CONTAINER, Capability.MIGRATE)
    assert found.has(GuestKind.VM, Capability.LIVE_MIGRATE)
    assert "CRIU" in found.why_not(GuestKind.CONTAINER, Capability.SUSPEND)
    assert "node" in found.why_not(GuestKind.CONTAINER, Capability.EXEC)


async def test_an_engine_that_nobody_answers_has_no_capability_and_says_why(made: Lab) -> None:
    engine = made.engine(url="https://127.0.0.1:1")
    found = await engine.capabilities()
    assert found.kinds == {}
    await engine.close()


@pytest.mark.parametrize("version", ["8.4", "9.1"])
async def test_ha_moves_a_guest_in_both_versions(tmp_path: Path, version: str) -> None:
    with Simulator(World(nodes=("pve1", "pve2")), version=version) as simulator:
        made = Lab(simulator, tmp_path)
        made.add_machine_template()
        engine = made.engine()
        for kind, sid in ((GuestKind.CONTAINER, "ct"), (GuestKind.VM, "vm")):
            name = f"guest-{sid}"
            await engine.write_config(config(name, kind=kind))
            started = await engine.start(name, OWNER)
            await engine.client.post("/cluster/ha/resources", sid=f"{sid}:{started.engine_id}")
            await engine.migrate(name, OWNER, "pve2")
            moved = await engine.get(name)
            assert moved is not None
            assert (moved.engine_node, moved.state) == ("pve2", GuestState.RUNNING)
        await engine.close()


async def test_a_start_that_ha_only_takes_note_of_is_waited_for(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    stopped = await engine.get("one")
    assert stopped is not None
    await engine.client.post("/cluster/ha/resources", sid=f"ct:{stopped.engine_id}", state="stopped")
    assert (await engine.start("one", OWNER)).state is GuestState.RUNNING
    await engine.stop("one", OWNER, grace=0)
    after = await engine.get("one")
    assert after is not None
    assert after.state is GuestState.STOPPED


async def test_a_storage_without_snapshots_is_asked_first(made: Lab) -> None:
    engine = made.engine(storage="local")
    await engine.write_config(config("one"))
    with pytest.raises(UnsupportedError, match="snapshots"):
        await engine.snapshot("one", OWNER, "s1")
    for name in ("1st", "current", "x" * 41, "a b"):
        with pytest.raises(UnsupportedError, match="name"):
            await engine.snapshot("one", OWNER, name)
    assert made.simulator.issued("vzsnapshot") == []
    await engine.close()
