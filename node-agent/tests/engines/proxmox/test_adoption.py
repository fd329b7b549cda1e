"""Guests of an administrator, taken over and given back on a cluster; the contract says the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.engines.errors import EngineUnreachableError, GuestLockedError
from dsecos_agent.engines.model import Adopted, GuestConfig, GuestKind, GuestState, Limits, Startup
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_proxmox_simulator import DroppedConnection, GatewayError, HeldLock, LostAnswer
from dsecos_proxmox_simulator.storages import GIB as DISK_GIB

from .world import GIB, OWNER, STORAGE, STRANGER, TYPES, VMIDS, Lab, config

CONTAINER, VM = GuestKind.CONTAINER, GuestKind.VM
KINDS = pytest.mark.parametrize("kind", [CONTAINER, VM])


def shop(kind: GuestKind = CONTAINER, vmid: int | str = 105, **changes: Any) -> GuestConfig:
    limits = Limits(cpu_millis=1500, memory_bytes=512 << 20)
    return replace(GuestConfig("one", OWNER, Adopted(f"{vmid}"), None, kind=kind, limits=limits), **changes)


def raw(made: Lab, vmid: int = 105) -> dict[str, str]:
    guest = made.world.guest(vmid)
    assert guest is not None
    return dict(guest.config)


def without(config: dict[str, str], *keys: str) -> dict[str, str]:
    kept = {key: text for key, text in config.items() if key not in keys}
    return {**kept, "description": kept.get("description", "").strip()}


# What is left alone


@KINDS
@pytest.mark.parametrize("vmid", [105, VMIDS.start + 7], ids=["theirs", "in-our-range"])
async def test_nothing_but_limits_start_order_and_marks_is_changed(
    made: Lab, engine: ProxmoxEngine, kind: GuestKind, vmid: int
) -> None:
    made.add_foreign(vmid, kind, running=True)
    before = raw(made, vmid)
    await engine.write_config(shop(kind, vmid))
    await engine.stop("one", OWNER, grace=0)
    await engine.start("one", OWNER)
    ours = ("tags", "description", "cpulimit", "memory", "onboot", "startup")
    assert without(raw(made, vmid), *ours) == without(before, *ours)
    assert [task.type[2:] for task in made.simulator.issued()] == ["stop", "start"]


@KINDS
async def test_a_limit_that_is_not_asked_for_stays(made: Lab, engine: ProxmoxEngine, kind: GuestKind) -> None:
    made.add_foreign(105, kind, running=True, cpulimit="1")
    nothing = shop(kind, limits=Limits())
    await engine.write_config(nothing)
    if kind is CONTAINER:
        await engine.set_limits("one", OWNER, nothing.limits)
    assert (raw(made)["cpulimit"], raw(made)["memory"]) == ("1", "1024")
    made.world.change_config(105, memory="2048")
    assert not await engine.write_config(nothing)


async def test_live_limits_leave_the_cores_alone(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, CONTAINER, running=True)
    await engine.write_config(shop())
    await engine.set_limits("one", OWNER, Limits(cpu_millis=8000, memory_bytes=GIB))
    assert [raw(made)[key] for key in ("cores", "cpulimit", "memory", "swap")] == ["2", "8", "1024", "256"]


async def test_directories_of_the_host_stay_where_they_are(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, CONTAINER, mp200="/srv/more,mp=/more")
    await engine.write_config(shop())
    assert raw(made)["mp200"] == "/srv/more,mp=/more"


# When a restart is due


async def test_a_vm_that_runs_with_other_memory_is_told_to_need_a_restart(
    made: Lab, engine: ProxmoxEngine
) -> None:
    made.add_foreign(105, VM, running=True, memory="1024")
    same, more = shop(VM, limits=Limits(1500, GIB)), shop(VM, limits=Limits(1500, 2 * GIB))
    await engine.write_config(same)
    guest = await engine.get("one")
    assert guest is not None
    assert guest.booted_digest == engine.digest(same).boot, "it runs with what is asked for"
    await engine.write_config(more)
    guest = await engine.get("one")
    assert guest is not None
    assert guest.booted_digest == engine.digest(same).boot != engine.digest(more).boot
    await engine.write_config(same)
    guest = await engine.get("one")
    assert guest is not None
    assert guest.booted_digest == engine.digest(same).boot, "it was taken back before it came to pass"


async def test_what_an_administrator_had_pending_is_not_what_it_runs_with(
    made: Lab, engine: ProxmoxEngine
) -> None:
    guest = made.add_foreign(105, VM, running=True, memory="1024")
    guest.pending["memory"] = "2048"
    wanted = shop(VM, limits=Limits(1500, 2 * GIB))
    await engine.write_config(wanted)
    found = await engine.get("one")
    assert found is not None
    assert found.config_digest == engine.digest(wanted).full
    assert found.booted_digest == engine.digest(shop(VM, limits=Limits(1500, GIB))).boot
    await engine.stop("one", OWNER, grace=0)
    assert (await engine.start("one", OWNER)).booted_digest == engine.digest(wanted).boot


@pytest.mark.parametrize(("numa", "due"), [("1", False), ("0", True)], ids=["plugged", "not-plugged"])
async def test_a_vm_that_takes_memory_while_it_runs_needs_no_restart_for_it(
    made: Lab, engine: ProxmoxEngine, numa: str, due: bool
) -> None:
    made.add_foreign(105, VM, running=True, hotplug="network,disk,memory", numa=numa)
    await engine.write_config(shop(VM, limits=Limits(1500, GIB)))
    more = shop(VM, limits=Limits(1500, 2 * GIB))
    assert await engine.write_config(more)
    guest = await engine.get("one")
    assert guest is not None
    assert (guest.booted_digest != engine.digest(more).boot) is due
    assert not await engine.write_config(more)


async def test_a_balloon_that_holds_more_than_it_is_to_have_is_made_smaller(
    made: Lab, engine: ProxmoxEngine
) -> None:
    made.add_foreign(105, VM, running=True, memory="4096", balloon="2048")
    await engine.write_config(shop(VM, limits=Limits(memory_bytes=GIB)))
    guest = made.world.guest(105)
    assert guest is not None
    assert (guest.pending["memory"], guest.config["balloon"]) == ("1024", "1024")


# Disks


@KINDS
async def test_the_root_disk_grows_while_it_runs(made: Lab, engine: ProxmoxEngine, kind: GuestKind) -> None:
    made.add_foreign(105, kind, running=True)
    await engine.write_config(shop(kind, root=Adopted("105", 6 * GIB)))
    guest = await engine.get("one")
    assert guest is not None
    assert (guest.disk_bytes, guest.state) == (6 * GIB, GuestState.RUNNING)
    assert not await engine.write_config(shop(kind, root=Adopted("105", 5 * GIB))), "none gets smaller"
    await engine.resize_disk("one", OWNER, 7 * GIB)
    guest = await engine.get("one")
    assert guest is not None
    assert guest.disk_bytes == 7 * GIB


async def test_a_disk_that_may_be_another_one_is_not_enlarged(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, VM, boot="")
    await engine.write_config(shop(VM, root=Adopted("105", 6 * GIB)))
    guest = await engine.get("one")
    assert guest is not None
    assert guest.disk_bytes is None
    with pytest.raises(UnsupportedError, match="boots from"):
        await engine.resize_disk("one", OWNER, 7 * GIB)
    assert not made.simulator.issued()


@KINDS
async def test_disks_that_its_configuration_does_not_name_outlive_it(
    made: Lab, engine: ProxmoxEngine, kind: GuestKind
) -> None:
    made.add_foreign(105, kind)
    kept = made.world.storages[STORAGE].allocate("pve1", 105, DISK_GIB)
    await engine.write_config(shop(kind))
    await engine.destroy("one", OWNER)
    assert made.world.guest(105) is None
    assert [volume.volid for volume in made.world.volumes() if volume.vmid == 105] == [kept.volid]


async def test_a_snapshot_of_an_earlier_time_does_not_give_it_up(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, CONTAINER)
    await engine.client.post("/nodes/pve1/lxc/105/snapshot", snapname="theirs")
    made.simulator.tasks.wait_idle()
    await engine.write_config(shop())
    await engine.snapshot("one", OWNER, "ours")
    assert [snapshot.name for snapshot in await engine.list_snapshots("one")] == ["theirs", "ours"]
    with pytest.raises(UnsupportedError, match="snapshot theirs"):
        await engine.rollback("one", OWNER, "theirs")
    await engine.rollback("one", OWNER, "ours")
    guest = await engine.get("one")
    assert guest is not None
    assert guest.owner_uid == OWNER


# Where it is


@KINDS
async def test_a_guest_is_adopted_on_its_own_node(made: Lab, engine: ProxmoxEngine, kind: GuestKind) -> None:
    made.add_foreign(105, kind, "pve2")
    before = raw(made)
    with pytest.raises(NotFoundError, match="not on node pve1 but on pve2"):
        await engine.write_config(shop(kind))
    made.world.node_down("pve2")
    with pytest.raises(EngineUnreachableError, match="pve2"):
        await engine.write_config(shop(kind))
    assert raw(made) == before


@KINDS
async def test_an_adopted_guest_may_move_on(made: Lab, engine: ProxmoxEngine, kind: GuestKind) -> None:
    # A directory of the node that is not said to be everywhere keeps a container where it is.
    everywhere = {"mp0": "/srv/shop,mp=/srv/shop,shared=1"} if kind is CONTAINER else {}
    made.add_foreign(105, kind, running=True, **everywhere)
    await engine.write_config(shop(kind))
    await engine.migrate("one", OWNER, "pve2")
    guest = await engine.get("one")
    assert guest is not None
    assert (guest.engine_node, guest.state, guest.adopted) == ("pve2", GuestState.RUNNING, True)
    assert not await engine.write_config(shop(kind))
    made.world.node_down("pve2")
    with pytest.raises(EngineUnreachableError):
        await engine.release("one", OWNER)
    made.world.node_up("pve2")
    await engine.release("one", OWNER)
    assert "dsecos" not in raw(made)["description"]


async def test_a_template_is_not_adopted(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, VM, template="1")
    with pytest.raises(UnsupportedError, match="template"):
        await engine.write_config(shop(VM))


@pytest.mark.parametrize("engine_id", ["web", "0105", "105.0", "²", "99999999999999999999"])
async def test_what_is_no_vmid_is_no_guest(made: Lab, engine: ProxmoxEngine, engine_id: str) -> None:
    made.add_foreign(105, CONTAINER)
    with pytest.raises(NotFoundError, match=engine_id):
        await engine.write_config(shop(vmid=engine_id))


async def test_a_lock_is_waited_for_and_named(made: Lab) -> None:
    made.add_foreign(105, CONTAINER, lock="backup")
    hurried = made.engine(lock_limit=0.1)
    with pytest.raises(GuestLockedError, match="backup"):
        await hurried.write_config(shop())
    assert await hurried.get("one") is None
    made.world.set_lock(105, "")
    await hurried.write_config(shop())
    made.world.set_lock(105, "backup")
    with pytest.raises(GuestLockedError, match="backup"):
        await hurried.release("one", OWNER)
    await hurried.close()


# Whose it is


async def test_a_copy_of_an_adopted_guest_is_not_taken_for_it(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, CONTAINER)
    await engine.write_config(shop())
    made.world.add_guest(106, **raw(made))
    guest = await engine.get("one")
    assert guest is not None
    assert guest.engine_id == "105"
    assert [(each.name, each.engine_id) for each in await engine.list_guests()] == [
        ("106/old-shop", "106"),
        ("one", "105"),
    ]
    with pytest.raises(NotOursError):
        await engine.write_config(shop(vmid=106, name="two"))
    await engine.destroy("one", OWNER)
    assert made.world.guest(105) is None
    assert made.world.guest(106) is not None


async def test_what_is_noted_of_it_is_noted_again(made: Lab, tmp_path: Path) -> None:
    made.add_foreign(105, CONTAINER)
    first = made.engine()
    await first.write_config(shop())
    await first.close()
    for note in (tmp_path / "state").rglob("*.json"):
        note.unlink()
    again = made.engine()
    assert not await again.write_config(shop())
    made.world.add_guest(106, **raw(made))
    guest = await again.get("one")
    assert guest is not None
    assert guest.engine_id == "105"
    await again.release("one", OWNER)
    assert not list((tmp_path / "state").rglob("*.json"))
    await again.close()


async def test_a_guest_of_half_a_mark_is_never_removed_for_a_note(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, CONTAINER)
    await engine.write_config(shop())
    made.world.change_config(105, tags="ann")
    before = raw(made)
    assert await engine.get("one") is None
    await engine.destroy("one", OWNER)
    await engine.release("one", OWNER)
    assert raw(made) == before


async def test_an_id_that_was_adopted_is_nobodys_to_make(made: Lab, engine: ProxmoxEngine) -> None:
    vmid = VMIDS.start + 7
    made.add_foreign(vmid, CONTAINER)
    await engine.write_config(shop(vmid=vmid))
    made.world.destroy_guest(vmid)
    await engine.write_config(config("one"))
    guest = await engine.get("one")
    assert guest is not None
    assert not guest.adopted
    assert guest.engine_id != f"{vmid}"


# Giving it back


@KINDS
@pytest.mark.parametrize("theirs", [{}, {"onboot": "0"}, {"startup": "up=30"}], ids=["all", "off", "up"])
async def test_the_start_order_comes_back(
    made: Lab, engine: ProxmoxEngine, kind: GuestKind, theirs: dict[str, str]
) -> None:
    made.add_foreign(105, kind, **theirs)
    before = raw(made)
    await engine.write_config(shop(kind, startup=Startup(autostart=True, order=50, delay=9)))
    await engine.write_config(shop(kind, startup=Startup(autostart=False, order=60)))
    await engine.release("one", OWNER)
    limits = ("cpulimit", "memory")
    assert without(raw(made), *limits) == without(before, *limits)
    assert (raw(made)["cpulimit"], raw(made)["memory"]) == ("1.5", "512")


@KINDS
async def test_what_was_not_there_is_not_there_afterwards(
    made: Lab, engine: ProxmoxEngine, kind: GuestKind
) -> None:
    guest = made.add_foreign(105, kind)
    for key in ("tags", "description", "onboot", "startup", "memory"):
        del guest.config[key]
    before = raw(made)
    await engine.write_config(shop(kind))
    await engine.release("one", OWNER)
    assert raw(made) == {**before, "cpulimit": "1.5"} | ({"memory": "512"} if "memory" in raw(made) else {})


async def test_what_others_write_meanwhile_stays(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, CONTAINER)
    await engine.write_config(shop())
    written = raw(made)
    made.world.change_config(
        105, tags=f"{written['tags']};new", description=f"Bob has it now.\n\n{written['description']}"
    )
    assert not await engine.write_config(shop())
    await engine.release("one", OWNER)
    assert raw(made)["tags"] == "ann;new;web"
    assert raw(made)["description"].startswith("Bob has it now.\n\nAsk Ann")


# Whatever Proxmox VE answers, whoever is killed


async def live(
    engine: ProxmoxEngine, kind: GuestKind, before_each: Callable[[], None] = lambda: None
) -> None:
    before_each()
    await engine.write_config(shop(kind))
    before_each()
    await engine.write_config(shop(kind, limits=Limits(2000, GIB)))
    guest = await engine.get("one")
    assert guest is not None
    assert guest.config_digest == engine.digest(shop(kind, limits=Limits(2000, GIB))).full
    before_each()
    await engine.release("one", OWNER)
    assert await engine.get("one") is None


@KINDS
@pytest.mark.parametrize(
    "fault",
    [LostAnswer(), DroppedConnection(), GatewayError(596), GatewayError(599, done=False), HeldLock(5)],
    ids=["lost", "dropped", "596-done", "599-not-done", "backup"],
)
async def test_when_nobody_knows_whether_it_happened_it_has_happened_once(
    made: Lab, engine: ProxmoxEngine, kind: GuestKind, fault: Any
) -> None:
    made.add_foreign(105, kind, running=True)
    guest, before = made.world.guest(105), raw(made)
    assert guest is not None
    configure = ("PUT", f"/nodes/{{node}}/{TYPES[kind]}/{{vmid}}/config")
    await live(engine, kind, lambda: made.simulator.faults.once(*configure, fault))
    assert without(raw(made), "cpulimit", "memory") == without(before, "cpulimit", "memory")
    assert (guest.status, guest.pid) == ("running", 4711)


class Killed(BaseException):  # not an error: the end
    """The process ends here."""


@KINDS
async def test_killed_at_any_point_it_is_adopted_once_and_given_back_whole(
    made: Lab, kind: GuestKind
) -> None:
    made.add_foreign(105, kind, running=True)
    before = raw(made)
    passed: list[str] = []
    whole = made.engine(point=passed.append)
    await live(whole, kind)
    await whole.close()
    for last in range(len(passed)):
        seen: list[str] = []

        def point(name: str, seen: list[str] = seen, last: int = last) -> None:
            seen.append(name)
            if len(seen) > last:
                raise Killed(name)

        cut = made.engine(point=point)
        with pytest.raises(Killed):
            await live(cut, kind)
        await cut.close()
        again = made.engine()
        await live(again, kind)
        await again.close()
        assert without(raw(made), "cpulimit", "memory") == without(before, "cpulimit", "memory"), passed[last]
    guest = made.world.guest(105)
    assert guest is not None
    assert (guest.status, guest.pid, made.simulator.issued()) == ("running", 4711, [])


async def test_two_agents_do_not_adopt_one_guest(made: Lab, engine: ProxmoxEngine) -> None:
    made.add_foreign(105, CONTAINER)
    other = made.engine(state="other")
    await engine.write_config(shop())
    with pytest.raises(NotOursError, match=f"{OWNER} .one."):
        await other.write_config(shop(owner_uid=STRANGER, name="two"))
    with pytest.raises(AdapterError):
        await other.release("one", STRANGER)
    await other.close()
