"""Containers answer as a real node did."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from dsecos_proxmox_simulator import Simulator
from proxmoxer.core import ResourceException

TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
Make = Callable[..., int]
Outcome = Callable[[str], str]


def test_a_task_id_has_hexadecimal_fields_and_ends_with_the_user(api: Any, container: Make) -> None:
    container()
    upid = api.nodes("pve1").lxc(102).status.start.post()
    assert re.fullmatch(r"UPID:pve1:[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:vzstart:102:root@pam:", upid)


def test_a_container_is_written_as_proxmox_writes_it(api: Any, container: Make) -> None:
    container(
        features="nesting=1",
        net0="name=eth0,bridge=vmbr0,ip=10.77.0.102/24,gw=10.77.0.1",
        tags="b;a",
        description="of mine",
    )
    config = api.nodes("pve1").lxc(102).config.get()
    assert re.fullmatch(
        r"name=eth0,bridge=vmbr0,gw=10\.77\.0\.1,hwaddr=BC:24:11(:[0-9A-F]{2}){3},ip=10\.77\.0\.102/24,type=veth",
        config.pop("net0"),
    )
    assert re.fullmatch(r"[0-9a-f]{40}", config.pop("digest"))
    assert config == {
        "arch": "amd64",
        "cores": 1,
        "description": "of mine\n",
        "features": "nesting=1",
        "hostname": "ct102",
        "memory": 256,
        "ostype": "debian",
        "rootfs": "btr:102/vm-102-disk-0.raw,size=2G",
        "swap": 512,
        "tags": "a;b",
        "unprivileged": 1,
    }


REFUSED = {
    "an id that is taken": (
        "lxc",
        "post",
        {"ostemplate": TEMPLATE, "vmid": 102},
        "CT 102 already exists on node 'pve1'",
    ),
    "starting what runs": ("lxc/102/status/start", "post", {}, "CT 102 already running"),
    "destroying what runs": ("lxc/102", "delete", {}, "unable to destroy CT 102 - container is running"),
    "shrinking": ("lxc/102/resize", "put", {"disk": "rootfs", "size": "1G"}, "unable to shrink disk size"),
    "a wrong digest": (
        "lxc/102/config",
        "put",
        {"digest": "0" * 40, "memory": 384},
        "detected modified configuration - file changed by other user? Try again.",
    ),
    "what cannot change": (
        "lxc/102/config",
        "put",
        {"unprivileged": 0},
        "unable to modify read-only option: 'unprivileged'",
    ),
    "a guest that is not there": (
        "lxc/999/config",
        "get",
        {},
        "Configuration file 'nodes/pve1/lxc/999.conf' does not exist",
    ),
}


@pytest.mark.parametrize(("path", "method", "parameters", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_at_once(
    api: Any, container: Make, path: str, method: str, parameters: dict[str, Any], message: str
) -> None:
    container(start=1)
    with pytest.raises(ResourceException) as refused:
        getattr(api.nodes("pve1")(path), method)(**parameters)
    assert (refused.value.status_code, refused.value.content) == (500, message)


@pytest.mark.parametrize("all_disks", [0, 1])
def test_a_disk_that_no_configuration_names_goes_only_when_that_is_asked_for(
    pve: Simulator, api: Any, container: Make, outcome: Outcome, all_disks: int
) -> None:
    container()
    pve.world.storages["btr"].allocate("pve1", 102, 1 << 30)
    assert outcome(api.nodes("pve1").lxc(102).delete(**{"destroy-unreferenced-disks": all_disks})) == "OK"
    assert len([volume for volume in pve.world.volumes() if volume.vmid == 102]) == 1 - all_disks


def test_stopping_what_is_stopped_is_refused_at_once(api: Any, container: Make) -> None:
    container()
    with pytest.raises(ResourceException, match="CT 102 not running"):
        api.nodes("pve1").lxc(102).status.stop.post()


def test_a_node_that_is_not_there_is_a_failed_look_up(api: Any) -> None:
    with pytest.raises(ResourceException) as refused:
        api.nodes("nope").lxc.get()
    assert refused.value.status_code == 500
    assert refused.value.content.startswith(
        "hostname lookup 'nope' failed - failed to get address info for: nope"
    )


def test_starting_a_locked_or_missing_container_fails_in_the_task(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    container()
    pve.world.set_lock(102, "backup")
    assert outcome(api.nodes("pve1").lxc(102).status.start.post()) == "CT is locked (backup)"
    missing = outcome(api.nodes("pve1").lxc(999).status.start.post())
    assert missing == "Configuration file 'nodes/pve1/lxc/999.conf' does not exist"


def test_suspending_fails_in_the_task_for_want_of_criu(api: Any, container: Make, outcome: Outcome) -> None:
    container(start=1)
    upid = api.nodes("pve1").lxc(102).status.suspend.post()
    assert outcome(upid) == "command 'lxc-checkpoint -n 102 -s -D /var/lib/vz/dump' failed: exit code 1"


def test_a_snapshot_that_the_storage_cannot_take_fails_in_the_task(
    api: Any, container: Make, outcome: Outcome
) -> None:
    container(rootfs="local:2")
    upid = api.nodes("pve1").lxc(102).snapshot.post(snapname="s1")
    assert outcome(upid) == "snapshot feature is not available"


def test_of_three_snapshots_at_once_one_is_taken(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    container()
    pve.world.pace = 0.1
    upids = [api.nodes("pve1").lxc(102).snapshot.post(snapname=f"p{n}") for n in range(3)]
    assert sorted(map(outcome, upids)) == ["CT is locked (snapshot)", "CT is locked (snapshot)", "OK"]
    assert [row["name"] for row in api.nodes("pve1").lxc(102).snapshot.get()] == ["p0", "current"]


def test_a_rollback_with_start_ends_and_a_task_of_its_own_starts_the_container(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    container(start=1)
    outcome(api.nodes("pve1").lxc(102).snapshot.post(snapname="s1", description="first"))
    api.nodes("pve1").lxc(102).config.put(memory=384)
    assert outcome(api.nodes("pve1").lxc(102).snapshot("s1").rollback.post(start=1)) == "OK"
    assert [task.type for task in pve.issued(vmid=102)][-2:] == ["vzrollback", "vzstart"]
    assert api.nodes("pve1").lxc(102).config.get()["memory"] == 256
    assert api.nodes("pve1").lxc(102).status.current.get()["status"] == "running"


def test_a_create_that_fails_leaves_no_configuration(pve: Simulator, api: Any, outcome: Outcome) -> None:
    pve.world.fill("btr", "pve1")
    upid = api.nodes("pve1").lxc.post(vmid=102, ostemplate=TEMPLATE, rootfs="btr:2")
    assert outcome(upid) == "unable to create CT 102 - write error: No space left on device"
    assert api.cluster.resources.get(type="vm") == []
    assert [volume for volume in pve.world.volumes() if volume.vmid == 102] == []


def test_a_container_in_the_making_is_locked(pve: Simulator, api: Any) -> None:
    pve.world.pace = 10
    api.nodes("pve1").lxc.post(vmid=102, ostemplate=TEMPLATE, rootfs="btr:2")
    assert api.cluster.resources.get(type="vm")[0]["lock"] == "create"


def test_a_missing_bridge_keeps_a_container_from_starting(pve: Simulator, api: Any, container: Make) -> None:
    container(net0="name=eth0,bridge=vnet1")
    with pytest.raises(ResourceException, match="bridge 'vnet1' does not exist"):
        api.nodes("pve1").lxc(102).status.start.post()


def test_status_of_a_stopped_locked_container_has_the_fields_of_a_real_one(
    pve: Simulator, api: Any, container: Make
) -> None:
    container()
    pve.world.set_lock(102, "backup")
    assert set(api.nodes("pve1").lxc(102).status.current.get()) == {
        "maxswap",
        "netin",
        "cpu",
        "mem",
        "lock",
        "uptime",
        "diskread",
        "cpus",
        "type",
        "disk",
        "netout",
        "ha",
        "status",
        "swap",
        "maxdisk",
        "vmid",
        "maxmem",
        "name",
        "diskwrite",
    }


def test_what_a_lock_refuses_at_once_and_what_it_does_not(pve: Simulator, api: Any, container: Make) -> None:
    container()
    one = api.nodes("pve1").lxc(102)
    one.config.put(lock="backup")
    for refused in (lambda: one.config.put(memory=384), lambda: one.delete(force=1), one.delete):
        with pytest.raises(ResourceException, match=r"CT is locked \(backup\)"):
            refused()
    with pytest.raises(ResourceException, match="CT 102 not running"):
        one.status.stop.post()


def test_a_template_or_storage_that_is_not_there_is_refused_at_once(api: Any) -> None:
    node = api.nodes("pve1")
    with pytest.raises(ResourceException, match=r"volume 'local:vztmpl/none\.tar\.zst' does not exist"):
        node.lxc.post(vmid=102, ostemplate="local:vztmpl/none.tar.zst")
    with pytest.raises(ResourceException, match="storage 'none' does not exist"):
        node.lxc.post(vmid=102, ostemplate=TEMPLATE, rootfs="none:2")
    assert api.cluster.resources.get(type="vm") == []


def test_a_missing_pool_leaves_nothing_behind(api: Any) -> None:
    with pytest.raises(ResourceException, match="pool 'none' does not exist"):
        api.nodes("pve1").lxc.post(vmid=102, ostemplate=TEMPLATE, rootfs="btr:2", pool="none")
    assert api.cluster.resources.get(type="vm") == []


def test_what_a_running_container_cannot_take_waits_for_its_next_start(
    api: Any, container: Make, outcome: Outcome
) -> None:
    container(start=1)
    one = api.nodes("pve1").lxc(102)
    one.config.put(features="nesting=1", memory=384)
    assert {"key": "features", "pending": "nesting=1"} in one.pending.get()
    assert {"key": "memory", "value": 384} in one.pending.get()
    outcome(one.status.reboot.post())
    assert one.config.get(current=1)["features"] == "nesting=1"


def test_a_mount_point_is_allocated_and_kept_as_unused_when_it_is_taken_off(
    pve: Simulator, api: Any, container: Make
) -> None:
    container()
    one = api.nodes("pve1").lxc(102)
    one.config.put(mp0="btr:1,mp=/data")
    assert one.config.get()["mp0"] == "btr:102/vm-102-disk-1.raw,mp=/data,size=1G"
    one.config.put(delete="mp0")
    config = one.config.get()
    assert ("mp0" in config, config["unused0"]) == (False, "btr:102/vm-102-disk-1.raw")
    one.config.put(mp1="btr:102/vm-102-disk-1.raw,mp=/data")
    assert "unused0" not in one.config.get()
    one.config.put(delete="mp1")
    one.config.put(delete="unused0")
    assert [volume.volid for volume in pve.world.volumes() if volume.vmid == 102] == [
        "btr:102/vm-102-disk-0.raw"
    ]


def test_an_address_that_was_given_out_stays(api: Any, container: Make) -> None:
    container(net0="name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01")
    assert "hwaddr=BC:24:11:00:00:01" in api.nodes("pve1").lxc(102).config.get()["net0"]
