"""What the node takes and begins, with real packets of both families."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.hostfirewall.model import Rules, rules_of
from dsecos_agent.hostfirewall.render import removal, render
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_api.hostpolicy import HostFirewall

from ..links.netns import ip  # noqa: TID252 - tests have no package to name
from .conftest import INSTANCE, PREFIX
from .lan import Neighbour, NodeServer, Try
from .oracle import Begin, lets_in, lets_out

TCP, UDP = (22, 80, 443, 6443), (53, 4789)
ALL = [
    Try(protocol, port, family)
    for family in (4, 6)
    for protocol, ports in (("tcp", TCP), ("udp", UDP))
    for port in ports
]
FIREWALLS: list[dict[str, Any]] = [
    {"managementNetworks": ["10.9.1.0/24", "fd09:1::/64"]},
    {
        "managementNetworks": ["10.9.1.0/24"],
        "allow": [
            {"port": 80},
            {"port": 440, "endPort": 450, "from": ["10.9.3.0/24", "fd09:2::/64"]},
            {"port": 53, "protocol": "UDP", "from": ["fd09:3::2/128"]},
        ],
        "egress": [{"cidr": "127.0.0.0/8"}],
    },
    {
        "managementNetworks": ["0.0.0.0/0"],
        "egress": [
            {"cidr": "10.9.2.0/24"},
            {"cidr": "fd09::/16", "ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}]},
            {"cidr": "10.9.3.2/32", "ports": [{"port": 80}, {"port": 6443}]},
        ],
    },
]


@pytest.fixture
def listening(network: None) -> Iterator[None]:
    server = NodeServer(*TCP, udp=UDP)
    yield
    server.close()


def wish(firewall: dict[str, Any], *neighbours: Neighbour, api_port: int | None = 6443) -> Rules:
    nodes = [address for each in neighbours for address in (each.four, each.six)]
    return rules_of(HostFirewall.model_validate(firewall), nodes, api_port=api_port)


def far(neighbour: Neighbour, one: Try) -> Begin:
    address = neighbour.four if one.family == 4 else neighbour.six
    return Begin(one.protocol, ip_address(address), one.port)


@pytest.mark.parametrize("firewall", FIREWALLS, ids=["management", "ports", "egress"])
async def test_just_what_is_named_passes(
    firewall: dict[str, Any],
    admin: Neighbour,
    peer: Neighbour,
    stranger: Neighbour,
    table: HostTable,
    listening: None,
) -> None:
    neighbours = (admin, peer, stranger)
    for each in neighbours:
        each.serve(*TCP, udp=UDP)
        assert set(each.reaches(*ALL)) == {"answer"}, "without a firewall all is open"
    rules = wish(firewall, peer)
    await table.load(render(rules, INSTANCE, PREFIX))
    # Neighbours have to be found again, by ARP and ND.
    ip("neigh flush all")
    for each in neighbours:
        seen = dict(zip(ALL, each.reaches(*ALL), strict=True))
        assert seen == {one: "answer" if lets_in(rules, far(each, one)) else "silence" for one in ALL}
        seen = dict(zip(ALL, each.reached(*ALL), strict=True))
        assert {one for one, became in seen.items() if became == "answer"} == {
            one for one in ALL if lets_out(rules, far(each, one))
        }
        assert "silence" not in seen.values(), "a program of the node is told at once"


async def test_errors_and_echo_pass_but_no_flood(
    stranger: Neighbour, table: HostTable, listening: None
) -> None:
    await table.load(
        render(
            wish({"managementNetworks": ["10.9.1.0/24"], "egress": [{"cidr": "127.0.0.0/8"}]}),
            INSTANCE,
            PREFIX,
        )
    )
    assert stranger.reaches(Try("echo", 1), Try("echo", 1, 6)) == ["1 answers"] * 2
    (flood,) = stranger.reaches(Try("echo", 1000))
    assert int(flood.split()[0]) < 1000


async def test_whom_nobody_may_reach_still_speaks_to_itself(
    admin: Neighbour, table: HostTable, listening: None
) -> None:
    await table.load(
        render(
            wish({"managementNetworks": ["127.0.0.0/8"], "egress": [{"cidr": "127.0.0.0/8"}]}),
            INSTANCE,
            PREFIX,
        )
    )
    assert set(admin.reaches(*ALL)) == {"silence"}
    # The node speaks to its own addresses.
    admin.four, admin.six = admin.node_four, admin.node_six
    assert set(admin.reached(*ALL)) == {"answer"}


async def test_others_tables_stay_and_ours_goes_without_a_trace(table: HostTable, tmp_path: Path) -> None:
    foreign = HostTable("foreign", tmp_path / "foreign.json")
    text = render(wish({"managementNetworks": ["10.9.1.0/24"]}), "foreign", PREFIX)
    await foreign.load(text)
    ours = render(wish({"managementNetworks": ["10.9.2.0/24"]}), INSTANCE, PREFIX)
    await table.load(ours)
    assert await table.holds(ours)
    assert await foreign.holds(text)
    await table.load(None)
    assert await table.holds(None)
    assert await foreign.holds(text)
    await foreign.load(removal("foreign"))
