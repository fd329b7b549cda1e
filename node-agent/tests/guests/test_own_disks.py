"""Guests of an engine that makes their disks and names their ports, and that can be moved between its
nodes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.compose.protocol import InGuest
from dsecos_agent.engines.errors import GuestFailedError
from dsecos_agent.engines.model import (
    Capability,
    DiskMount,
    GuestKind,
    GuestState,
    ObservedGuest,
    RootImage,
)
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.blocks import blocks
from dsecos_agent.guests.config import Node
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.failures import ActionFailedError, explain
from dsecos_agent.guests.lifecycle import begin, done
from dsecos_agent.guests.lives import remembered
from dsecos_agent.guests.plan import plan
from dsecos_agent.guests.record import Record
from dsecos_agent.guests.report import status
from dsecos_agent.guests.state import Observed
from dsecos_agent.links.protocol import ObservedBridge, ObservedPort
from dsecos_api.conditions import Reason, Type
from dsecos_api.lifecycle import Cause, LifecycleState

from .samples import PROXMOX, PVE, UID, guest, wish

LINK = "veth20000i0"
VOLUMES = [{"name": "pgdata", "size": "5Gi", "deletionPolicy": "Delete"}]
GIB = 1 << 30
NOW = "2026-11-22T00:00:00Z"


def on_pve(*, link: str | None = LINK, **changes: Any) -> Wanted:
    return wish(node=PVE, link=link, **{"volumes": VOLUMES, **changes})


def seen(wanted: Wanted, state: GuestState | None = GuestState.RUNNING, **changes: Any) -> Observed:
    """A guest as it should be, in a state; None: there is none."""
    assert wanted.bridge is not None
    bridge = wanted.bridge
    runs = state in (GuestState.RUNNING, GuestState.SUSPENDED)
    engine = ObservedGuest(
        name=wanted.name,
        owner_uid=UID,
        state=state or GuestState.STOPPED,
        init_pid=None,
        config_digest=wanted.digest.full,
        booted_digest=wanted.digest.boot if runs else None,
        id_map=None,
        engine_id="20000",
        engine_node=changes.pop("node", "pve1"),
        ports=(LINK,),
        disk_bytes=changes.pop("disk_bytes", 10 * GIB),
    )
    found = Observed(
        engine=engine if state is not None else None,
        bridge=ObservedBridge(bridge.name, bridge.owner_uid, (bridge.gateway,), True, bridge.mtu, ()),
        port=ObservedPort(LINK, bridge.name, isolated=True, up=True) if runs else None,
        rules_in_force=wanted.port is not None,
        record=Record(UID, prepared=True, compose_digest="d1", applied=(wanted.digest.full,), link=LINK),
        services=None,
    )
    return replace(found, **changes)


def names(actions: list[do.Action]) -> list[str]:
    return [action.name for action in actions]


def test_one_that_was_placed_elsewhere_before_was_moved_here() -> None:
    wanted = on_pve(epoch=2)
    life = remembered(Record(UID), wanted, seen(wanted), [], dict, boot="b", now=NOW).life
    assert life is not None
    assert (life.state, life.cause) == (LifecycleState.RUNNING, Cause.MIGRATION)
    assert life.transitions[0].message == "it was moved here"


def test_its_configuration_names_an_image_and_disks() -> None:
    config = on_pve().config
    assert config.root == RootImage("debian-13-docker", 10 * GIB)
    assert config.disks == (DiskMount("pgdata", 5 * GIB, "/srv/volumes/pgdata"),)
    assert config.id_map is None
    assert {(str(mount.source), mount.target) for mount in config.mounts} == {
        ("/home/run/guests/shop-12345678", "/run/dsecos"),
        ("/home/run/registry-trust", "/etc/dsecos/registry-trust"),
    }


def test_it_is_started_when_its_port_is_known_and_its_rules_are_in_force() -> None:
    unknown = on_pve(link=None)
    assert names(plan(unknown, seen(unknown, None, record=None))) == ["guest-config"]
    assert plan(unknown, seen(unknown, GuestState.STOPPED)) == []
    known = on_pve()
    first = seen(known, GuestState.STOPPED, rules_in_force=False, record=Record(UID))
    found = plan(known, first)
    assert names(found) == [
        "guest-firewall",
        "guest-start",
        "guest-attach",
        "guest-bring-up",
    ]
    assert do.AttachLink(LINK, known.bridge.name if known.bridge else "") in found


def test_a_disk_grows_and_is_never_made_smaller() -> None:
    wanted = on_pve()
    small = seen(wanted, disk_bytes=4 * GIB, services=())
    assert do.ResizeDisk(10 * GIB) in plan(wanted, small)
    (block,) = blocks(wanted, seen(wanted, disk_bytes=20 * GIB))
    assert (block.reason, block.stalled) == (Reason.UNSUPPORTED, True)


@pytest.mark.parametrize("policy", ["Retain", "Orphan", None])
def test_a_volume_that_is_to_outlive_its_guest_is_refused(policy: str | None) -> None:
    volume = {"name": "pgdata", "size": "5Gi"} | ({"deletionPolicy": policy} if policy else {})
    wanted = on_pve(volumes=[volume])
    assert plan(wanted, seen(wanted, None)) == []
    assert [(block.type, block.reason) for block in wanted.blocks] == [
        (Type.VOLUMES_READY, Reason.UNSUPPORTED)
    ]


def without(missing: Capability) -> Node:
    kinds = {kind: found - {missing} for kind, found in PROXMOX.kinds.items()}
    return replace(PVE, capabilities=replace(PROXMOX, kinds=kinds))


def test_services_need_a_way_into_the_guest() -> None:
    wanted = wish(node=without(Capability.EXEC), volumes=[])
    assert [block.reason for block in wanted.blocks] == [Reason.UNSUPPORTED]
    assert Capability.EXEC in wanted.blocks[0].message


def test_a_guest_that_sees_nothing_of_the_host_is_asked_by_commands_in_it() -> None:
    wanted = wish(node=without(Capability.HOST_MOUNTS), volumes=[])
    assert wanted.blocks == ()
    assert wanted.config.mounts == ()
    assert wanted.docker == InGuest(wanted.name, UID)
    assert wanted.shared is None
    assert wish(volumes=[]).docker == Path("/pools/default/guests/shop-12345678/shared")


def test_a_vm_needs_an_engine_that_has_them() -> None:
    wanted = on_pve(type="vm")
    assert wanted.blocks[0].message == "proxmox 9 runs no guests of type vm"


# VMs

MACHINES = replace(
    PVE,
    templates={},
    capabilities=replace(
        PROXMOX,
        kinds={**PROXMOX.kinds, GuestKind.VM: frozenset({Capability.EXEC, Capability.OWN_DISKS})},
    ),
)


def machine(*, link: str | None = LINK, **changes: Any) -> Wanted:
    return wish(node=MACHINES, link=link, **{"type": "vm", "volumes": [], **changes})


def test_a_vm_is_made_at_once_from_a_template_that_its_engine_has() -> None:
    wanted = machine(link=None)
    found = plan(wanted, seen(wanted, None, record=None))
    assert found == [do.Create(wanted.config, wanted.digest.full, None)]
    assert blocks(wish(node=MACHINES, volumes=[]), seen(wanted, None)), "a container waits for its own"


def test_a_vm_lives_as_any_guest_does() -> None:
    wanted = machine()
    stopped = seen(wanted, GuestState.STOPPED)
    assert names(plan(wanted, stopped)) == ["guest-start", "guest-attach", "guest-bring-up"]
    assert do.Stop() in plan(machine(runPolicy="Stopped"), seen(wanted))
    assert do.Destroy() in plan(machine(deleting=True), stopped)


def test_a_vm_has_no_volumes_and_says_where_data_goes_instead() -> None:
    wanted = machine(volumes=VOLUMES)
    (block,) = wanted.blocks
    assert (block.type, block.reason, block.stalled) == (Type.VOLUMES_READY, Reason.UNSUPPORTED, True)
    assert "named volumes" in block.message
    assert (wanted.volumes, wanted.config.disks) == ((), ())
    assert plan(wanted, seen(wanted, None)) == []
    assert do.Destroy() in plan(machine(volumes=VOLUMES, deleting=True), seen(wanted)), "it still goes"


# Moving


def moving(**changes: Any) -> Wanted:
    return on_pve(migrate={"node": "node-2", "engineNode": "pve2"}, **changes)


@pytest.mark.parametrize("state", [GuestState.RUNNING, GuestState.STOPPED])
def test_it_is_moved_where_it_is_ordered_to(state: GuestState) -> None:
    assert plan(moving(), seen(moving(), state)) == [do.Migrate("pve2")]


def test_a_suspended_guest_is_not_moved() -> None:
    wanted = moving()
    found = seen(wanted, GuestState.SUSPENDED)
    assert plan(wanted, found) == []
    assert blocks(wanted, found)[0].reason is Reason.ILLEGAL_TRANSITION


def test_an_engine_of_one_node_says_that_it_cannot() -> None:
    kinds = {kind: found - {Capability.MIGRATE} for kind, found in PROXMOX.kinds.items()}
    node = replace(PVE, capabilities=replace(PROXMOX, kinds=kinds))
    wanted = wish(node=node, link=LINK, volumes=VOLUMES, migrate={"node": "node-2", "engineNode": "pve2"})
    assert [block.reason for block in blocks(wanted, seen(wanted))] == [Reason.UNSUPPORTED]


@pytest.mark.parametrize("changes", [{}, {"restart": "1"}, {"runPolicy": "Stopped"}, {"hostname": "other"}])
def test_one_that_has_moved_by_order_is_the_other_nodes(changes: dict[str, Any]) -> None:
    wanted = moving(**changes)
    found = seen(moving(), node="pve2")
    assert plan(wanted, found) == []
    told = status(guest(volumes=VOLUMES), wanted, found)
    assert told.engine_node == "pve2"
    assert next(each.reason for each in told.conditions if each.type == "GuestReady") == "Migrating"


@pytest.mark.parametrize("policy", ["Delete", "Retain", "Orphan"])
def test_and_its_deletion_here_only_forgets_it(policy: str) -> None:
    wanted = moving(deleting=True, deletionPolicy=policy)
    assert plan(wanted, seen(wanted, node="pve2")) == [do.Forget(None), do.RemoveFinalizer()]
    assert do.Destroy() in plan(moving(deleting=True), seen(wanted)), "one that is still here is ended"


def test_one_that_others_moved_is_managed_but_not_entered() -> None:
    wanted = on_pve()
    found = seen(wanted, node="pve2")
    assert plan(wanted, found) == []
    told = {each.type: each for each in status(guest(volumes=VOLUMES), wanted, found).conditions}
    assert "the agent there alone" in told["DockerReady"].message
    stop = on_pve(runPolicy="Stopped")
    assert do.Stop() in plan(stop, found)
    assert do.Start() not in plan(wanted, seen(wanted, GuestState.STOPPED, node="pve2"))


def test_a_move_that_fails_is_told_in_the_engines_words() -> None:
    failed = ActionFailedError(do.Migrate("pve2"), GuestFailedError("storage 'x' is not on pve2"))
    block = explain(failed)
    assert (block.reason, block.message) == (Reason.MIGRATION_FAILED, "storage 'x' is not on pve2")


def test_what_the_engine_makes_is_in_no_pool() -> None:
    wanted = on_pve(pool="none", deleting=True)
    assert wanted.removal.pool is None
    assert wanted.removal.volumes == ()
    assert wanted.shared == Path("/home/run/guests/shop-12345678")


def test_a_move_by_others_is_told_and_one_of_ours_is_not_told_twice() -> None:
    wanted = on_pve()
    known = done(None, None, LifecycleState.RUNNING, (Cause.CREATED, ""), NOW)
    record = Record(UID, life=known, engine_node="pve1", applied=(wanted.digest.full,))

    def life(record: Record) -> list[tuple[str, str]]:
        found = remembered(record, wanted, seen(wanted, node="pve2"), [], dict, boot="", now=NOW).life
        return [] if found is None else [(each.to, each.cause) for each in reversed(found.transitions)]

    assert life(record)[1:] == [("Migrating", "Outside"), ("Running", "Outside")]
    begun = begin(known, LifecycleState.MIGRATING, Cause.MIGRATION, "to pve2", NOW)
    assert life(replace(record, life=begun))[1:] == [("Migrating", "Migration"), ("Running", "Migration")]
