"""SDN, high availability, storages, backups, pools."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from dsecos_proxmox_simulator import Simulator
from proxmoxer.core import ResourceException

TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
Make = Callable[..., int]
Outcome = Callable[[str], str]


def message(call: Callable[..., Any], **parameters: Any) -> str:
    with pytest.raises(ResourceException) as error:
        call(**parameters)
    return str(error.value.content)


def test_what_is_staged_is_real_only_after_an_apply(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    sdn = api.cluster.sdn
    sdn.zones.post(zone="lab1", type="simple")
    sdn.vnets.post(vnet="vnet1", zone="lab1")
    [row] = sdn.vnets.get(pending=1)
    assert (row["state"], row["pending"]) == ("new", {"zone": "lab1"})
    container(net0="name=eth0,bridge=vnet1")
    one = api.nodes("pve1").lxc(102)
    assert message(one.status.start.post) == "bridge 'vnet1' does not exist"
    assert outcome(sdn.put()) == "OK"
    assert [task.exitstatus for task in pve.issued("srvreload")] == ["OK", "OK"]
    assert outcome(one.status.start.post()) == "OK"


def test_an_apply_is_ok_although_a_nodes_own_reload_failed(
    pve: Simulator, api: Any, outcome: Outcome
) -> None:
    pve.world.nodes["pve2"].reload_fails = True
    api.cluster.sdn.zones.post(zone="lab1", type="simple")
    api.cluster.sdn.vnets.post(vnet="vnet1", zone="lab1")
    upid = api.cluster.sdn.put()
    assert ":reloadnetworkall::" in upid
    assert outcome(upid) == "OK"
    assert [task.node for task in pve.issued("srvreload") if task.exitstatus != "OK"] == ["pve2"]
    rows = {row["id"]: row["status"] for row in api.cluster.resources.get(type="sdn")}
    assert (rows["sdn/pve1/lab1"], rows["sdn/pve2/lab1"]) == ("ok", "error")
    assert api.nodes("pve2").sdn.zones.get() == [{"zone": "lab1", "status": "pending"}]


def test_a_vxlan_vnet_needs_a_tag_and_a_zone_in_use_stays(api: Any) -> None:
    sdn = api.cluster.sdn
    sdn.zones.post(zone="vx1", type="vxlan", peers="10.0.0.1,10.0.0.2")
    refused = "create sdn vnet object failed: 400 Parameter verification failed."
    assert message(sdn.vnets.post, vnet="vnet2", zone="vx1") == refused
    sdn.vnets.post(vnet="vnet2", zone="vx1", tag=1000)
    assert message(sdn.zones("vx1").delete).startswith(
        "delete sdn zone object failed: zone vx1 is used by vnet vnet2 at /usr/share/perl5/"
    )
    sdn.vnets("vnet2").delete()
    sdn.zones("vx1").delete()
    assert sdn.zones.get() == []


def test_a_subnet_is_shown_as_a_real_one(api: Any) -> None:
    sdn = api.cluster.sdn
    sdn.zones.post(zone="lab1", type="simple")
    sdn.vnets.post(vnet="vnet1", zone="lab1")
    sdn.vnets("vnet1").subnets.post(subnet="10.99.0.0/24", type="subnet", gateway="10.99.0.1", snat=1)
    [row] = sdn.vnets("vnet1").subnets.get()
    row.pop("digest")
    assert row == {
        "cidr": "10.99.0.0/24",
        "dhcp-range": [],
        "gateway": "10.99.0.1",
        "id": "lab1-10.99.0.0-24",
        "mask": "24",
        "network": "10.99.0.0",
        "snat": 1,
        "subnet": "lab1-10.99.0.0-24",
        "type": "subnet",
        "vnet": "vnet1",
        "zone": "lab1",
    }


def test_version_9_locks_and_rolls_back_what_is_staged(api: Any, version: str) -> None:
    sdn = api.cluster.sdn
    if version == "8.4":
        assert message(sdn.lock.post) == "Method 'POST /cluster/sdn/lock' not implemented"
        return
    token = sdn.lock.post()
    assert message(sdn.zones.post, zone="lab1", type="simple") == "invalid lock token provided"
    sdn.zones.post(zone="lab1", type="simple", **{"lock-token": token})
    sdn.rollback.post(**{"lock-token": token})
    assert sdn.zones.get() == []
    sdn.zones.post(zone="lab1", type="simple")


def test_what_ha_manages_moves_in_two_steps(
    pve: Simulator, api: Any, container: Make, outcome: Outcome, version: str
) -> None:
    container(rootfs="ceph:2")
    api.cluster.ha.resources.post(sid="ct:102")
    assert pve.tasks.wait_idle()
    answer = api.cluster.ha.resources("ct:102").migrate.post(node="pve2")
    assert answer == (None if version == "8.4" else {"sid": "ct:102", "requested-node": "pve2"})
    assert pve.tasks.wait_idle()
    upid = api.nodes("pve2").lxc(102).migrate.post(target="pve1", restart=1)
    assert outcome(upid) == "OK"
    types = [task.type for task in pve.issued(vmid=102)]
    assert types == ["vzcreate", "vzstart", "vzmigrate", "hamigrate", "vzmigrate"]
    assert api.nodes("pve1").lxc(102).status.current.get()["status"] == "running"


def test_a_directory_of_the_node_keeps_a_container_there_unless_it_is_shared(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    container()
    node = api.nodes("pve1").lxc(102)
    pve.world.change_config(102, mp128="/srv/there,mp=/there")
    assert outcome(node.migrate.post(target="pve2", restart=1)) == "migration aborted"
    assert "cannot migrate local bind mount point 'mp128'" in pve.issued("vzmigrate")[0].log
    pve.world.change_config(102, mp128="/srv/there,mp=/there,shared=1")
    assert outcome(node.migrate.post(target="pve2", restart=1)) == "OK"


def test_ha_takes_over_what_lies_on_shared_storage(pve: Simulator, api: Any, container: Make) -> None:
    container(102, rootfs="ceph:2")
    container(103)
    for vmid in (102, 103):
        api.cluster.ha.resources.post(sid=str(vmid))
    assert pve.tasks.wait_idle()
    pve.world.node_down("pve1")
    assert pve.tasks.wait_idle()
    rows = {row["vmid"]: (row["node"], row["status"]) for row in api.cluster.resources.get(type="vm")}
    assert rows == {102: ("pve2", "running"), 103: ("pve1", "unknown")}


def test_what_ha_manages_is_started_and_stopped_by_it_and_destroyed_only_with_purge(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    container()
    one = api.nodes("pve1").lxc(102)
    api.cluster.ha.resources.post(sid="ct:102", state="stopped")
    assert pve.tasks.wait_idle()
    upid = one.status.start.post()
    assert ":hastart:" in upid
    outcome(upid)
    assert one.status.current.get()["status"] == "running"
    outcome(one.status.stop.post())
    assert (
        message(one.delete) == "unable to remove CT 102 - used in HA resources and purge parameter not set."
    )
    assert outcome(one.delete(purge=1)) == "OK"
    assert api.cluster.ha.resources.get() == []


def test_an_uploaded_template_can_be_used(api: Any, outcome: Outcome) -> None:
    archive = io.BytesIO(b"x" * 1000)
    archive.name = "mine.tar.zst"
    storage = api.nodes("pve1").storage("local")
    upid = storage.upload.post(content="vztmpl", filename=archive)
    assert ":imgcopy::" in upid
    assert outcome(upid) == "OK"
    assert "local:vztmpl/mine.tar.zst" in [row["volid"] for row in storage.content.get(content="vztmpl")]
    upid = api.nodes("pve1").lxc.post(vmid=102, ostemplate="local:vztmpl/mine.tar.zst", rootfs="btr:1")
    assert outcome(upid) == "OK"


def test_a_download_that_cannot_be_had_fails_in_the_task(pve: Simulator, api: Any, outcome: Outcome) -> None:
    pve.world.downloads["https://example.org/x.tar.zst"] = 2000
    get = api.nodes("pve1").storage("local")("download-url").post
    one = {"content": "vztmpl", "filename": "x.tar.zst"}
    assert outcome(get(url="https://example.org/x.tar.zst", **one)) == "OK"
    assert outcome(get(url="https://example.org/y.tar.zst", **one)) == "download failed: 404 Not Found"


def test_a_backup_is_restored_as_another_container(api: Any, container: Make, outcome: Outcome) -> None:
    container(net0="name=eth0,bridge=vmbr0")
    node = api.nodes("pve1")
    notes = {"notes-template": "{{guestname}} {{vmid}}"}
    assert (
        outcome(node.vzdump.post(vmid="102", storage="local", mode="snapshot", protected=1, **notes)) == "OK"
    )
    [backup] = node.storage("local").content.get(content="backup")
    assert (backup["notes"], backup["protected"], backup["subtype"]) == ("ct102 102", 1, "lxc")
    upid = node.lxc.post(vmid=103, ostemplate=backup["volid"], restore=1, hostname="again")
    assert ":vzrestore:103:" in upid
    assert outcome(upid) == "OK"
    config = node.lxc(103).config.get()
    assert (config["hostname"], config["rootfs"]) == ("again", "btr:103/vm-103-disk-0.raw,size=2G")
    assert outcome(node.storage("local").content(backup["volid"]).delete()).startswith(
        "cannot remove protected"
    )


def test_restoring_over_a_guest_needs_force_and_it_stopped(
    api: Any, container: Make, outcome: Outcome
) -> None:
    container(start=1)
    node = api.nodes("pve1")
    outcome(node.vzdump.post(vmid="102", storage="local"))
    [backup] = node.storage("local").content.get(content="backup")
    again = {"vmid": 102, "ostemplate": backup["volid"], "restore": 1}
    assert message(node.lxc.post, **again) == "CT 102 already exists on node 'pve1'"
    assert message(node.lxc.post, force=1, **again) == "can't overwrite running container"
    outcome(node.lxc(102).status.stop.post())
    assert outcome(node.lxc.post(force=1, **again)) == "OK"


def test_a_subvolume_is_not_backed_up_in_snapshot_mode_and_the_try_leaves_a_snapshot(
    api: Any, container: Make, outcome: Outcome
) -> None:
    container(rootfs="btr:0")
    node = api.nodes("pve1")
    assert node.lxc(102).config.get()["rootfs"] == "btr:102/subvol-102-disk-0.subvol,size=0T"
    assert outcome(node.vzdump.post(vmid="102", storage="local", mode="snapshot")) == "job errors"
    assert [row["name"] for row in node.lxc(102).snapshot.get()] == ["vzdump", "current"]


def test_pruning_shows_and_then_removes(api: Any, container: Make, outcome: Outcome) -> None:
    container()
    node = api.nodes("pve1")
    for _ in range(2):
        outcome(node.vzdump.post(vmid="102", storage="local"))
    prune = node.storage("local").prunebackups
    assert sorted(row["mark"] for row in prune.get(vmid=102)) == ["keep", "remove"]
    upid = prune.delete(vmid=102)
    assert ":prunebackups:102@local:" in upid
    outcome(upid)
    assert [row["mark"] for row in prune.get(vmid=102)] == ["keep"]


def test_a_pool_with_members_stays(api: Any, container: Make, outcome: Outcome) -> None:
    api.pools.post(poolid="lab")
    container(pool="lab")
    assert message(api.pools("lab").delete) == "pool 'lab' is not empty"
    assert [row["vmid"] for row in api.pools("lab").get()["members"]] == [102]
    outcome(api.nodes("pve1").lxc(102).delete())
    api.pools("lab").delete()
    assert api.pools.get() == []


def test_the_next_id_reserves_nothing(api: Any, container: Make) -> None:
    container(100)
    assert api.cluster.nextid.get() == api.cluster.nextid.get() == "101"
    with pytest.raises(ResourceException) as error:
        api.cluster.nextid.get(vmid=100)
    assert error.value.errors == {"vmid": "VM 100 already exists"}


def test_tasks_are_listed_newest_first_and_by_guest(api: Any, container: Make) -> None:
    container(102)
    container(103)
    listed = api.nodes("pve1").tasks.get()
    assert [row["id"] for row in listed] == ["103", "102"]
    assert [row["id"] for row in api.nodes("pve1").tasks.get(vmid=102, typefilter="vzcreate")] == ["102"]
    assert api.nodes("pve1").tasks.get(errors=1) == []
    assert {row["upid"] for row in api.cluster.tasks.get()} == {row["upid"] for row in listed}


def test_a_stopped_task_ends_with_an_error_and_what_it_made_is_removed(
    pve: Simulator, api: Any, outcome: Outcome
) -> None:
    pve.world.pace = 0.05
    upid = api.nodes("pve1").lxc.post(vmid=102, ostemplate=TEMPLATE, rootfs="btr:2")
    assert api.nodes("pve1").tasks(upid).delete() is None
    assert outcome(upid).endswith("interrupted by signal")
    assert pve.world.guest(102) is None


def test_a_node_that_dies_leaves_what_it_was_making_locked(
    pve: Simulator, api: Any, outcome: Outcome
) -> None:
    pve.world.pace = 0.05
    upid = api.nodes("pve1").lxc.post(vmid=102, ostemplate=TEMPLATE, rootfs="btr:2")
    pve.world.node_down("pve1")
    assert outcome(upid) == "unexpected status"
    pve.world.node_up("pve1")
    assert api.nodes("pve1").lxc(102).status.current.get()["lock"] == "create"
