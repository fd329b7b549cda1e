"""A container as options of Proxmox VE: what it is made with, and that nothing is changed for nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import (
    DiskMount,
    GuestConfig,
    Limits,
    Mount,
    RootDirectory,
    RootImage,
    Startup,
)
from dsecos_agent.engines.proxmox import container, options
from dsecos_agent.engines.proxmox.properties import Ownership
from hypothesis import given, settings
from hypothesis import strategies as st

from .samples import ETH0, GIB, TEMPLATE, UID, WEB, guests, told

DATA = DiskMount("data", 4 * GIB, "/srv/volumes/data")
LOGS = DiskMount("logs", 3 * GIB // 2, "/srv/volumes/logs", storage="slow")


def create(config: GuestConfig, **changes: Any) -> dict[str, str | int]:
    wanted: dict[str, Any] = {
        "vmid": 20001,
        "template_volid": TEMPLATE,
        "storage": "local-lvm",
        "resource_pool": "dsecos",
        **changes,
    }
    return container.create_parameters(config, **wanted)


def made(config: GuestConfig) -> dict[str, Any]:
    """As Proxmox VE tells it after it was created."""
    raw = {"arch": "amd64", "ostype": "debian", "digest": "9c0118d319124e6f7797ed7eba492221ee9211e4"}
    return dict(told(20001, raw, create(config)))


def changed(config: GuestConfig, raw: dict[str, Any]) -> dict[str, Any]:
    """As it is told after our changes."""
    to_set, delete = container.config_changes(config, raw)
    return dict(told(20001, raw, to_set, delete))


def test_a_guest_is_created_with_all_that_it_is() -> None:
    parameters = create(WEB)
    description = str(parameters.pop("description"))
    assert parameters == {
        "vmid": 20001,
        "ostemplate": TEMPLATE,
        "pool": "dsecos",
        "rootfs": "local-lvm:8",
        "hostname": "web-1a2b3c4d",
        "unprivileged": "1",
        "features": "nesting=1",
        "cores": "2",
        "cpulimit": "1.5",
        "memory": "512",
        "swap": "0",
        "onboot": "1",
        "startup": "order=20,up=5",
        "net0": (
            "name=eth0,bridge=dsz0001,firewall=0,hwaddr=02:AB:00:00:00:01,ip=10.80.0.2/32,type=veth,"
            "gw=10.80.0.1,mtu=1450"
        ),
        "tags": f"dsecos;dsecos-guest-web-1a2b3c4d;dsecos-uid-{UID}",
    }
    assert description.startswith(f"dsecos.io/guest: web-1a2b3c4d\ndsecos.io/owner-uid: {UID}\n")


def test_disks_are_numbered_by_name_and_backed_up() -> None:
    parameters = create(replace(WEB, disks=(LOGS, DATA)))
    assert parameters["mp0"] == "local-lvm:4,mp=/srv/volumes/data,backup=1"
    assert parameters["mp1"] == "slow:1.5,mp=/srv/volumes/logs,backup=1"


def test_a_disks_number_stays_whatever_comes_beside_it() -> None:
    raw = made(replace(WEB, disks=(DATA, LOGS)))
    more = replace(WEB, disks=(DiskMount("alpha", GIB, "/srv/volumes/alpha"), DATA, LOGS))
    to_set, delete = container.config_changes(more, raw)
    assert {key for key in to_set if key.startswith("mp")} == {"mp2"}
    assert delete == ()


def test_a_disk_that_is_not_wanted_any_more_is_detached() -> None:
    raw = made(replace(WEB, disks=(DATA, LOGS)))
    to_set, delete = container.config_changes(replace(WEB, disks=(LOGS,)), raw)
    assert delete == ("mp0",)
    assert set(to_set) == {"description"}


def test_a_renamed_disk_at_the_same_place_keeps_its_data() -> None:
    raw = made(replace(WEB, disks=(DATA,)))
    to_set, delete = container.config_changes(replace(WEB, disks=(replace(DATA, name="files"),)), raw)
    assert (set(to_set), delete) == ({"description"}, ())


@settings(max_examples=60, deadline=None)
@given(guests())
def test_what_was_created_needs_no_change(config: GuestConfig) -> None:
    raw = made(config)
    assert container.config_changes(config, raw) == ({}, ())
    assert container.found_settings(raw) == container.settings(config)
    assert container.found_digests(raw) == container.digests(config)
    assert container.owner_of(raw) == Ownership(config.name, config.owner_uid)


@settings(max_examples=60, deadline=None)
@given(guests(), guests())
def test_a_change_leads_from_any_guest_to_any_other_of_its_owner(
    before: GuestConfig, after: GuestConfig
) -> None:
    after = replace(after, name=before.name, owner_uid=before.owner_uid)
    raw = changed(after, made(before))
    assert container.config_changes(after, raw) == ({}, ())
    grown = {device: f"{size // 2**20}M" for device, size in container.growing(after, raw).items()}
    for device, size in grown.items():
        raw[device] = f"{raw[device].rpartition('size=')[0]}size={size}"
    assert container.growing(after, raw) == {}
    assert container.found_digests(raw) == container.digests(after)


@settings(max_examples=50, deadline=None)
@given(
    guests(),
    st.dictionaries(
        st.sampled_from(["hookscript", "mp31", "nameserver", "tty", "dev0", "net31"]), st.just("x=y")
    ),
)
def test_what_an_administrator_adds_beside_is_left_alone(config: GuestConfig, beside: dict[str, str]) -> None:
    assert container.config_changes(config, {**made(config), **beside}) == ({}, ())


@pytest.mark.parametrize(
    "way",
    [
        {"cores": "2", "memory": "512", "swap": "0", "onboot": "1", "cpulimit": "1.50"},
        {"features": "fuse=1,keyctl=1,nesting=1"},
        {"startup": "order=20,up=5,down=60"},
        {"tags": f"ann;dsecos-uid-{UID};dsecos-guest-web-1a2b3c4d;dsecos"},
        {
            "net0": "name=eth0,bridge=dsz0001,gw=10.80.0.1,hwaddr=02:ab:00:00:00:01,ip=10.80.0.2/32,"
            "mtu=1450,rate=10"
        },
        {"rootfs": "btr:20001/subvol-20001-disk-0.subvol,size=0T"},
    ],
)
def test_another_way_to_write_it_is_no_drift(way: dict[str, str]) -> None:
    assert container.config_changes(WEB, {**made(WEB), **way}) == ({}, ())


def test_options_at_their_default_may_be_missing() -> None:
    plain = replace(
        WEB,
        limits=Limits(memory_bytes=512 * 2**20),
        nesting=False,
        startup=Startup(order=1),
    )
    raw = made(plain)
    assert not {"cores", "features"} & set(raw)
    for option in ("cpulimit", "memory", "onboot"):
        raw.pop(option, None)
    assert container.config_changes(plain, raw) == ({}, ())


@pytest.mark.parametrize(
    ("behind_our_back", "name", "mended"),
    [
        ({"memory": 4096}, "memory", {"memory": "512"}),
        ({"cpulimit": 0}, "cpulimit", {"cpulimit": "1.5"}),
        ({"swap": 512}, "swap", {"swap": "0"}),
        ({"onboot": 0}, "onboot", {"onboot": "1"}),
        ({"hostname": "other"}, "hostname", {"hostname": "web-1a2b3c4d"}),
        ({"features": "keyctl=1"}, "nesting", {"features": "keyctl=1,nesting=1"}),
        ({"startup": "order=1,down=60"}, "startup", {"startup": "order=20,up=5,down=60"}),
    ],
)
def test_what_was_changed_behind_our_back_is_seen_and_set_again(
    behind_our_back: dict[str, Any], name: str, mended: dict[str, str]
) -> None:
    raw = {**made(WEB), **behind_our_back}
    wanted, found = container.settings(WEB), container.found_settings(raw)
    assert [key for key in wanted if wanted[key] != found[key]] == [name]
    assert container.config_changes(WEB, raw) == (mended, ())


def test_an_interface_led_into_another_network_is_led_back_and_keeps_its_rate() -> None:
    raw = made(WEB)
    raw["net0"] = f"{raw['net0']},tag=7,rate=10"
    to_set, _ = container.config_changes(WEB, raw)
    assert set(to_set) == {"net0"}
    assert "tag" not in to_set["net0"]
    assert to_set["net0"].endswith("rate=10")


def test_a_limit_that_ended_is_taken_away() -> None:
    raw = made(WEB)
    to_set, delete = container.config_changes(replace(WEB, limits=Limits(memory_bytes=512 * 2**20)), raw)
    assert (to_set.pop("cpulimit"), set(to_set), delete) == ("0", {"description"}, ("cores",))


def test_memory_is_rounded_up_to_whole_mebibytes() -> None:
    assert create(replace(WEB, limits=Limits(memory_bytes=512 * 2**20 + 1)))["memory"] == "513"
    assert create(replace(WEB, limits=Limits()))["memory"] == "512"
    assert create(replace(WEB, limits=Limits(memory_bytes=1)))["memory"] == "16"


def test_a_disk_that_is_too_small_grows_and_none_shrinks() -> None:
    raw = made(replace(WEB, disks=(DATA,)))
    assert container.disk_bytes(raw) == 8 * GIB
    larger = replace(WEB, root=RootImage("debian-13-docker", 9 * GIB), disks=(replace(DATA, size=5 * GIB),))
    assert container.growing(larger, raw) == {"rootfs": 9 * GIB, "mp0": 5 * GIB}
    assert container.digests(larger).full != container.found_digests(raw).full
    smaller = replace(WEB, root=RootImage("debian-13-docker", GIB), disks=(replace(DATA, size=GIB),))
    assert container.growing(smaller, raw) == {}
    assert container.found_settings(changed(smaller, raw)) == container.settings(smaller)


def test_a_subvolume_without_a_quota_has_no_size() -> None:
    raw = {**made(WEB), "rootfs": "btr:1/subvol-1-disk-0.subvol,size=0T"}
    assert container.disk_bytes(raw) is None
    assert container.growing(WEB, raw) == {}


def test_a_restart_is_due_only_for_what_needs_one() -> None:
    boot = container.digests(WEB).boot
    live = replace(WEB, limits=Limits(1, GIB), startup=Startup(), interfaces=(), disks=(DATA,))
    assert container.digests(live).boot == boot
    assert container.digests(live).full != container.digests(WEB).full
    assert container.digests(replace(WEB, hostname="other")).boot != boot
    assert container.digests(replace(WEB, nesting=False)).boot != boot


def test_what_it_was_started_with_is_written_down_and_survives_changes() -> None:
    raw = made(WEB)
    raw = told(20001, raw, options.booted(raw, container.digests(WEB).boot))
    raw = changed(replace(WEB, hostname="other"), raw)
    assert options.marks_of(raw).boot == container.digests(WEB).boot


def test_ports_are_those_that_proxmox_names() -> None:
    assert container.ports(20001, {**made(WEB), "net5": "name=eth5,bridge=vmbr0"}) == ("veth20001i0",)


def test_an_adopted_container_keeps_its_devices_and_is_released_as_it_was() -> None:
    theirs = {
        "hostname": "old",
        "unprivileged": 1,
        "rootfs": "btr:101/vm-101-disk-0.raw,size=8G",
        "mp3": "btr:101/vm-101-disk-1.raw,mp=/srv/volumes/data,size=4G",
        "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:F6:E6:00,ip=dhcp,type=veth",
        "description": "Ann's\n",
        "tags": "prod",
    }
    ours = replace(WEB, disks=(DATA,))
    raw = changed(ours, theirs)
    assert container.config_changes(ours, raw) == ({}, ())
    assert raw["mp3"] == "btr:101/vm-101-disk-1.raw,mp=/srv/volumes/data,size=4G,backup=1"
    assert "mp0" not in raw
    assert options.unmarked(raw) == ({"tags": "prod", "description": "Ann's"}, ())
    assert options.unmarked(made(WEB)) == ({}, ("description", "tags"))


def test_a_clone_is_claimed_before_it_is_owned() -> None:
    raw = {key: value for key, value in made(WEB).items() if key != "tags"}
    assert container.owner_of(raw) is None
    assert container.claim_of(raw) == Ownership(WEB.name, UID)


def test_an_administrator_may_let_the_host_set_addresses() -> None:
    raw = made(WEB)
    raw["net0"] = f"{raw['net0']},host-managed=1"
    assert container.config_changes(WEB, raw) == ({}, ())
    moved = replace(WEB, interfaces=(replace(ETH0, bridge="dsz0002"),))
    assert container.config_changes(moved, raw)[0]["net0"].endswith("host-managed=1")


def test_directories_of_the_host_are_told_apart_from_disks() -> None:
    trust = Mount(
        Path("/var/lib/dsecos/trust"), "/etc/docker/certs.d", read_only=True, idmapped=False, executable=False
    )
    config = replace(WEB, mounts=(trust,))
    text = "/var/lib/dsecos/trust,mp=/etc/docker/certs.d,shared=1,ro=1,mountoptions=nosuid;noexec"
    found = {"mp128": text}
    assert container.host_mounts(config) == found
    assert not any(key.startswith("mp") for key in create(config))
    assert container.found_settings({**made(config), **found}) == container.settings(config)
    with pytest.raises(UnsupportedError, match="map the ids"):
        container.host_mounts(replace(WEB, mounts=(replace(trust, idmapped=True),)))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(WEB, hostname="a,b=c"),
        replace(WEB, name="Web"),
        replace(WEB, owner_uid="x\ndsecos.io/guest: y"),
        replace(WEB, interfaces=(replace(ETH0, bridge="vmbr0,tag=7"),)),
        replace(WEB, interfaces=(replace(ETH0, mac="02:ab:00:00:00:01,tag=7"),)),
        replace(WEB, interfaces=(replace(ETH0, name="eth0,tag=7"),)),
        replace(WEB, disks=(replace(DATA, target="/data,ro=1"),)),
        replace(WEB, disks=(replace(DATA, target="/srv/../etc"),)),
        replace(WEB, disks=(replace(DATA, target="data"),)),
        replace(WEB, disks=(replace(DATA, storage="/etc"),)),
        replace(WEB, disks=(replace(DATA, name="data mp1=root"),)),
        replace(WEB, root=RootDirectory(Path("/x"))),
    ],
)
def test_what_proxmox_would_read_otherwise_is_refused(wrong: GuestConfig) -> None:
    with pytest.raises(UnsafeConfigError):
        create(wrong)


@pytest.mark.parametrize(
    "wish",
    [
        replace(WEB, privileged=True),
        replace(WEB, environment={"A": "b"}),
        replace(WEB, init=("/bin/true",)),
    ],
)
def test_what_proxmox_cannot_do_is_said(wish: GuestConfig) -> None:
    with pytest.raises(UnsupportedError):
        create(wish)


def test_a_guest_never_becomes_privileged_behind_our_back() -> None:
    with pytest.raises(UnsupportedError, match="made anew"):
        container.config_changes(WEB, {**made(WEB), "unprivileged": 0})
    bare = replace(WEB, privileged=True, nesting=False)
    assert create(bare)["unprivileged"] == "0"
