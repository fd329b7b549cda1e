"""A VM as options of Proxmox VE: a clone, what it becomes, and that nothing is changed for nothing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import DiskMount, GuestConfig, GuestKind, Limits, Mount, RootImage, Startup
from dsecos_agent.engines.proxmox import machine
from dsecos_agent.engines.proxmox.properties import Ownership
from hypothesis import given, settings
from hypothesis import strategies as st

from .samples import GIB, UID, WEB, guests, told

VM = replace(WEB, kind=GuestKind.VM)
TEMPLATE = {
    "name": "dsecos-debian-13-docker",
    "tags": "dsecos-template",
    "scsi0": "local-lvm:base-900-disk-0,discard=on,size=3G",
    "scsihw": "virtio-scsi-single",
    "boot": "order=scsi0;net0",
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1",
    "net1": "virtio=BC:24:11:00:00:02,bridge=vmbr1",
    "ciuser": "admin",
    "memory": "2048",
    "agent": "1,fstrim_cloned_disks=1",
}


def cloned(config: GuestConfig, **beside: Any) -> dict[str, Any]:
    """As Proxmox VE tells a fresh clone: what its template had, and what the clone was asked with."""
    asked = machine.clone_parameters(config, vmid=20001, storage="local-lvm", resource_pool="dsecos")
    raw = told(20001, {key: value for key, value in TEMPLATE.items() if key != "template"}, asked)
    return {**raw, "scsi0": "local-lvm:vm-20001-disk-0,discard=on,size=3G", **beside}


def made(config: GuestConfig) -> dict[str, Any]:
    """As it is told after it was configured."""
    return changed(config, cloned(config))


def changed(config: GuestConfig, raw: dict[str, Any]) -> dict[str, Any]:
    to_set, delete = machine.config_changes(config, raw)
    return dict(told(20001, raw, to_set, delete))


def test_a_clone_is_asked_for_with_its_name_and_its_owner() -> None:
    asked = machine.clone_parameters(VM, vmid=20001, storage="local-lvm", resource_pool="dsecos")
    description = str(asked.pop("description"))
    assert asked == {
        "newid": 20001,
        "name": "web-1a2b3c4d",
        "full": 1,
        "pool": "dsecos",
        "storage": "local-lvm",
    }
    assert UID in description


def test_a_linked_clone_lies_where_its_template_does() -> None:
    asked = machine.clone_parameters(VM, vmid=1, storage="local-lvm", resource_pool=None, linked=True)
    assert (asked["full"], "storage" in asked, "pool" in asked) == (0, False, False)


def test_a_fresh_clone_is_claimed_and_becomes_owned() -> None:
    raw = cloned(VM)
    assert (machine.claim_of(raw), machine.owner_of(raw)) == (Ownership(WEB.name, UID), None)
    assert machine.owner_of(changed(VM, raw)) == Ownership(WEB.name, UID)


def test_a_clone_becomes_all_that_it_is_to_be() -> None:
    to_set, delete = machine.config_changes(VM, cloned(VM))
    assert "dsecos.io/devices: net0=eth0" in to_set.pop("description")
    assert to_set == {
        "cores": "2",
        "cpulimit": "1.5",
        "memory": "512",
        "balloon": "0",
        "onboot": "1",
        "startup": "order=20,up=5",
        "cpu": "x86-64-v2-AES",
        "boot": "order=scsi0",
        "serial0": "socket",
        "vga": "serial0",
        "ide2": "local-lvm:cloudinit",
        "net0": "virtio=02:AB:00:00:00:01,bridge=dsz0001,firewall=0,mtu=1450",
        "ipconfig0": "gw=10.80.0.1,ip=10.80.0.2/32",
        "tags": f"dsecos;dsecos-guest-web-1a2b3c4d;dsecos-uid-{UID}",
    }
    assert delete == ("net1",)


@settings(max_examples=60, deadline=None)
@given(guests(GuestKind.VM))
def test_what_was_configured_needs_no_change(config: GuestConfig) -> None:
    raw = made(config)
    assert machine.config_changes(config, raw) == ({}, ())
    assert machine.found_settings(raw) == machine.settings(config)
    assert machine.found_digests(raw) == machine.digests(config)


@settings(max_examples=60, deadline=None)
@given(guests(GuestKind.VM), guests(GuestKind.VM))
def test_a_change_leads_from_any_vm_to_any_other_of_its_owner(
    before: GuestConfig, after: GuestConfig
) -> None:
    after = replace(after, name=before.name, owner_uid=before.owner_uid)
    raw = changed(after, made(before))
    assert machine.config_changes(after, raw) == ({}, ())
    assert machine.found_digests(raw) == machine.digests(after)


@settings(max_examples=50, deadline=None)
@given(
    guests(GuestKind.VM),
    st.dictionaries(
        st.sampled_from(["hookscript", "scsi7", "ciuser", "sshkeys", "nameserver", "net31", "cicustom"]),
        st.just("x=y"),
    ),
)
def test_what_an_administrator_adds_beside_is_left_alone(config: GuestConfig, beside: dict[str, str]) -> None:
    assert machine.config_changes(config, {**made(config), **beside}) == ({}, ())


@pytest.mark.parametrize(
    "way",
    [
        {"memory": "current=512"},
        {"memory": 512, "balloon": "0", "onboot": "1", "cpulimit": "1.500"},
        {"agent": "enabled=1,type=virtio"},
        {"cpu": "cputype=x86-64-v2-AES,flags=+aes"},
        {"vga": "type=serial0,memory=16"},
        {"net0": "model=virtio,macaddr=02:ab:00:00:00:01,bridge=dsz0001,mtu=1450,queues=2"},
        {"ipconfig0": "ip=10.80.0.2/32,gw=10.80.0.1"},
    ],
)
def test_another_way_to_write_it_is_no_drift(way: dict[str, Any]) -> None:
    assert machine.config_changes(VM, {**made(VM), **way}) == ({}, ())


def test_a_cloud_init_drive_may_lie_anywhere() -> None:
    raw = made(VM)
    del raw["ide2"]
    raw["sata1"] = "local-lvm:vm-20001-cloudinit,media=cdrom"
    assert machine.config_changes(VM, raw) == ({}, ())


@pytest.mark.parametrize(
    ("behind_our_back", "name"),
    [
        ({"memory": "4096"}, "memory"),
        ({"agent": "0"}, "agent"),
        ({"boot": "order=net0"}, "boot"),
        ({"ipconfig0": "ip=dhcp"}, "address eth0"),
        ({"net0": "virtio=02:AB:00:00:00:01,bridge=dsz0001,mtu=1450,tag=7"}, "interface eth0"),
    ],
)
def test_what_was_changed_behind_our_back_is_seen_and_set_again(
    behind_our_back: dict[str, str], name: str
) -> None:
    raw = {**made(VM), **behind_our_back}
    wanted, found = machine.settings(VM), machine.found_settings(raw)
    assert [key for key in wanted if wanted[key] != found[key]] == [name]
    to_set, delete = machine.config_changes(VM, raw)
    assert (set(to_set), delete) == (set(behind_our_back), ())
    assert machine.config_changes(VM, changed(VM, raw)) == ({}, ())


def test_a_restart_is_due_for_what_a_running_vm_does_not_take_over() -> None:
    boot = machine.digests(VM).boot
    assert machine.digests(replace(VM, startup=Startup())).boot == boot
    assert machine.digests(replace(VM, limits=Limits(1100, 512 * 2**20))).boot == boot
    assert machine.digests(replace(VM, limits=Limits(1500, GIB))).boot != boot
    moved = replace(WEB.interfaces[0], gateway=IPv4Address("10.80.0.9"))
    assert machine.digests(replace(VM, interfaces=(moved,))).boot != boot


def test_its_disk_grows_and_never_shrinks() -> None:
    raw = made(VM)
    assert machine.disk_bytes(raw) == 3 * GIB
    assert machine.growing(VM, raw) == {"scsi0": 8 * GIB}
    assert machine.growing(replace(VM, root=RootImage("x", GIB)), raw) == {}


def test_ports_are_those_that_proxmox_names() -> None:
    assert machine.ports(20001, {**made(VM), "net5": "virtio=BC:24:11:00:00:05"}) == ("tap20001i0",)


def test_an_adopted_vm_keeps_what_it_has_beside_our_interface() -> None:
    theirs = {**TEMPLATE, "description": "Ann's\n", "tags": "prod"}
    to_set, delete = machine.config_changes(VM, theirs)
    assert to_set["net0"].startswith("virtio=02:AB:00:00:00:01,bridge=dsz0001")
    assert ("net1" in to_set, delete) == (False, ())
    assert machine.config_changes(VM, changed(VM, theirs)) == ({}, ())


def test_a_template_without_its_disk_is_said() -> None:
    raw = cloned(VM)
    del raw["scsi0"]
    with pytest.raises(UnsupportedError, match="no disk at scsi0"):
        machine.config_changes(VM, raw)


def test_disks_and_directories_beside_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="one disk"):
        machine.settings(replace(VM, disks=(DiskMount("data", GIB, "/data"),)))
    with pytest.raises(UnsupportedError, match="one disk"):
        machine.settings(replace(VM, mounts=(Mount(Path("/x"), "/x"),)))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(VM, hostname="a,b"),
        replace(VM, interfaces=(replace(WEB.interfaces[0], bridge="vmbr0,tag=7"),)),
        replace(VM, interfaces=WEB.interfaces * 2),
    ],
)
def test_what_proxmox_would_read_otherwise_is_refused(wrong: GuestConfig) -> None:
    with pytest.raises(UnsafeConfigError):
        machine.settings(wrong)
