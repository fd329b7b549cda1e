"""What is said of a guest that somebody else has made: its limits and its start order, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import Adopted, GuestConfig, GuestKind, Limits, Startup
from dsecos_agent.engines.proxmox import adopted, forms, options, properties
from dsecos_agent.engines.proxmox.options import Changes
from hypothesis import given
from hypothesis import strategies as st

from .samples import ETH0, GIB, LABELS, UID, told
from .world import OF_KIND, THEIRS

CONTAINER, VM = GuestKind.CONTAINER, GuestKind.VM
KINDS = pytest.mark.parametrize("kind", [CONTAINER, VM])
SHOP = GuestConfig(
    name="shop",
    owner_uid=UID,
    root=Adopted("105"),
    id_map=None,
    limits=Limits(cpu_millis=1500, memory_bytes=2 * GIB),
    startup=Startup(autostart=False, order=20, delay=5),
)


def shop(kind: GuestKind, **changes: Any) -> GuestConfig:
    return replace(SHOP, kind=kind, **changes)


def theirs(kind: GuestKind, **changes: Any) -> dict[str, Any]:
    return {**THEIRS, **OF_KIND[kind], **changes}


def changes(config: GuestConfig, raw: Mapping[str, Any]) -> Changes:
    return forms.of_config(config).config_changes(config, raw)


def changed(config: GuestConfig, raw: Mapping[str, Any]) -> dict[str, Any]:
    to_set, unwanted = changes(config, raw)
    found: dict[str, Any] = told(105, raw, to_set, unwanted)
    return found


def given_back(raw: Mapping[str, Any]) -> dict[str, Any]:
    to_set, unwanted = adopted.released(raw)
    found: dict[str, Any] = told(105, raw, to_set, unwanted)
    return {**found, "description": found.get("description", "").strip()}


@KINDS
def test_only_limits_start_order_and_marks_are_set(kind: GuestKind) -> None:
    to_set, unwanted = changes(shop(kind), theirs(kind))
    marks = {"tags", "description"}
    assert {key: value for key, value in to_set.items() if key not in marks} == {
        "cpulimit": "1.5",
        "memory": "2048",
        "onboot": "0",
        "startup": "order=20,up=5,down=60",
    }
    assert unwanted == ()
    assert properties.parse_tags(to_set["tags"])[:2] == ("ann", "dsecos")
    assert to_set["description"] == (
        f"{THEIRS['description']}\n\n"
        "dsecos.io/guest: shop\n"
        f"dsecos.io/owner-uid: {UID}\n"
        f"dsecos.io/config: {forms.of_config(shop(kind)).digests(shop(kind)).full}\n"
        "dsecos.io/adopted: cpulimit memory onboot startup\n"
        "dsecos.io/before: onboot=1 startup=order=3,up=5,down=60\n"
    )


LIMITS = st.builds(
    Limits, st.none() | st.integers(10, 64000), st.none() | st.integers(16 << 20, 64 * GIB), st.none()
)
CONFIGS = st.builds(
    shop,
    st.sampled_from([CONTAINER, VM]),
    name=LABELS,
    limits=LIMITS,
    startup=st.builds(Startup, st.booleans(), st.integers(0, 9999), st.integers(0, 600)),
)
WORDS = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.lists(LABELS, min_size=1, unique=True).map(lambda tags: ";".join(sorted(tags))),
        "description": st.text("abc \n", max_size=50),
        "onboot": st.sampled_from([0, 1]),
        "startup": st.sampled_from(["order=1", "up=30", "order=2,up=9,down=100", "7"]),
        "cpulimit": st.sampled_from([0, 1, "0.5"]),
        "memory": st.sampled_from([16, 512, "4096"]),
        "balloon": st.sampled_from([0, 16, 4096]),
        "swap": st.integers(0, 1024),
        "cores": st.integers(1, 64),
    },
)


@given(CONFIGS, WORDS)
def test_what_is_set_is_what_is_found(config: GuestConfig, raw: dict[str, Any]) -> None:
    form, after = forms.of_config(config), changed(config, raw)
    assert forms.of_found(config.kind, after) is form
    assert form.found_settings(after) == form.settings(config)
    assert form.found_digests(after) == form.digests(config)
    assert changes(config, after) == ({}, ())
    marks = options.owner_of(after)
    assert marks is not None
    assert (marks.guest, marks.owner_uid) == (config.name, config.owner_uid)


@given(CONFIGS, CONFIGS, WORDS)
def test_what_is_given_back_is_as_it_was_but_for_limits(
    config: GuestConfig, later: GuestConfig, raw: dict[str, Any]
) -> None:
    later = replace(later, name=config.name, kind=config.kind)
    after = given_back(changed(later, changed(config, raw)))
    mine = {"cpulimit", "memory", "balloon"}
    # Proxmox VE writes tags and descriptions its own way, and numbers are numbers.
    before = given_back(told(105, {}, raw))
    assert {key: str(value) for key, value in after.items() if key not in mine} == {
        key: str(value)
        for key, value in {**before, **{k: raw[k] for k in ("onboot", "startup") if k in raw}}.items()
        if key not in mine
    }
    assert not properties.is_marked(str(after.get("tags", "")), after["description"])


@given(CONFIGS, WORDS)
def test_a_limit_that_is_not_asked_for_stays(config: GuestConfig, raw: dict[str, Any]) -> None:
    config = replace(config, limits=Limits())
    after = changed(config, raw)
    for key in ("cpulimit", "memory", "balloon", "cores"):
        assert after.get(key) == raw.get(key)
    assert not {"cpulimit", "memory"} & forms.of_config(config).settings(config).keys()


@KINDS
def test_a_limit_that_is_taken_back_stays_and_is_nobodys(kind: GuestKind) -> None:
    after = changed(shop(kind, limits=Limits()), changed(shop(kind), theirs(kind)))
    assert after["memory"] == 2048
    assert options.marks_of(after).adopted == ("onboot", "startup")
    assert changes(shop(kind, limits=Limits()), {**after, "memory": 4096}) == ({}, ())


def test_memory_of_a_container_needs_no_restart_and_that_of_a_vm_does() -> None:
    more = Limits(cpu_millis=8000, memory_bytes=4 * GIB)
    container, vm = forms.ADOPTED[CONTAINER], forms.ADOPTED[VM]
    assert container.digests(shop(CONTAINER)).boot == container.digests(shop(CONTAINER, limits=more)).boot
    assert vm.digests(shop(VM)).boot != vm.digests(shop(VM, limits=more)).boot
    faster = replace(SHOP.limits, cpu_millis=8000)
    assert vm.digests(shop(VM)).boot == vm.digests(shop(VM, limits=faster)).boot


def test_a_balloon_never_holds_more_than_there_is() -> None:
    raw = theirs(VM, memory="8192", balloon="4096")
    assert changes(shop(VM), raw)[0]["balloon"] == "2048"
    assert "balloon" not in changes(shop(VM), theirs(VM, balloon="0"))[0]
    assert "balloon" not in changes(shop(VM), theirs(VM, balloon="2048"))[0]


def test_what_it_is_and_has_beside_is_not_asked_for() -> None:
    interfaces = shop(VM, interfaces=(ETH0,))
    with pytest.raises(UnsupportedError, match="its own"):
        forms.of_config(interfaces).settings(interfaces)
    named = shop(VM, name="shop\ndsecos.io/guest: other")
    with pytest.raises(UnsafeConfigError):
        forms.of_config(named).settings(named)


@pytest.mark.parametrize(
    ("raw", "disk"),
    [
        ({"boot": "order=virtio0;net0", "virtio0": "local:vm-1-disk-0,size=8G"}, "virtio0"),
        ({"boot": "order=ide2;sata0", "ide2": "none,media=cdrom", "sata0": "local:x,size=8G"}, "sata0"),
        ({"boot": "c", "bootdisk": "ide0", "ide0": "local:x,size=8G"}, "ide0"),
        ({"bootdisk": "scsi1", "scsi1": "local:x,size=8G"}, "scsi1"),
        ({"boot": "order=scsi0;scsi1", "scsi0": "local:x,size=8G", "scsi1": "local:y,size=8G"}, ""),
        ({"boot": "order=net0", "net0": "virtio=BC:24:11:F6:E6:00", "scsi0": "local:x,size=8G"}, ""),
        ({"boot": "order=scsi3", "scsi0": "local:x,size=8G"}, ""),
        ({"scsi0": "local:x,size=8G"}, ""),
    ],
)
def test_a_vms_disk_grows_only_where_it_can_be_told(raw: dict[str, str], disk: str) -> None:
    larger = shop(VM, root=Adopted("105", 9 * GIB))
    marked = changed(larger, raw)
    assert forms.root_disk(VM, marked) == disk
    for found in (raw, marked):
        assert forms.of_config(larger).growing(larger, found) == ({disk: 9 * GIB} if disk else {})
    smaller = shop(VM, root=Adopted("105", 7 * GIB))
    assert forms.of_config(smaller).growing(smaller, marked) == {}


def test_a_containers_root_grows() -> None:
    larger = shop(CONTAINER, root=Adopted("105", 9 * GIB))
    growing = forms.of_config(larger).growing
    assert growing(larger, {"rootfs": "local-lvm:vm-105-disk-0,size=8G"}) == {"rootfs": 9 * GIB}
    assert growing(larger, {"rootfs": "/srv/root"}) == {}
    assert growing(SHOP, {"rootfs": "local-lvm:vm-105-disk-0,size=8G"}) == {}


@pytest.mark.parametrize(
    ("tags", "description"),
    [
        ("dsecos", ""),
        ("dsecos-template", ""),
        ("prod;dsecos-uid-1", ""),
        ("", "dsecos.io/guest: shop"),
        ("", "Ask Ann.\n dsecos.io/anything: 1"),
    ],
)
def test_half_a_mark_is_a_mark(tags: str, description: str) -> None:
    assert properties.is_marked(tags, description)
    assert not properties.is_marked("prod;dsecosx", "the dsecos.io/guest: web line\nis a word of Ann's")
