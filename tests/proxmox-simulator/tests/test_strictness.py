"""Parameters are checked as the real API checks them, and refused in its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from dsecos_proxmox_simulator import Simulator
from proxmoxer.core import ResourceException

Make = Callable[..., int]
TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"

WRONG = {
    "an unknown parameter": ({"colour": "red"}, "colour", UNKNOWN),
    "a wrong type": ({"memory": "much"}, "memory", "type check ('integer') failed - got 'much'"),
    "a wrong boolean": ({"onboot": "maybe"}, "onboot", "type check ('boolean') failed - got 'maybe'"),
    "too little": ({"memory": 8}, "memory", "value must have a minimum value of 16"),
    "too much": ({"cores": 9000}, "cores", "value must have a maximum value of 8192"),
    "not one of": (
        {"cmode": "vnc"},
        "cmode",
        "value 'vnc' does not have a value in the enumeration 'shell, console, tty'",
    ),
    "a wrong name": (
        {"hostname": "-x"},
        "hostname",
        "invalid format - value does not look like a valid DNS name\n",
    ),
    "a network without name": (
        {"net0": "bridge=vmbr0"},
        "net0",
        "invalid format - format error\nnet0.name: property is missing and it is not optional\n",
    ),
    "an unknown key of a network": (
        {"net0": "name=eth0,speed=9"},
        "net0",
        f"invalid format - format error\nnet0.speed: {UNKNOWN}\n",
    ),
    "what needs another": ({"unique": 1}, "restore", "missing property - 'unique' requires this property"),
    "a short password": ({"password": "abc"}, "password", "value must be at least 5 characters long"),
}


@pytest.mark.parametrize(("options", "name", "message"), WRONG.values(), ids=WRONG)
def test_refused_with_an_error_by_parameter(
    api: Any, options: dict[str, Any], name: str, message: str
) -> None:
    with pytest.raises(ResourceException) as refused:
        api.nodes("pve1").lxc.post(vmid=102, ostemplate=TEMPLATE, **options)
    assert (refused.value.status_code, refused.value.content) == (400, "Parameter verification failed.")
    assert refused.value.errors == {name: message}


def test_what_must_be_there_is_missed(api: Any) -> None:
    with pytest.raises(ResourceException) as refused:
        api.nodes("pve1").lxc.post(vmid=102)
    assert refused.value.errors == {"ostemplate": "property is missing and it is not optional"}


def test_a_parameter_of_the_newer_version_is_unknown_to_the_older(api: Any, version: str) -> None:
    with pytest.raises(ResourceException) as refused:
        api.nodes("pve1").lxc.post(vmid=102, ostemplate="local:vztmpl/missing", env="A=1")
    assert refused.value.errors == ({"env": UNKNOWN} if version == "8.4" else None)


def test_an_unknown_method_is_501(api: Any) -> None:
    with pytest.raises(ResourceException) as refused:
        api.nodes("pve1").bogus.get()
    assert (refused.value.status_code, refused.value.content) == (
        501,
        "Method 'GET /nodes/pve1/bogus' not implemented",
    )


def test_a_real_method_that_is_not_simulated_is_told_apart(pve: Simulator, api: Any) -> None:
    if not pve.schema_checked:
        pytest.skip("the schema was not checked: its files are not there")
    with pytest.raises(
        ResourceException, match="the simulator does not know the real method GET /nodes/pve1/dns"
    ):
        api.nodes("pve1").dns.get()


def test_a_real_parameter_that_is_not_simulated_is_told_apart(pve: Simulator, api: Any) -> None:
    if not pve.schema_checked:
        pytest.skip("the schema was not checked: its files are not there")
    with pytest.raises(ResourceException, match="the simulator does not know the real parameter watchdog"):
        api.nodes("pve1").qemu.post(vmid=200, watchdog="model=i6300esb")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_json_is_taken_as_well_as_a_form(pve: Simulator, api: Any) -> None:
    ticket, csrf = api.get_tokens()
    answer = requests.post(
        f"{pve.url}/api2/json/pools",
        json={"poolid": "lab", "comment": "by JSON"},
        cookies={"PVEAuthCookie": ticket},
        headers={"CSRFPreventionToken": csrf},
        verify=False,
        timeout=5,
    )
    assert answer.json() == {"data": None}
    assert api.pools.get() == [{"poolid": "lab", "comment": "by JSON"}]


def test_a_vnet_has_at_most_eight_characters(api: Any) -> None:
    api.cluster.sdn.zones.post(zone="lab1", type="simple")
    with pytest.raises(ResourceException) as refused:
        api.cluster.sdn.vnets.post(vnet="verylongname", zone="lab1")
    assert refused.value.errors == {
        "vnet": "invalid format - vnet ID 'verylongname' can't be more length than 8 characters\n"
    }
