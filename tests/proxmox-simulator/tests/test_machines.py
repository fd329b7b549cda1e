"""Virtual machines: what differs from containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dsecos_proxmox_simulator import Guest, Simulator
from dsecos_proxmox_simulator.faults import SilentAgent
from proxmoxer.core import ResourceException

Make = Callable[..., int]
Outcome = Callable[[str], str]


def test_disks_and_networks_are_written_as_proxmox_writes_them(api: Any, machine: Make) -> None:
    machine(ide2="local-lvm:cloudinit", ciuser="admin", ipconfig0="ip=10.0.0.2/24", cipassword="secret")
    config = api.nodes("pve1").qemu(200).config.get()
    assert config["scsi0"] == "local-lvm:vm-200-disk-0,size=8G"
    assert config["ide2"].startswith("local-lvm:vm-200-cloudinit,media=cdrom")
    assert config["net0"].startswith("virtio=BC:24:11:")
    assert config["net0"].endswith(",bridge=vmbr0")
    assert (config["memory"], config["cipassword"]) == ("2048", "**********")


def test_suspend_and_resume_work(api: Any, machine: Make, outcome: Outcome) -> None:
    machine(start=1)
    one = api.nodes("pve1").qemu(200)
    assert outcome(one.status.suspend.post()) == "OK"
    assert one.status.current.get()["qmpstatus"] == "paused"
    assert outcome(one.status.resume.post()) == "OK"
    assert one.status.current.get()["qmpstatus"] == "running"


def test_suspending_to_disk_stops_it_and_leaves_a_lock(api: Any, machine: Make, outcome: Outcome) -> None:
    machine(start=1)
    one = api.nodes("pve1").qemu(200)
    assert outcome(one.status.suspend.post(todisk=1)) == "OK"
    status = one.status.current.get()
    assert (status["status"], status["lock"]) == ("stopped", "suspended")
    assert outcome(one.status.resume.post()) == "OK"
    assert "lock" not in one.status.current.get()


def test_starting_what_runs_fails_in_the_task_and_stopping_what_is_stopped_is_well(
    api: Any, machine: Make, outcome: Outcome
) -> None:
    machine(start=1)
    one = api.nodes("pve1").qemu(200)
    assert outcome(one.status.start.post()) == "VM 200 already running"
    assert outcome(one.status.stop.post()) == "OK"
    assert outcome(one.status.stop.post()) == "OK"


def test_one_that_does_not_listen_is_stopped_only_by_force(
    pve: Simulator, api: Any, machine: Make, outcome: Outcome
) -> None:
    machine(start=1)
    pve.world.deaf.add(200)
    one = api.nodes("pve1").qemu(200)
    assert outcome(one.status.shutdown.post(timeout=5)) == "VM quit/powerdown failed - got timeout"
    assert outcome(one.status.shutdown.post(timeout=5, forceStop=1)) == "OK"
    assert one.status.current.get()["status"] == "stopped"


def test_a_disk_grows_and_does_not_shrink(api: Any, machine: Make, outcome: Outcome) -> None:
    machine()
    one = api.nodes("pve1").qemu(200)
    assert outcome(one.resize.put(disk="scsi0", size="+1G")) == "OK"
    assert one.config.get()["scsi0"] == "local-lvm:vm-200-disk-0,size=9G"
    with pytest.raises(ResourceException, match="shrinking disks is not supported"):
        one.resize.put(disk="scsi0", size="1G")


def test_a_running_one_takes_more_memory_at_its_next_start(api: Any, machine: Make, outcome: Outcome) -> None:
    machine(start=1)
    one = api.nodes("pve1").qemu(200)
    one.config.put(memory=4096)
    assert {"key": "memory", "value": "2048", "pending": "4096"} in one.pending.get()
    outcome(one.status.reboot.post())
    assert one.config.get(current=1)["memory"] == "4096"


def test_a_balloon_holds_no_more_than_there_is(api: Any, machine: Make) -> None:
    machine(memory=1024, balloon=512)
    with pytest.raises(ResourceException, match="balloon value too large"):
        api.nodes("pve1").qemu(200).config.put(memory=256)
    api.nodes("pve1").qemu(200).config.put(memory=256, balloon=256)


def test_commands_run_through_the_guest_agent(pve: Simulator, api: Any, machine: Make) -> None:
    def run(_guest: Guest, command: list[str], text: str) -> tuple[int, str, str]:
        return 3, f"{command} {text}", ""

    pve.world.run_in_guest = run
    machine(start=1, agent="enabled=1")
    agent = api.nodes("pve1").qemu(200).agent
    pid = agent("exec").post(command=["ls", "-l"], **{"input-data": "hello"})["pid"]
    assert agent("exec-status").get(pid=pid) == {"exited": 1, "exitcode": 3, "out-data": "['ls', '-l'] hello"}


def test_the_guest_agent_takes_and_gives_bytes_and_no_text(pve: Simulator, api: Any, machine: Make) -> None:
    pve.world.run_in_guest = lambda _, __, text: (0, text, "5 €")
    machine(start=1, agent="enabled=1")
    agent = api.nodes("pve1").qemu(200).agent
    with pytest.raises(ResourceException, match="Wide character"):
        agent("exec").post(command=["cat"], **{"input-data": "5 €"})
    pid = agent("exec").post(command=["cat"], **{"input-data": "gr\xc3\xbcn"})["pid"]
    told = agent("exec-status").get(pid=pid)
    assert (told["out-data"], told["err-data"]) == ("gr\xc3\xbcn", "5 \xe2\x82\xac")


def test_a_guest_agent_may_miss_a_look(pve: Simulator, api: Any, machine: Make) -> None:
    machine(start=1, agent="enabled=1")
    agent = api.nodes("pve1").qemu(200).agent
    pid = agent("exec").post(command=["true"])["pid"]
    pve.faults.once("GET", "/nodes/{node}/qemu/{vmid}/agent/exec-status", SilentAgent())
    with pytest.raises(ResourceException, match="QEMU guest agent is not running"):
        agent("exec-status").get(pid=pid)
    assert agent("exec-status").get(pid=pid)["exited"] == 1


@pytest.mark.parametrize(
    ("options", "running", "message"),
    [
        ({"agent": "1"}, False, "VM 200 is not running"),
        ({"start": 1}, True, "No QEMU guest agent configured"),
        ({"start": 1, "agent": "1"}, False, "QEMU guest agent is not running"),
    ],
)
def test_without_an_agent_the_error_says_what_is_missing(
    pve: Simulator, api: Any, machine: Make, options: dict[str, Any], running: bool, message: str
) -> None:
    machine(**options)
    guest = pve.world.guest(200)
    assert guest is not None
    guest.agent_running = running
    with pytest.raises(ResourceException) as error:
        api.nodes("pve1").qemu(200).agent.ping.post()
    assert error.value.content == message


def test_destroying_what_runs_is_refused_and_its_disks_go_with_it(
    pve: Simulator, api: Any, machine: Make, outcome: Outcome
) -> None:
    machine(start=1)
    one = api.nodes("pve1").qemu(200)
    with pytest.raises(ResourceException, match="VM 200 is running - destroy failed"):
        one.delete()
    outcome(one.status.stop.post())
    assert outcome(one.delete(purge=1)) == "OK"
    assert [volume for volume in pve.world.volumes() if volume.vmid == 200] == []


def test_an_id_that_a_container_has_is_taken(api: Any, container: Make) -> None:
    container(200)
    with pytest.raises(ResourceException) as error:
        api.nodes("pve1").qemu.post(vmid=200)
    assert error.value.content == "unable to create VM 200 - CT 200 already exists on node 'pve1'"


def test_a_full_storage_fails_the_create_and_leaves_nothing(
    pve: Simulator, api: Any, outcome: Outcome
) -> None:
    pve.world.fill("local-lvm")
    result = outcome(api.nodes("pve1").qemu.post(vmid=200, scsi0="local-lvm:8"))
    assert result.startswith("unable to create VM 200 - lvcreate 'local-lvm/vm-200-disk-0' error:")
    assert pve.world.guest(200) is None
