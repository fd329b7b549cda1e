"""Backups of single guests on a simulated Proxmox VE: whose they are, what they survive, what is removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotOursError
from dsecos_agent.engines.errors import GuestFailedError, GuestLockedError
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox import container, properties
from dsecos_agent.engines.proxmox.backup import Backup, Backups, mode, surplus
from dsecos_agent.engines.proxmox.properties import Marks, Ownership
from dsecos_agent.engines.proxmox.refusals import IdTakenError
from dsecos_proxmox_simulator import Simulator, World
from hypothesis import given
from hypothesis import strategies as st

from .parts import Parts, parts

WEB = Ownership("web-1a2b3c4d", "6f1c2d3e-0000-4000-8000-000000000001")
ANN = Ownership("ann", "6f1c2d3e-0000-4000-8000-000000000002")
STORAGES = {"lvm": "lvmthin", "dir": "dir", "btr": "btrfs", "ceph": "rbd"}
LXC = GuestKind.CONTAINER


class Lab:
    """A cluster with one container of ours and one of Ann's."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.world = parts.simulator.world
        self.backups = Backups(parts.client, parts.tasks, parts.settings)
        for vmid, owner in ((20001, WEB), (20002, ANN)):
            self.world.add_guest(
                vmid,
                storage="local-lvm",
                status="running",
                hostname=owner.guest,
                unprivileged="1",
                tags=properties.render_tags("", owner),
                description=properties.render_description("", Marks(owner.guest, owner.owner_uid)),
            )

    async def take(self, **changes: bool) -> Backup:
        return await self.backups.take(WEB, LXC, node="pve1", vmid=20001, storage="btr", **changes)

    async def volumes(self) -> list[str]:
        return [backup.volid for backup in await self.backups.listed("btr", node="pve1")]


@pytest.fixture(params=["8.4", "9.1"])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    with Simulator(World(), version=request.param) as simulator:
        async with parts(simulator, tmp_path) as made:
            yield Lab(made)


async def test_a_backup_says_whose_it_is(lab: Lab) -> None:
    backup = await lab.take()
    assert (backup.owner, backup.vmid, backup.protected) == (WEB, 20001, False)
    assert await lab.volumes() == [backup.volid]


async def test_only_the_owner_backs_up(lab: Lab) -> None:
    with pytest.raises(NotOursError):
        await lab.backups.take(ANN, LXC, node="pve1", vmid=20001, storage="btr")
    assert await lab.volumes() == []


async def test_a_guest_is_made_from_a_backup_and_is_ours_at_once(lab: Lab) -> None:
    backup = await lab.take()
    await lab.backups.restore(backup, WEB, LXC, node="pve1", vmid=20009, storage="local-lvm")
    raw = await lab.parts.client.get("/nodes/pve1/lxc/20009/config")
    assert container.owner_of(raw) == WEB


async def test_nothing_that_is_there_is_restored_over(lab: Lab) -> None:
    backup = await lab.take()
    with pytest.raises(IdTakenError):
        await lab.backups.restore(backup, WEB, LXC, node="pve1", vmid=20002, storage="local-lvm")
    assert container.owner_of(await lab.parts.client.get("/nodes/pve1/lxc/20002/config")) == ANN


async def test_a_protected_backup_stays(lab: Lab) -> None:
    backup = await lab.take(protected=True)
    assert backup.protected
    with pytest.raises(GuestFailedError):
        await lab.backups.remove(backup, WEB, node="pve1")
    await lab.backups.protect(backup, WEB, node="pve1", protected=False)
    await lab.backups.remove(backup, WEB, node="pve1")
    assert await lab.volumes() == []


async def test_what_goes_beyond_the_newest_is_removed_and_nobody_elses(lab: Lab) -> None:
    theirs = await lab.backups.take(ANN, LXC, node="pve1", vmid=20002, storage="btr")
    taken = [await lab.take() for _ in range(3)]
    removed = await lab.backups.prune(WEB, node="pve1", storage="btr", keep_last=1)
    assert {backup.volid for backup in removed} < {backup.volid for backup in taken}
    assert len(removed) == 2
    assert theirs.volid in await lab.volumes()
    with pytest.raises(NotOursError):
        await lab.backups.remove(theirs, WEB, node="pve1")


async def test_a_snapshot_that_a_failed_backup_has_left_is_removed(lab: Lab) -> None:
    await lab.parts.client.post("/nodes/pve1/lxc/20001/snapshot", snapname="keep")
    assert lab.parts.simulator.tasks.wait_idle()
    guest = lab.world.guest(20001)
    assert guest is not None
    guest.snapshots["vzdump"] = replace(guest.snapshots["keep"], name="vzdump")
    await lab.take()
    assert "vzdump" not in guest.snapshots
    assert "keep" in guest.snapshots


async def test_a_locked_guest_is_not_backed_up(lab: Lab) -> None:
    lab.world.set_lock(20001, "migrate")
    with pytest.raises(AdapterError):
        await lab.take()


@pytest.mark.parametrize(
    ("raw", "running", "chosen"),
    [
        ({"rootfs": "lvm:vm-1-disk-0,size=8G"}, True, "snapshot"),
        ({"rootfs": "ceph:vm-1-disk-0,size=8G"}, True, "snapshot"),
        ({"rootfs": "lvm:vm-1-disk-0,size=8G"}, False, "stop"),
        ({"rootfs": "dir:1/vm-1-disk-0.raw,size=8G"}, True, "suspend"),
        ({"rootfs": "btr:1/vm-1-disk-0.raw,size=8G"}, True, "snapshot"),
        ({"rootfs": "btr:1/subvol-1-disk-0.subvol,size=0T"}, True, "suspend"),
        ({"rootfs": "lvm:a,size=8G", "mp0": "dir:1/b.raw,mp=/b,backup=1"}, True, "suspend"),
        ({"rootfs": "lvm:a,size=8G", "mp0": "dir:1/b.raw,mp=/b"}, True, "snapshot"),
        ({"rootfs": "gone:a,size=8G"}, True, "suspend"),
    ],
)
def test_a_container_is_backed_up_as_its_storages_can(
    raw: dict[str, str], running: bool, chosen: str
) -> None:
    assert mode(LXC, raw, STORAGES, running=running) == chosen


def test_a_running_vm_is_backed_up_while_it_runs() -> None:
    assert mode(GuestKind.VM, {"scsi0": "dir:1/x.raw"}, STORAGES, running=True) == "snapshot"


BACKUPS = st.lists(
    st.builds(
        Backup,
        volid=st.uuids().map(str),
        vmid=st.just(20001),
        created=st.floats(0, 1e9),
        size=st.just(1),
        protected=st.booleans(),
        owner=st.sampled_from([WEB, ANN, None]),
    ),
    unique_by=lambda backup: backup.volid,
)


@given(BACKUPS, st.integers(-1, 5))
def test_what_is_surplus_is_ours_unprotected_and_older_than_what_stays(
    backups: list[Backup], keep_last: int
) -> None:
    gone = surplus(backups, WEB, keep_last)
    counted = [backup for backup in backups if backup.owner == WEB and not backup.protected]
    stay = [backup for backup in counted if backup not in gone]
    assert set(gone) <= set(counted)
    assert len(stay) == min(max(0, keep_last), len(counted))
    assert all(old.created <= new.created for old in gone for new in stay)


async def test_a_backup_that_runs_already_is_waited_for_by_others(lab: Lab) -> None:
    lab.world.pace = 1.0
    upid = await lab.parts.client.post("/nodes/pve1/vzdump", vmid="20001", storage="btr", mode="suspend")
    with pytest.raises(GuestLockedError):
        await lab.take()
    await lab.parts.client.delete(f"/nodes/pve1/tasks/{upid}")
