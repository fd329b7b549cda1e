"""Every fault does what it says, once or by seeded chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dsecos_proxmox_simulator import (
    DroppedConnection,
    ExpiredTicket,
    FailedTask,
    Faults,
    GatewayError,
    HeldLock,
    IdTaken,
    LockTimeout,
    LostAnswer,
    NodeGone,
    NoWorker,
    Simulator,
    SlowTask,
    TaskUnknown,
    WarnedTask,
    World,
)
from dsecos_proxmox_simulator.faults import Fault
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException
from requests.exceptions import ConnectionError as ConnectionLost

TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
LXC = "/nodes/{node}/lxc"
START = "/nodes/{node}/lxc/{vmid}/status/start"
Make = Callable[..., int]
Outcome = Callable[[str], str]


def create(api: Any, vmid: int = 102) -> Any:
    return api.nodes("pve1").lxc.post(vmid=vmid, ostemplate=TEMPLATE, rootfs="btr:2")


def test_a_lost_answer_leaves_the_change_behind(pve: Simulator, api: Any) -> None:
    pve.faults.once("POST", LXC, LostAnswer())
    with pytest.raises(ConnectionLost):
        create(api)
    assert pve.world.guest(102) is not None
    assert (pve.calls[-1].status, pve.calls[-1].done) == (0, True)


def test_a_dropped_connection_changes_nothing(pve: Simulator, api: Any) -> None:
    pve.faults.once("POST", LXC, DroppedConnection())
    with pytest.raises(ConnectionLost):
        create(api)
    assert pve.world.guest(102) is None
    assert (pve.calls[-1].status, pve.calls[-1].done) == (0, False)


@pytest.mark.parametrize("status", [595, 596, 599])
@pytest.mark.parametrize("done", [True, False])
def test_a_gateway_error_tells_nothing_about_the_outcome(
    pve: Simulator, api: Any, status: int, done: bool
) -> None:
    pve.faults.once("POST", LXC, GatewayError(status, done))
    with pytest.raises(ResourceException) as error:
        create(api)
    assert error.value.status_code == status
    assert error.value.errors == {"errors": b""}
    assert (pve.world.guest(102) is not None) == done


def test_no_worker_means_that_nothing_was_begun(pve: Simulator, api: Any) -> None:
    pve.faults.once("POST", LXC, NoWorker())
    with pytest.raises(ResourceException, match="got no worker upid"):
        create(api)
    assert pve.issued() == []


def test_a_new_task_may_be_unknown_at_first(pve: Simulator, api: Any) -> None:
    pve.faults.once("GET", "/nodes/{node}/tasks/{upid}/status", TaskUnknown())
    upid = create(api)
    with pytest.raises(ResourceException) as error:
        api.nodes("pve1").tasks(upid).status.get()
    assert error.value.status_code == 400
    assert api.nodes("pve1").tasks(upid).status.get()["upid"] == upid


def test_a_ticket_may_expire_at_any_request(pve: Simulator, api: Any) -> None:
    pve.faults.once("GET", "/nodes", ExpiredTicket())
    with pytest.raises(ResourceException) as error:
        api.nodes.get()
    assert (error.value.status_code, error.value.errors) == (401, {"errors": b""})


def test_an_id_may_be_taken_between_nextid_and_create(pve: Simulator, api: Any) -> None:
    pve.faults.once("POST", LXC, IdTaken())
    vmid = int(api.cluster.nextid.get())
    with pytest.raises(ResourceException, match=f"CT {vmid} already exists on node 'pve1'"):
        create(api, vmid)
    found = pve.world.guest(vmid)
    assert found is not None
    assert found.name == "foreign"


def test_a_lock_is_held_for_a_while(pve: Simulator, api: Any, container: Make, outcome: Outcome) -> None:
    container()
    pve.world.pace = 0.02
    pve.faults.once("PUT", "/nodes/{node}/lxc/{vmid}/config", HeldLock(seconds=5))
    with pytest.raises(ResourceException, match=r"CT is locked \(backup\)"):
        api.nodes("pve1").lxc(102).config.put(memory=384)
    assert pve.tasks.wait_idle()
    api.nodes("pve1").lxc(102).config.put(memory=384)


def test_the_lock_of_the_file_may_not_be_had(pve: Simulator, api: Any, container: Make) -> None:
    container()
    pve.faults.once("PUT", "/nodes/{node}/lxc/{vmid}/config", LockTimeout())
    with pytest.raises(ResourceException, match=r"can't lock file .* - got timeout"):
        api.nodes("pve1").lxc(102).config.put(memory=384)


def test_a_slow_task_runs_on(pve: Simulator, api: Any) -> None:
    pve.faults.once("POST", LXC, SlowTask(factor=100_000))
    upid = create(api)
    assert api.nodes("pve1").tasks(upid).status.get()["status"] == "running"


def test_a_task_may_end_with_warnings(pve: Simulator, api: Any, outcome: Outcome) -> None:
    pve.faults.once("POST", LXC, WarnedTask(2))
    assert outcome(create(api)) == "WARNINGS: 2"
    assert api.nodes("pve1").lxc(102).config.get()["rootfs"]


def test_a_start_may_fail_although_the_guest_runs(
    pve: Simulator, api: Any, container: Make, outcome: Outcome
) -> None:
    container()
    pve.faults.once("POST", START, FailedTask("start failed: got timeout"))
    assert outcome(api.nodes("pve1").lxc(102).status.start.post()) == "start failed: got timeout"
    assert api.nodes("pve1").lxc(102).status.current.get()["status"] == "running"


def test_a_create_may_fail_before_its_work_and_leaves_nothing(
    pve: Simulator, api: Any, outcome: Outcome
) -> None:
    pve.faults.once("POST", LXC, FailedTask("out of luck", done=False))
    assert outcome(create(api)) == "unable to create CT 102 - out of luck"
    assert pve.world.guest(102) is None


def test_a_node_that_goes_away_answers_595_and_its_guests_are_unknown(
    pve: Simulator, api: Any, container: Make
) -> None:
    container()
    pve.faults.once("GET", "/nodes/{node}/lxc", NodeGone(seconds=100_000))
    with pytest.raises(ResourceException) as error:
        api.nodes("pve1").lxc.get()
    assert error.value.status_code == 595
    assert [row["status"] for row in api.cluster.resources.get(type="vm")] == ["unknown"]


def test_a_fault_can_wait_and_repeat(pve: Simulator, api: Any) -> None:
    pve.faults.once("GET", "/nodes", ExpiredTicket(), skip=1, times=2)
    statuses = []
    for _ in range(4):
        try:
            api.nodes.get()
            statuses.append(200)
        except ResourceException as error:
            statuses.append(error.status_code)
    assert statuses == [200, 401, 401, 200]


def struck(seed: int, authority: Path) -> list[tuple[str, str, str]]:
    """What chance does to one and the same list of requests."""
    faults = Faults(rate=0.6, seed=seed)
    with Simulator(World(), faults=faults) as pve:
        authority.write_text(pve.ca_pem)
        api = ProxmoxAPI(pve.host, user="root@pam", password="secret", verify_ssl=str(authority))
        for vmid in range(100, 115):
            try:
                create(api, vmid)
            except (ResourceException, ConnectionLost):
                continue
    return faults.struck


def test_chance_repeats_itself_by_its_seed(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    first = struck(7, authority)
    assert first == struck(7, authority)
    assert first != struck(8, authority)
    assert len({kind for _method, _path, kind in first}) > 2


def test_every_fault_of_the_package_is_a_kind_of_fault() -> None:
    for kind in (LostAnswer, DroppedConnection, GatewayError, NoWorker, TaskUnknown, ExpiredTicket, IdTaken):
        assert isinstance(kind(), Fault)
