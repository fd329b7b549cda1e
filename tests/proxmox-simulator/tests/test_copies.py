"""Clones, templates, moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dsecos_proxmox_simulator import Simulator
from proxmoxer.core import ResourceException

Make = Callable[..., int]
Outcome = Callable[[str], str]


def message(call: Callable[..., Any], **parameters: Any) -> str:
    with pytest.raises(ResourceException) as error:
        call(**parameters)
    return str(error.value.content)


def test_only_a_template_is_cloned_by_link(api: Any, container: Make, outcome: Outcome) -> None:
    container()
    one = api.nodes("pve1").lxc(102)
    refused = "Linked clone feature for 'btr:102/vm-102-disk-0.raw' is not available"
    assert message(one.clone.post, newid=103, full=0) == refused
    assert one.template.post() is None
    upid = one.clone.post(newid=103, hostname="copy")
    assert ":vzclone:102:" in upid
    assert outcome(upid) == "OK"
    assert api.nodes("pve1").lxc(103).config.get()["hostname"] == "copy"
    assert one.config.get()["rootfs"] == "btr:102/base-102-disk-0.raw,size=2G"


def test_a_directory_cannot_clone_by_link(api: Any, container: Make) -> None:
    container(rootfs="local:2")
    one = api.nodes("pve1").lxc(102)
    one.template.post()
    assert "is not available" in message(one.clone.post, newid=103)


def test_cloning_one_template_twice_at_once_finds_it_locked(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    container()
    one = api.nodes("pve1").lxc(102)
    one.template.post()
    pve.world.pace = 0.1
    first = one.clone.post(newid=103)
    assert message(one.clone.post, newid=104) == "CT is locked (disk)"
    assert outcome(first) == "OK"
    assert outcome(one.clone.post(newid=104)) == "OK"


def test_a_template_in_use_is_not_destroyed(api: Any, container: Make, outcome: Outcome) -> None:
    container()
    one = api.nodes("pve1").lxc(102)
    one.template.post()
    outcome(one.clone.post(newid=103))
    assert "is still in use by linked cloned" in outcome(one.delete())


def test_a_running_container_moves_only_by_a_restart(api: Any, container: Make, outcome: Outcome) -> None:
    container(start=1)
    one = api.nodes("pve1").lxc(102)
    refused = "Can't migrate running container without --online or --restart"
    assert message(one.migrate.post, target="pve2") == refused
    assert "not implemented" in outcome(one.migrate.post(target="pve2", online=1))
    assert outcome(one.migrate.post(target="pve2", restart=1)) == "OK"
    assert api.nodes("pve2").lxc(102).status.current.get()["status"] == "running"
    assert message(one.config.get) == "Configuration file 'nodes/pve1/lxc/102.conf' does not exist"


def test_the_own_node_is_no_target(api: Any, container: Make) -> None:
    container()
    with pytest.raises(ResourceException) as error:
        api.nodes("pve1").lxc(102).migrate.post(target="pve1")
    assert error.value.errors == {"target": "target is local node."}


def test_a_running_machine_moves_online_and_its_local_disks_when_asked(
    api: Any, machine: Make, outcome: Outcome
) -> None:
    machine(start=1)
    one = api.nodes("pve1").qemu(200)
    assert "without --online" in message(one.migrate.post, target="pve2")
    assert outcome(one.migrate.post(target="pve2", online=1)) == "migration aborted"
    assert outcome(one.migrate.post(target="pve2", online=1, **{"with-local-disks": 1})) == "OK"
    assert api.nodes("pve2").qemu(200).status.current.get()["status"] == "running"


def test_a_volume_moves_between_storages_while_the_container_is_stopped(
    api: Any, container: Make, outcome: Outcome
) -> None:
    container(start=1)
    one = api.nodes("pve1").lxc(102)
    parameters = {"volume": "rootfs", "storage": "local-lvm", "delete": 1}
    assert message(one.move_volume.post, **parameters) == "cannot move volumes of a running container"
    outcome(one.status.stop.post())
    assert outcome(one.move_volume.post(**parameters)) == "OK"
    assert one.config.get()["rootfs"] == "local-lvm:vm-102-disk-0,size=2G"


def test_what_moved_behind_everybodys_back_is_found_elsewhere(
    pve: Simulator, api: Any, container: Make
) -> None:
    container()
    pve.world.move_guest(102, "pve2")
    assert "does not exist" in message(api.nodes("pve1").lxc(102).config.get)
    assert [row["node"] for row in api.cluster.resources.get(type="vm")] == ["pve2"]
