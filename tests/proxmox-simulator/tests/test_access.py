"""Who gets in, and what a token may do: the words are those of a real node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from dsecos_proxmox_simulator import ManualClock, Simulator
from proxmoxer.core import AuthenticationError, ResourceException

TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
OF_A_POOL = (
    "VM.Allocate VM.Audit VM.Backup VM.Config.CPU VM.Config.Disk VM.Config.Memory VM.Config.Network "
    "VM.Config.Options VM.PowerMgmt VM.Snapshot Datastore.AllocateSpace Datastore.Audit"
)
SPACE = ("Datastore.AllocateSpace", "Datastore.Audit")
Connect = Callable[..., Any]
Outcome = Callable[[str], str]


@pytest.fixture
def lab(pve: Simulator) -> dict[str, Any]:
    """Rights as one gives them: on a pool, on storages, on the bridges."""
    pve.world.add_pool("lab")
    return {
        "/pool/lab": OF_A_POOL.split(),
        "/storage/btr": SPACE,
        "/storage/local": SPACE,
        "/sdn/zones/localnetwork": ["SDN.Use"],
    }


def create(api: Any, **options: Any) -> str:
    wanted = {"pool": "lab", "rootfs": "btr:1", "unprivileged": 1, "hostname": "ct110"}
    return str(api.nodes("pve1").lxc.post(vmid=110, ostemplate=TEMPLATE, **(wanted | options)))


def refused(call: Callable[..., Any], *args: Any, **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ResourceException) as error:
        call(*args, **parameters)
    return error.value.status_code, error.value.content


def get(pve: Simulator, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{pve.url}/api2/json{path}", headers=headers, verify=False, timeout=5)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_without_a_ticket_the_answer_is_401_without_a_body(pve: Simulator) -> None:
    answer = get(pve, "/nodes")
    assert (answer.status_code, answer.reason, answer.content) == (401, "No ticket", b"")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_wrong_token_is_401(pve: Simulator) -> None:
    answer = get(pve, "/nodes", Authorization="PVEAPIToken=root@pam!x=1")
    assert (answer.status_code, answer.reason) == (401, "Authentication failed!")


def test_a_wrong_password_is_refused(connect: Connect) -> None:
    with pytest.raises(AuthenticationError):
        connect(password="wrong")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_change_by_ticket_needs_the_csrf_token(pve: Simulator, api: Any) -> None:
    ticket, _csrf = api.get_tokens()
    answer = requests.post(
        f"{pve.url}/api2/json/pools",
        data={"poolid": "x"},
        cookies={"PVEAuthCookie": ticket},
        verify=False,
        timeout=5,
    )
    assert (answer.status_code, answer.reason) == (401, "Permission denied - invalid csrf token")


def test_a_ticket_lives_for_two_hours(api: Any, clock: ManualClock) -> None:
    clock.advance(7199)
    assert api.nodes.get()
    clock.advance(2)
    assert refused(api.nodes.get) == (401, "permission denied - invalid PVE ticket")


def test_a_token_without_rights_sees_the_nodes_names_and_nothing_else(
    pve: Simulator, connect: Connect
) -> None:
    api = connect("probe@pve!t1", pve.add_token("probe@pve", "t1", {}))
    assert {key for node in api.nodes.get() for key in node} == {
        "id",
        "level",
        "node",
        "ssl_fingerprint",
        "status",
        "type",
    }
    assert api.nodes("pve1").storage.get() == []
    assert refused(api.nodes("pve1").status.get) == (403, "Permission check failed (/nodes/pve1, Sys.Audit)")
    assert refused(create, api, pool=None) == (403, "Permission check failed")


def test_a_separated_token_has_what_both_it_and_its_user_were_granted(
    pve: Simulator, connect: Connect
) -> None:
    api = connect(
        "probe@pve!t1", pve.add_token("probe@pve", "t1", {"/pool/lab": ["VM.Audit", "VM.PowerMgmt"]})
    )
    assert api.access.permissions.get(path="/pool/lab") == {"/pool/lab": {"VM.Audit": 1, "VM.PowerMgmt": 1}}
    pve.access.revoke("probe@pve", "/pool/lab")
    assert api.access.permissions.get(path="/pool/lab") == {"/pool/lab": {}}


def test_each_missing_right_is_named(pve: Simulator, connect: Connect, lab: dict[str, Any]) -> None:
    pool = lab["/pool/lab"]
    value = pve.add_token("probe@pve", "t1", {"/pool/lab": pool, "/storage/local": SPACE})
    api = connect("probe@pve!t1", value)
    net0 = "name=eth0,bridge=vmbr0,ip=dhcp"
    assert refused(create, api, net0=net0) == (
        403,
        "Permission check failed (/storage/btr, Datastore.AllocateSpace)",
    )
    for ugid in ("probe@pve", "probe@pve!t1"):
        pve.access.grant(ugid, "/storage/btr", SPACE, role="Space")
    assert refused(create, api, net0=net0) == (
        403,
        "Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)",
    )


FOR_ROOT_ALONE = {
    "keyctl": ({"features": "keyctl=1"}, "changing feature flags (except nesting)"),
    "fuse": ({"features": "fuse=1"}, "changing feature flags (except nesting)"),
    "features of a privileged container": (
        {"features": "nesting=1", "unprivileged": 0},
        "changing feature flags for privileged container",
    ),
    "a bind mount": ({"mp0": "/srv,mp=/srv"}, "mount point type bind"),
    "a device": ({"dev0": "/dev/null"}, "configuring device passthrough"),
}


@pytest.mark.parametrize(("options", "what"), FOR_ROOT_ALONE.values(), ids=FOR_ROOT_ALONE)
@pytest.mark.parametrize("user", ["probe@pve", "root@pam"])
def test_no_token_may(
    pve: Simulator, connect: Connect, lab: dict[str, Any], user: str, options: dict[str, Any], what: str
) -> None:
    api = connect(f"{user}!t1", pve.add_token(user, "t1", lab, privsep=user != "root@pam"))
    assert refused(create, api, **options) == (
        403,
        f"Permission check failed ({what} is only allowed for root@pam)",
    )


def test_root_by_ticket_may(api: Any, outcome: Outcome) -> None:
    upid = create(api, pool=None, features="keyctl=1,nesting=1,fuse=1", mp0="/srv,mp=/srv")
    assert outcome(upid) == "OK"
    assert api.nodes("pve1").lxc(110).config.get()["features"] == "keyctl=1,nesting=1,fuse=1"


def test_a_token_may_set_nesting_on_an_unprivileged_container_and_its_tasks_name_it(
    pve: Simulator, connect: Connect, lab: dict[str, Any], outcome: Outcome
) -> None:
    api = connect("probe@pve!t1", pve.add_token("probe@pve", "t1", lab))
    upid = create(api, features="nesting=1")
    assert upid.endswith(":vzcreate:110:probe@pve!t1:")
    assert outcome(upid) == "OK"
    status = api.nodes("pve1").tasks(upid).status.get()
    assert (status["user"], status["tokenid"], status["exitstatus"]) == ("probe@pve", "t1", "OK")
    assert [task["tokenid"] for task in api.nodes("pve1").tasks.get()] == ["t1"]


def test_only_root_may_pass_over_a_lock(
    pve: Simulator, connect: Connect, lab: dict[str, Any], outcome: Outcome
) -> None:
    api = connect("probe@pve!t1", pve.add_token("probe@pve", "t1", lab))
    outcome(create(api))
    assert refused(api.nodes("pve1").lxc(110).status.start.post, skiplock=1)[0] == 400


def test_tokens_and_grants_are_made_by_the_api_too(pve: Simulator, api: Any, connect: Connect) -> None:
    pve.add_token("probe@pve", "t1", {})
    made = api.access.users("probe@pve").token("t2").post(privsep=0)
    assert made["full-tokenid"] == "probe@pve!t2"
    api.access.roles.post(roleid="Lab", privs="VM.Audit,Sys.Audit")
    api.access.acl.put(path="/", roles="Lab", users="probe@pve")
    assert connect("probe@pve!t2", made["value"]).nodes("pve1").status.get()["uptime"] > 0
    api.access.users("probe@pve").token("t2").delete()
    assert refused(api.access.users("probe@pve").token("t2").delete) == (
        500,
        "no such token 't2' for user 'probe@pve'",
    )
