"""Proxmox may answer anything: the call that asked ends right, and nothing is done twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from dsecos_agent.adapter_errors import NotFoundError, OutOfSpaceError
from dsecos_agent.engines.errors import (
    BridgeMissingError,
    EngineDeniedError,
    EngineUnreachableError,
    GuestFailedError,
    GuestLockedError,
    ImageMissingError,
)
from dsecos_agent.engines.model import GuestKind, GuestState, RootImage
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.journal import Intent, Journal
from dsecos_proxmox_simulator import (
    DroppedConnection,
    FailedTask,
    GatewayError,
    HeldLock,
    LockTimeout,
    LostAnswer,
    NoWorker,
    SlowTask,
    TaskUnknown,
    WarnedTask,
)

from .world import OWNER, STORAGE, Lab, config

CREATE = ("POST", "/nodes/{node}/lxc")
MOVE = ("POST", "/nodes/{node}/lxc/{vmid}/migrate")
START = ("POST", "/nodes/{node}/lxc/{vmid}/status/start")
STOP = ("POST", "/nodes/{node}/lxc/{vmid}/status/stop")
DESTROY = ("DELETE", "/nodes/{node}/lxc/{vmid}")
CONFIGURE = ("PUT", "/nodes/{node}/lxc/{vmid}/config")
SNAPSHOT = ("POST", "/nodes/{node}/lxc/{vmid}/snapshot")
ROLLBACK = ("POST", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback")
RESIZE = ("PUT", "/nodes/{node}/lxc/{vmid}/resize")
STATUS = ("GET", "/nodes/{node}/tasks/{upid}/status")
WRITES = (CREATE, CONFIGURE, START, SNAPSHOT, ROLLBACK, RESIZE, STOP, DESTROY)


async def live(engine: ProxmoxEngine) -> None:
    """A whole life, every kind of write in it."""
    await engine.write_config(config("one"))
    await engine.write_config(config("one", hostname="other"))
    await engine.start("one", OWNER)
    await engine.snapshot("one", OWNER, "s1")
    await engine.rollback("one", OWNER, "s1")
    await engine.resize_disk("one", OWNER, 5 << 30)
    await engine.start("one", OWNER)
    assert await state(engine) is GuestState.RUNNING
    await engine.stop("one", OWNER, grace=0)
    await engine.destroy("one", OWNER)
    assert list(await engine.list_guests()) == []


LIFE = Counter(vzcreate=1, vzstart=2, vzsnapshot=1, vzstop=2, vzrollback=1, resize=1, vzdestroy=1)


async def state(engine: ProxmoxEngine) -> GuestState:
    guest = await engine.get("one")
    assert guest is not None
    return guest.state


def issued(made: Lab) -> Counter[str]:
    return Counter(task.type for task in made.simulator.issued())


@pytest.mark.parametrize("write", WRITES, ids=lambda write: f"{write[0]} {write[1].rpartition('/')[2]}")
@pytest.mark.parametrize(
    "fault",
    [LostAnswer(), DroppedConnection(), GatewayError(596), GatewayError(599, done=False), NoWorker()],
    ids=["lost", "dropped", "596-done", "599-not-done", "no-worker"],
)
async def test_when_nobody_knows_whether_it_happened_it_happens_once(
    made: Lab, engine: ProxmoxEngine, write: tuple[str, str], fault: Any
) -> None:
    made.simulator.faults.once(*write, fault)
    await live(engine)
    assert issued(made) == LIFE


@pytest.mark.parametrize("write", WRITES, ids=lambda write: f"{write[0]} {write[1].rpartition('/')[2]}")
@pytest.mark.parametrize("fault", [LockTimeout(), HeldLock(5)], ids=["file", "backup"])
async def test_somebody_elses_lock_is_waited_for(
    made: Lab, engine: ProxmoxEngine, write: tuple[str, str], fault: Any
) -> None:
    made.simulator.faults.once(*write, fault)
    await live(engine)
    assert not [call for call in made.simulator.calls if "skiplock" in call.parameters]


async def test_a_lock_that_stays_is_named(made: Lab) -> None:
    engine = made.engine(lock_limit=0.2)
    await engine.write_config(config("one"))
    guest = await engine.get("one")
    assert guest is not None
    made.world.set_lock(int(guest.engine_id), "backup")
    for call in (
        engine.start("one", OWNER),
        engine.destroy("one", OWNER),
        engine.resize_disk("one", OWNER, 9 << 30),
    ):
        with pytest.raises(GuestLockedError, match="backup") as locked:
            await call
        assert locked.value.lock == "backup"
    assert issued(made) == {"vzcreate": 1}, "no task was begun that could only fail"
    found = await engine.get("one")
    assert found is not None
    assert found.lock == "backup"
    await engine.close()


async def test_slow_tasks_warnings_and_tasks_that_nobody_knows_yet_are_no_failures(
    made: Lab, engine: ProxmoxEngine
) -> None:
    made.simulator.faults.once(*CREATE, WarnedTask(2))
    made.simulator.faults.once(*START, SlowTask(20))
    made.simulator.faults.once(*STATUS, TaskUnknown(), times=2)
    await live(engine)
    assert issued(made) == LIFE


async def test_a_start_that_fails_while_the_guest_runs_is_no_failure(
    made: Lab, engine: ProxmoxEngine
) -> None:
    made.simulator.faults.once(*START, FailedTask(done=True))
    await live(engine)
    assert issued(made) == LIFE


async def test_a_task_that_fails_says_why_and_may_be_tried_again(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    made.simulator.faults.once(*START, FailedTask("startup for container '20000' failed", done=False))
    with pytest.raises(GuestFailedError) as failed:
        await engine.start("one", OWNER)
    assert "startup for container" in failed.value.log
    await engine.start("one", OWNER)


async def test_a_node_that_is_away_is_said_and_nothing_is_done(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    await engine.start("one", OWNER)
    await engine.migrate("one", OWNER, "pve2")
    before = issued(made)
    made.world.node_down("pve2")
    assert await state(engine) is GuestState.UNKNOWN
    assert [guest.state for guest in await engine.list_guests()] == [GuestState.UNKNOWN]
    for call in (engine.stop("one", OWNER, grace=0), engine.destroy("one", OWNER)):
        with pytest.raises(EngineUnreachableError):
            await call
    made.world.node_up("pve2")
    assert await state(engine) is GuestState.STOPPED
    assert issued(made) == before


async def test_what_a_lost_node_was_doing_to_a_guest_that_has_left_it_is_over(
    made: Lab, engine: ProxmoxEngine
) -> None:
    await engine.write_config(config("one"))
    guest = await engine.get("one")
    assert guest is not None
    journal = Journal(made.home / "state/guests")
    journal.write("one", journal.read("one").begun(Intent("start", "pve1", int(guest.engine_id), 0.0)))
    made.world.node_down("pve1")
    with pytest.raises(EngineUnreachableError):
        await engine.start("one", OWNER)
    made.world.move_guest(int(guest.engine_id), "pve2")
    assert (await engine.start("one", OWNER)).engine_node == "pve2"


async def test_a_guest_that_was_moved_by_hand_is_found_where_it_is(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    guest = await engine.get("one")
    assert guest is not None
    made.world.move_guest(int(guest.engine_id), "pve2")
    assert (await engine.start("one", OWNER)).engine_node == "pve2"
    await engine.destroy("one", OWNER)
    assert list(await engine.list_guests()) == []


async def test_a_guest_that_is_gone_is_gone(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    guest = await engine.get("one")
    assert guest is not None
    made.world.destroy_guest(int(guest.engine_id))
    assert await engine.get("one") is None
    with pytest.raises(NotFoundError):
        await engine.start("one", OWNER)
    await engine.destroy("one", OWNER)
    assert await engine.write_config(config("one"))


async def test_a_guest_under_ha_is_taken_out_of_it_before_it_is_destroyed(
    made: Lab, engine: ProxmoxEngine
) -> None:
    await engine.write_config(config("one"))
    await engine.start("one", OWNER)
    guest = await engine.get("one")
    assert guest is not None
    await engine.client.post("/cluster/ha/resources", sid=f"ct:{guest.engine_id}")
    await engine.destroy("one", OWNER)
    assert made.world.ha == {}
    assert list(await engine.list_guests()) == []


async def test_a_guest_under_ha_is_moved_by_the_manager(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    await engine.start("one", OWNER)
    guest = await engine.get("one")
    assert guest is not None
    await engine.client.post("/cluster/ha/resources", sid=f"ct:{guest.engine_id}")
    await engine.migrate("one", OWNER, "pve2")
    moved = await engine.get("one")
    assert moved is not None
    assert (moved.engine_node, moved.state) == ("pve2", GuestState.RUNNING)


@pytest.mark.parametrize("done", [True, False])
async def test_a_move_is_where_the_guest_is_whatever_its_task_says(
    made: Lab, engine: ProxmoxEngine, done: bool
) -> None:
    await engine.write_config(config("one"))
    made.simulator.faults.once(*MOVE, FailedTask("migration problems", done=done))
    if done:
        await engine.migrate("one", OWNER, "pve2")
    else:
        with pytest.raises(GuestFailedError, match="migration problems"):
            await engine.migrate("one", OWNER, "pve2")
    found = await engine.get("one")
    assert found is not None
    assert found.engine_node == ("pve2" if done else "pve1")


async def test_what_is_forgotten_holds_no_id_and_is_found_by_its_marks(
    made: Lab, engine: ProxmoxEngine
) -> None:
    await engine.write_config(config("one"))
    await engine.migrate("one", OWNER, "pve2")
    await engine.forget("one")
    assert Journal(made.home / "state/guests").claims() == {}
    assert (await engine.start("one", OWNER)).engine_node == "pve2"


async def test_a_storage_that_is_full(made: Lab, engine: ProxmoxEngine) -> None:
    made.world.fill(STORAGE)
    with pytest.raises(OutOfSpaceError):
        await engine.write_config(config("one"))
    assert await engine.get("one") is None


async def test_a_bridge_that_is_missing(made: Lab, engine: ProxmoxEngine) -> None:
    await engine.write_config(config("one"))
    made.world.remove_bridge("vmbr0")
    with pytest.raises(BridgeMissingError, match="vmbr0"):
        await engine.start("one", OWNER)
    assert await state(engine) is GuestState.STOPPED


async def test_an_image_that_is_missing(made: Lab, engine: ProxmoxEngine) -> None:
    for kind in GuestKind:
        with pytest.raises(ImageMissingError):
            await engine.write_config(config("one", kind=kind, root=RootImage("none", 4 << 30)))


async def test_a_privilege_that_is_missing_is_named(made: Lab) -> None:
    secret = made.simulator.add_token("weak@pve", "t", {"/": ["VM.Audit", "Sys.Audit"]}, privsep=False)
    good, weak = made.engine(), made.engine(token=f"weak@pve!t={secret}")
    await good.write_config(config("one"))
    with pytest.raises(EngineDeniedError, match=r"VM.PowerMgmt on /vms/\d+"):
        await weak.start("one", OWNER)
    await good.close()
    await weak.close()
