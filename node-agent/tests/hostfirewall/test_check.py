"""What is refused before it is tried, and that nothing else takes the API server away."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from dsecos_agent.firewall.model import L4
from dsecos_agent.hostfirewall.check import check
from dsecos_agent.hostfirewall.model import (
    Allow,
    ApiServer,
    Egress,
    HostPolicyInvalidError,
    Rules,
    rules_of,
)
from dsecos_agent.hostfirewall.render import render
from dsecos_api.conditions import Reason
from dsecos_api.hostpolicy import HostFirewall
from hypothesis import given
from hypothesis import strategies as st

from .oracle import Begin, lets_in, lets_out

API = ApiServer("api.example", 6443, frozenset({ip_address("10.0.0.9"), ip_address("fd00::9")}), here=False)
HERE = ApiServer("127.0.0.1", 6443, frozenset({ip_address("127.0.0.1")}), here=True)
OFFICE: dict[str, Any] = {"managementNetworks": ["10.0.0.0/24"]}


def rules(*, nodes: list[str] | None = None, api_port: int | None = None, **firewall: Any) -> Rules:
    return rules_of(HostFirewall.model_validate(firewall), nodes or [], api_port=api_port)


@pytest.mark.parametrize(
    "egress",
    [
        [{"cidr": "127.0.0.0/8"}],
        [{"cidr": "10.0.0.9/32"}],
        [{"cidr": "10.0.0.0/24"}, {"cidr": "fd00::/64", "ports": [{"port": 6444}]}],
        [{"cidr": "10.0.0.0/24", "ports": [{"port": 6443, "protocol": "UDP"}]}, {"cidr": "fd00::/64"}],
        [{"cidr": "10.0.0.8/32"}, {"cidr": "fd00::/64"}],
    ],
    ids=["nothing", "one family alone", "another port", "another protocol", "another address"],
)
def test_egress_without_the_api_server_is_refused(egress: list[dict[str, Any]]) -> None:
    refusal = check(rules(**OFFICE, egress=egress), API)
    assert refusal is not None
    assert refusal.reason is Reason.LOCKS_OUT_API_SERVER
    for part in ("spec.firewall.egress", "api.example", "6443/TCP", "add an entry"):
        assert part in refusal.message


@pytest.mark.parametrize(
    "egress",
    [
        None,
        [{"cidr": "10.0.0.0/8"}, {"cidr": "fd00::/8"}],
        [
            {"cidr": "10.0.0.9/32", "ports": [{"port": 6443}]},
            {"cidr": "fd00::9/128", "ports": [{"port": 6443}]},
        ],
    ],
    ids=["everything", "networks", "just the port"],
)
def test_egress_with_the_api_server_may_be_tried(egress: list[dict[str, Any]] | None) -> None:
    assert check(rules(**OFFICE, egress=egress), API) is None


def test_an_api_server_on_the_node_itself_needs_no_egress() -> None:
    assert check(rules(**OFFICE, egress=[{"cidr": "127.0.0.0/8"}]), HERE) is None


@pytest.mark.parametrize(
    ("firewall", "reason"),
    [
        ({}, Reason.LOCKS_OUT_ADMINISTRATORS),
        ({"allow": [{"port": 80}]}, Reason.LOCKS_OUT_ADMINISTRATORS),
        ({"allow": [{"port": 22, "protocol": "UDP"}]}, Reason.LOCKS_OUT_ADMINISTRATORS),
        ({"allow": [{"port": 22}]}, None),
        ({"allow": [{"port": 20, "endPort": 30, "from": ["10.0.0.0/8"]}]}, None),
        ({"managementNetworks": ["127.0.0.0/8"]}, None),
    ],
)
def test_somebody_has_to_be_able_to_log_in(firewall: dict[str, Any], reason: Reason | None) -> None:
    refusal = check(rules(**firewall), HERE)
    assert (refusal and refusal.reason) == reason


@pytest.mark.parametrize(
    ("firewall", "nodes", "told"),
    [
        ({"managementNetworks": ["10.0.0.1/8"]}, [], "spec.firewall.managementNetworks: '10.0.0.1/8'"),
        ({"allow": [{"port": 80, "from": ["office"]}]}, [], "spec.firewall.allow[0].from: 'office'"),
        ({"egress": [{"cidr": "10.0.0.0/99"}]}, [], "spec.firewall.egress[0].cidr: '10.0.0.0/99'"),
        ({}, ["node-1"], "spec.nodes: 'node-1' is not an IPv4 or IPv6 address"),
    ],
)
def test_a_value_that_cannot_be_read_is_named(firewall: dict[str, Any], nodes: list[str], told: str) -> None:
    with pytest.raises(HostPolicyInvalidError) as error:
        rules(nodes=nodes, **firewall)
    assert told in str(error.value)


ADDRESSES = [ip_address(each) for each in ("10.0.0.9", "10.0.1.9", "192.0.2.7", "fd00::9", "fd00:1::9")]
NETWORKS = [
    ip_network(each)
    for each in ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.9/32", "::/0", "fd00::/64", "fd00::9/128")
]
PORTS = st.tuples(st.sampled_from(L4), st.sampled_from([22, 443, 6443]))
RULES = st.builds(
    Rules,
    management=st.lists(st.sampled_from(NETWORKS), max_size=3).map(tuple),
    allow=st.lists(
        st.builds(
            lambda protocol, first, more, sources: Allow(protocol, first, first + more, sources),
            st.sampled_from(L4),
            st.sampled_from([1, 22, 443, 6443]),
            st.sampled_from([0, 5, 6500]),
            st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    egress=st.none()
    | st.lists(
        st.builds(Egress, st.sampled_from(NETWORKS), st.lists(PORTS, max_size=2, unique=True).map(tuple)),
        max_size=3,
    ).map(tuple),
    nodes=st.lists(st.sampled_from(ADDRESSES), max_size=3, unique=True).map(tuple),
    api_port=st.sampled_from([None, 6443]),
)
APIS = st.builds(
    ApiServer,
    st.just("api.example"),
    st.sampled_from([443, 6443]),
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2).map(frozenset),
    st.booleans(),
)


@given(RULES, APIS)
def test_what_may_be_tried_takes_no_packet_from_the_api_server(wish: Rules, api: ApiServer) -> None:
    if check(wish, api) is not None:
        return
    if not api.here:
        assert all(lets_out(wish, Begin("tcp", each, api.port)) for each in api.addresses)
    if wish.api_port is not None:
        assert all(lets_in(wish, Begin("tcp", each, wish.api_port)) for each in wish.nodes)


@given(RULES, APIS)
def test_what_is_refused_would_have_locked_somebody_out(wish: Rules, api: ApiServer) -> None:
    refusal = check(wish, api)
    if refusal is None:
        return
    if refusal.reason is Reason.LOCKS_OUT_API_SERVER:
        assert not all(lets_out(wish, Begin("tcp", each, api.port)) for each in api.addresses)
    else:
        assert not any(
            lets_in(wish, Begin("tcp", each, 22))
            for each in ADDRESSES
            if each not in wish.nodes or not wish.api_port
        )


@given(RULES, st.randoms(use_true_random=False))
def test_the_order_of_the_parts_does_not_matter(wish: Rules, random: Any) -> None:
    def mixed(parts: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(parts, len(parts)))

    other = Rules(
        mixed(wish.management),
        mixed(wish.allow),
        None if wish.egress is None else mixed(wish.egress),
        mixed(wish.nodes),
        wish.api_port,
    )
    assert render(wish, "dthf", "dt") == render(other, "dthf", "dt")
