"""Ids: ours alone, from our range; and no id leads to somebody else's guest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotFoundError, NotOursError
from dsecos_agent.engines.errors import GuestLockedError, IdsExhaustedError
from dsecos_agent.engines.model import GuestKind, GuestState
from dsecos_agent.engines.proxmox.claims import choose
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.journal import Claim, Entry, Intent, Journal
from dsecos_proxmox_simulator import IdTaken, World
from hypothesis import given
from hypothesis import strategies as st

from .world import OWNER, STRANGER, VMIDS, Lab, config, lab

VMID = st.integers(100, 130)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as cluster:
        yield cluster


async def vmid_of(engine: ProxmoxEngine, name: str) -> int:
    guest = await engine.get(name)
    assert guest is not None
    return int(guest.engine_id)


def statuses(world: World) -> dict[int, str]:
    return {vmid: guest.status for vmid, guest in world.guests.items()}


def copy(made: Lab, vmid: int) -> None:
    """Somebody clones a guest of ours, marks and all."""
    made.world.add_guest(500, status="running")
    made.world.guests[500].config.update(made.world.guests[vmid].config)


# Choosing


@given(first=VMID, size=st.integers(0, 30), node=st.text(max_size=8), taken=st.sets(VMID))
def test_the_chosen_id_is_free_and_ours_and_none_is_missed(
    first: int, size: int, node: str, taken: set[int]
) -> None:
    vmids = range(first, first + size)
    if set(vmids) <= taken:
        with pytest.raises(IdsExhaustedError, match=f"{first} to {first + size - 1}"):
            choose(vmids, node, taken)
    else:
        chosen = choose(vmids, node, taken)
        assert chosen in vmids
        assert chosen not in taken
        assert choose(vmids, node, taken) == chosen


def test_agents_of_one_cluster_begin_at_different_places() -> None:
    assert len({choose(range(20000, 30000), f"node-{n}", ()) for n in range(20)}) > 15


# Claiming


async def test_an_id_that_somebody_takes_before_us_is_left_to_him(made: Lab, engine: ProxmoxEngine) -> None:
    made.simulator.faults.once("POST", "/nodes/{node}/lxc", IdTaken(), times=3)
    await engine.write_config(config("one"))
    foreign = [vmid for vmid, guest in made.world.guests.items() if guest.config.get("hostname") == "foreign"]
    assert len(foreign) == 3
    assert await vmid_of(engine, "one") not in foreign


async def test_guests_made_at_the_same_time_get_ids_of_their_own(made: Lab) -> None:
    engines = [made.engine(state=f"agent-{n}") for n in range(3)]
    names = [f"guest-{n}" for n in range(12)]
    await asyncio.gather(*(engines[n % 3].write_config(config(name)) for n, name in enumerate(names)))
    listed = await engines[0].list_guests()
    assert sorted(guest.name for guest in listed) == sorted(names)
    assert len({guest.engine_id for guest in listed}) == len(names)
    assert all(int(guest.engine_id) in VMIDS for guest in listed)
    for engine in engines:
        await engine.close()


async def test_a_range_that_is_used_up_is_named(made: Lab) -> None:
    engine = made.engine(vmids=range(20000, 20002))
    for vmid in range(20000, 20002):
        made.world.take_vmid(vmid)
    with pytest.raises(IdsExhaustedError, match="20000 to 20001"):
        await engine.write_config(config("one"))
    await engine.close()


# Whose it is


async def test_a_guest_under_an_id_that_we_claimed_and_somebody_else_took_is_his(
    made: Lab, engine: ProxmoxEngine
) -> None:
    Journal(made.home / "state/guests").write("one", Entry(Claim(20007, OWNER, GuestKind.CONTAINER, "pve1")))
    made.world.take_vmid(20007)
    await engine.destroy("one", OWNER)
    await engine.write_config(config("one"))
    assert await vmid_of(engine, "one") != 20007
    assert made.world.guests[20007].config["hostname"] == "foreign"


async def test_a_hostname_means_nothing(made: Lab, engine: ProxmoxEngine) -> None:
    made.world.add_guest(20050, hostname="one", status="running")
    assert await engine.get("one") is None
    with pytest.raises(NotFoundError):
        await engine.start("one", OWNER)
    await engine.stop("one", OWNER, grace=0)
    await engine.destroy("one", OWNER)
    assert statuses(made.world) == {20050: "running"}
    assert [(guest.name, guest.owner_uid) for guest in await engine.list_guests()] == [("20050/one", None)]


async def test_an_id_that_was_given_to_somebody_else_never_leads_to_his_guest(
    made: Lab, engine: ProxmoxEngine
) -> None:
    await engine.write_config(config("one"))
    vmid = await vmid_of(engine, "one")
    made.world.destroy_guest(vmid)
    made.world.add_guest(vmid, hostname="theirs", status="running", tags="prod")
    await engine.stop("one", OWNER, grace=0)
    await engine.destroy("one", OWNER)
    assert statuses(made.world) == {vmid: "running"}


@pytest.mark.parametrize("damage", [{"description": None}, {"description": "dsecos.io/guest: one"}])
async def test_marks_that_disagree_make_it_nobodys(
    made: Lab, engine: ProxmoxEngine, damage: dict[str, str | None]
) -> None:
    await engine.write_config(config("one"))
    vmid = await vmid_of(engine, "one")
    made.world.change_config(vmid, **damage)
    for call in (
        engine.start("one", OWNER),
        engine.destroy("one", OWNER),
        engine.write_config(config("one")),
    ):
        with pytest.raises(NotOursError):
            await call
    assert statuses(made.world) == {vmid: "stopped"}


async def test_a_copy_of_a_guest_is_not_the_guest(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    vmid = await vmid_of(engine, "one")
    copy(made, vmid)
    assert await vmid_of(engine, "one") == vmid
    assert [guest.name.partition("/")[0] for guest in await engine.list_guests()] == ["500", "one"]
    await engine.destroy("one", OWNER)
    assert 500 in made.world.guests
    assert made.world.guests[500].status == "running"


async def test_without_a_note_two_of_the_same_marks_are_left_alone(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    vmid = await vmid_of(engine, "one")
    copy(made, vmid)
    other = made.engine(state="lost")
    with pytest.raises(AdapterError, match=f"500, {vmid}|{vmid}, 500"):
        await other.destroy("one", OWNER)
    await other.close()
    assert set(made.world.guests) == {500, vmid}


async def test_a_strangers_guest_of_the_same_name_is_not_ours(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one", owner_uid=STRANGER))
    with pytest.raises(NotOursError) as refused:
        await engine.write_config(config("one"))
    assert refused.value.found == STRANGER


# What a dead creation leaves


def dead_creation(made: Lab, upid: str) -> None:
    intent = Intent("create", "pve1", 20007, 0.0, upid=upid)
    note = Entry(Claim(20007, OWNER, GuestKind.CONTAINER, "pve1")).begun(intent).over()
    Journal(made.home / "state/guests").write("one", note)
    made.world.add_guest(20007, lock="create")


OURS = "UPID:pve1:00000001:00000001:6B02122D:vzcreate:20007:dsecos@pve!agent:"


async def test_a_guest_does_not_wait_for_the_id_that_its_dead_creation_left_locked(
    made: Lab, engine: ProxmoxEngine
) -> None:
    dead_creation(made, OURS)
    seen = await engine.get("one")
    assert seen is not None
    assert seen.state is GuestState.CREATING
    await engine.write_config(config("one"))
    assert await vmid_of(engine, "one") != 20007


async def test_what_a_dead_creation_of_ours_left_goes_with_the_guest_once_root_has_unlocked_it(
    made: Lab,
) -> None:
    engine = made.engine(lock_limit=0.1)
    dead_creation(made, OURS)
    with pytest.raises(GuestLockedError, match="pct unlock 20007"):
        await engine.destroy("one", OWNER)
    made.world.set_lock(20007, "")
    await engine.destroy("one", OWNER)
    assert made.world.guests == {}
    await engine.close()


async def test_somebody_elses_creation_under_that_id_is_left_alone(made: Lab, engine: ProxmoxEngine) -> None:
    dead_creation(made, "UPID:pve1:00000001:00000001:6B02122D:vzstop:20007:dsecos@pve!agent:")
    await engine.destroy("one", OWNER)
    await engine.write_config(config("one"))
    assert await vmid_of(engine, "one") != 20007
    assert made.world.guests[20007].config == {"lock": "create"}
