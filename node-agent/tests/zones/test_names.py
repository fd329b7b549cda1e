"""What a zone's name server knows, and whether it asks others."""

from ipaddress import ip_address
from typing import Any

import pytest
from dsecos_agent.names.model import NameServerError, Zone
from dsecos_agent.zones.names import zone_of
from dsecos_agent.zones.naming import bridge_of

from ..guests.samples import attachment  # noqa: TID252
from .samples import spanning

SHOP = {
    "namespace": "acme",
    "stack": "shop",
    "addresses": ["10.20.0.2", "fd00:20::2"],
    "services": ["web", "db"],
}


def zone(**changes: Any) -> Zone:
    made = attachment(**changes)
    return zone_of(bridge_of("dt", made), made.spec)


def forwards(mode: str, *to: dict[str, Any]) -> bool:
    return zone(egress={"mode": mode, "to": list(to)}).forwards


def test_a_stack_and_each_of_its_services_have_a_name() -> None:
    found = spanning(names=[SHOP])
    served = zone_of(bridge_of("dt", found), found.spec)
    both = (ip_address("10.20.0.2"), ip_address("fd00:20::2"))
    assert served.hosts == {
        "shop.acme.dsecos.internal": both,
        "web.shop.acme.dsecos.internal": both,
        "db.shop.acme.dsecos.internal": both,
    }
    assert served.gateways == (ip_address("10.20.0.1"), ip_address("fd00:20::1"))
    assert served.bridge == bridge_of("dt", found).name


def test_a_zone_without_ipv6_hears_of_no_ipv6_addresses() -> None:
    only6 = {**SHOP, "stack": "wiki", "addresses": ["fd00:30::2"]}
    hosts = zone(names=[SHOP, only6]).hosts
    assert set(hosts.values()) == {(ip_address("10.20.0.2"),)}
    assert not [name for name in hosts if "wiki" in name]


def test_an_address_that_is_none_is_told_with_its_stack() -> None:
    with pytest.raises(NameServerError, match=r"Stack shop of acme.*nowhere"):
        zone(names=[{**SHOP, "addresses": ["nowhere"]}])


@pytest.mark.parametrize("mode", ["NAT", "Allow"])
def test_others_are_asked_where_guests_could_ask_them_too(mode: str) -> None:
    anywhere = "0.0.0.0/0"
    asks = {"cidr": anywhere, "ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}]}
    assert forwards(mode)
    assert forwards(mode, {"cidr": "198.51.100.0/24"}, {"cidr": anywhere})
    assert forwards(mode, asks)


@pytest.mark.parametrize(
    "rule",
    [
        {"cidr": "198.51.100.0/24"},
        {"cidr": "0.0.0.0/1", "ports": [{"port": 53, "protocol": "UDP"}]},
        {"cidr": "0.0.0.0/0", "ports": [{"port": 443}, {"port": 53, "protocol": "TCP"}]},
        {"cidr": "::/0"},
    ],
    ids=["a network", "half of all", "other ports", "a family that the zone does not speak"],
)
def test_elsewhere_names_would_be_a_way_out(rule: dict[str, Any]) -> None:
    assert not forwards("NAT", rule)


def test_a_closed_zone_asks_nobody() -> None:
    assert not forwards("Deny")


def test_an_open_ipv6_network_is_enough() -> None:
    found = spanning(egress={"mode": "NAT", "to": [{"cidr": "::/0"}]})
    assert zone_of(bridge_of("dt", found), found.spec).forwards
