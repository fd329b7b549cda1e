"""What uplinks are refused before anything is touched."""

from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from dsecos_agent.uplinks.check import UplinkRefusedError, check
from dsecos_agent.uplinks.model import Address, Link, Network, Route
from dsecos_api.conditions import Reason
from dsecos_api.hostpolicy import Uplink


def link(*addresses: str, mtu: int = 1500, max_mtu: int = 9000) -> Link:
    return Link(mtu, tuple(Address(ip_interface(each)) for each in addresses), 68, max_mtu)


NODE = Network(
    {"eth0": link("10.0.0.5/24", "10.0.0.6/24", "fd00::5/64"), "eth1": link("10.1.0.5/24")},
    (
        Route(4, ("default", "via", "10.0.0.1", "dev", "eth0")),
        Route(6, ("default", "via", "fe80::1", "dev", "eth0", "metric", "1024")),
    ),
)


def judge(*uplinks: dict[str, Any], nodes: tuple[str, ...] = (), elsewhere: tuple[str, ...] = ()) -> None:
    parsed = [Uplink.model_validate({"interface": "eth0", **each}) for each in uplinks]
    named = {each.interface: NODE.links[each.interface] for each in parsed if each.interface in NODE.links}
    check(
        parsed,
        Network(named, NODE.routes),
        elsewhere=set(map(ip_address, elsewhere)),
        nodes=set(map(ip_address, nodes)),
        link_prefix="ds",
    )


@pytest.mark.parametrize(
    ("uplink", "told"),
    [
        ({"interface": "eth7", "mtu": 1500}, "eth7 does not exist"),
        ({"interface": "dsz12345678"}, "dsz12345678 is no uplink"),
        ({"interface": "veth105i0"}, "veth105i0 is no uplink"),
        ({"interface": "lo"}, "lo is no uplink"),
        ({"mtu": 9001}, "takes an MTU from 68 to 9000, not 9001"),
        ({"addresses": ["10.0.0.5/33"]}, "'10.0.0.5/33' is not like 10.0.0.5/24"),
        ({"addresses": ["10.0.0.5/24", "fe80::5/64"]}, "fe80::5/64 is no global address"),
        ({"addresses": ["127.0.0.5/8"]}, "127.0.0.5/8 is no global address"),
        ({"gateway": "10.7.0.1"}, "gateway: 10.7.0.1 is in no network of its addresses"),
        ({"gateway": "10.0.0.5"}, "gateway: 10.0.0.5 is in no network of its addresses"),
        ({"gateway6": "fd01::1"}, "gateway6: fd01::1 is in no network"),
        ({"addresses": ["10.7.0.5/24"]}, "has the default route via 10.0.0.1, which is in no network"),
    ],
)
def test_what_cannot_be_is_refused_and_named(uplink: dict[str, Any], told: str) -> None:
    with pytest.raises(UplinkRefusedError, match=r"^spec\.uplinks: ") as raised:
        judge(uplink)
    assert raised.value.reason is Reason.UPLINK_INVALID
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "uplinks",
    [
        [{"mtu": 9000}],
        [{"gateway": "10.0.0.254", "gateway6": "fe80::2"}],
        [{"addresses": ["10.0.0.7/16"]}],
        [{"addresses": ["10.7.0.5/24"], "gateway": "10.7.0.1"}],
        [{"addresses": ["10.7.0.5/24"]}, {"interface": "eth1", "gateway": "10.1.0.1"}],
    ],
    ids=["largest mtu", "gateways", "same network", "another network", "gateway on another uplink"],
)
def test_the_rest_may_be_tried(uplinks: list[dict[str, Any]]) -> None:
    judge(*uplinks)


def test_an_address_that_the_cluster_knows_the_node_by_is_not_lost() -> None:
    others = ("10.0.0.8", "10.0.0.9")
    judge({"addresses": ["10.0.0.5/24"]}, nodes=("10.0.0.5", *others))
    with pytest.raises(
        UplinkRefusedError, match=r"know this one by 10\.0\.0\.5, which no interface"
    ) as raised:
        judge({"addresses": ["10.0.0.7/24"]}, nodes=("10.0.0.5", *others))
    assert raised.value.reason is Reason.LOCKS_OUT_NODES
    judge({"addresses": ["10.0.0.7/24"]}, nodes=("10.0.0.5", *others), elsewhere=("10.0.0.5",))
    moved = {"interface": "eth1", "addresses": ["10.0.0.5/32", "10.1.0.5/24"]}
    judge({"addresses": ["10.0.0.7/24"]}, moved, nodes=("10.0.0.5", *others))
