"""Which changes of SDN are staged: what is needed, of what is ours, in an order that Proxmox VE takes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from dsecos_agent.adapter_errors import NotOursError, UnsupportedError
from dsecos_agent.engines.proxmox.sdn_plan import Found, Network, Step, ZoneKind, name_of, plan
from hypothesis import given, settings
from hypothesis import strategies as st

SHOP = Network(
    "uid-shop",
    ZoneKind.VXLAN,
    tag=1000,
    peers=(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1")),
    mtu=1450,
    cidr=IPv4Network("10.80.0.0/24"),
    gateway=IPv4Address("10.80.0.1"),
)
NAME = SHOP.name


def staged(steps: list[Step], found: Found) -> Found:
    """What is configured after these steps: refuses what Proxmox VE refuses (transcripts of a real node)."""
    zones: dict[str, Any] = {key: dict(value) for key, value in found.zones.items()}
    vnets: dict[str, Any] = {key: dict(value) for key, value in found.vnets.items()}
    subnets: dict[str, Any] = {key: [dict(s) for s in value] for key, value in found.subnets.items()}
    for step in steps:
        parts = step.path.removeprefix("/cluster/sdn/").split("/")
        values = dict(step.parameters)
        match (step.method, *parts):
            case ("POST", "zones"):
                assert 2 <= len(str(values["zone"])) <= 8
                zones[str(values.pop("zone"))] = values
            case ("PUT", "zones", name):
                zones[name] |= values
            case ("DELETE", "zones", name):
                assert not [v for v in vnets.values() if v["zone"] == name], "zone is used by a vnet"
                del zones[name]
            case ("POST", "vnets"):
                assert values["zone"] in zones
                assert "tag" in values or zones[values["zone"]]["type"] == "simple", "a vnet needs a tag"
                vnets[str(values.pop("vnet"))] = values
            case ("PUT", "vnets", name):
                vnets[name] |= values
            case ("DELETE", "vnets", name):
                assert not subnets.get(name), "vnet has subnets"
                del vnets[name]
            case ("POST", "vnets", name, "subnets"):
                net = IPv4Network(str(values["subnet"]))
                identity = f"{vnets[name]['zone']}-{net.network_address}-{net.prefixlen}"
                subnets.setdefault(name, []).append({**values, "cidr": f"{net}", "subnet": identity})
            case ("PUT", "vnets", name, "subnets", identity):
                next(s for s in subnets[name] if s["subnet"] == identity).update(values)
            case ("DELETE", "vnets", name, "subnets", identity):
                subnets[name] = [s for s in subnets[name] if s["subnet"] != identity]
            case _:
                raise AssertionError(step)
    return Found(zones, vnets, subnets)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    kind = draw(st.sampled_from(ZoneKind))
    number = draw(st.integers(0, 255))
    return Network(
        draw(st.sampled_from(["uid-1", "uid-2", "uid-3"])),
        kind,
        tag=None if kind is ZoneKind.SIMPLE else draw(st.integers(1, 4094)),
        bridge="vmbr0" if kind is ZoneKind.VLAN else "",
        peers=(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")) if kind is ZoneKind.VXLAN else (),
        mtu=draw(st.none() | st.integers(1280, 9000)),
        cidr=draw(st.none() | st.just(IPv4Network(f"10.80.{number}.0/24"))),
        gateway=draw(st.none() | st.just(IPv4Address(f"10.80.{number}.1"))),
    )


SETS = st.lists(networks(), unique_by=lambda network: network.owner_uid)
FOREIGN = Found(
    {"lab": {"type": "simple"}},
    {"lab1": {"zone": "lab", "alias": "Ann's"}},
    {"lab1": [{"cidr": "10.9.0.0/24", "subnet": "lab-10.9.0.0-24"}]},
)


def test_a_network_is_a_zone_a_vnet_and_a_subnet() -> None:
    assert plan([SHOP], [], Found()) == [
        Step(
            "POST",
            "/cluster/sdn/zones",
            {"zone": NAME, "type": "vxlan", "peers": "10.0.0.1,10.0.0.2", "mtu": 1450},
        ),
        Step(
            "POST",
            "/cluster/sdn/vnets",
            {"vnet": NAME, "zone": NAME, "alias": "dsecos uid-shop", "tag": 1000},
        ),
        Step(
            "POST",
            f"/cluster/sdn/vnets/{NAME}/subnets",
            {"subnet": "10.80.0.0/24", "type": "subnet", "gateway": "10.80.0.1"},
        ),
    ]


@settings(max_examples=50, deadline=None)
@given(SETS, SETS)
def test_after_the_change_nothing_is_left_to_do(before: list[Network], after: list[Network]) -> None:
    kinds = {network.owner_uid: network.kind for network in after}
    before = [network for network in before if kinds.get(network.owner_uid, network.kind) is network.kind]
    found = staged(plan(before, [], FOREIGN), FOREIGN)
    gone = {network.owner_uid for network in before} - set(kinds)
    found = staged(plan(after, gone, found), found)
    assert plan(after, gone, found) == []
    assert staged(plan([], set(kinds), found), found) == replace(
        FOREIGN, subnets={"lab1": FOREIGN.subnets["lab1"], **{n: [] for n in found.subnets if n != "lab1"}}
    )


def test_networks_that_are_not_named_are_left_alone() -> None:
    found = staged(plan([SHOP], [], Found()), Found())
    other = Network("uid-other", ZoneKind.SIMPLE)
    assert not [step for step in plan([other], [], found) if NAME in step.path]


def test_another_order_of_peers_is_no_change() -> None:
    found = staged(plan([SHOP], [], Found()), Found())
    found.zones[NAME]["peers"] = "10.0.0.2, 10.0.0.1"  # type: ignore[index]
    assert plan([SHOP], [], found) == []


@pytest.mark.parametrize("alias", ["", "Ann's", "dsecos uid-other"])
def test_a_vnet_of_our_name_with_another_mark_is_not_ours(alias: str) -> None:
    found = Found({NAME: {"type": "vxlan"}}, {NAME: {"zone": NAME, "alias": alias}})
    with pytest.raises(NotOursError):
        plan([SHOP], [], found)
    with pytest.raises(NotOursError):
        plan([], [SHOP.owner_uid], found)


def test_a_zone_with_somebody_elses_vnet_is_not_ours() -> None:
    found = Found({NAME: {"type": "vxlan"}}, {"theirs": {"zone": NAME, "alias": ""}})
    with pytest.raises(NotOursError, match="theirs"):
        plan([], [SHOP.owner_uid], found)


def test_what_was_half_made_is_made_whole_and_what_was_half_removed_is_removed() -> None:
    whole = plan([SHOP], [], Found())
    half = staged(whole[:1], Found())
    assert plan([SHOP], [], half) == whole[1:]
    assert plan([], [SHOP.owner_uid], half) == [Step("DELETE", f"/cluster/sdn/zones/{NAME}")]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SHOP, tag=None),
        replace(SHOP, peers=()),
        Network("uid-1", ZoneKind.VLAN, tag=7),
    ],
)
def test_what_proxmox_would_refuse_is_refused_before(wrong: Network) -> None:
    with pytest.raises(UnsupportedError):
        plan([wrong], [], Found())


def test_a_zone_does_not_change_its_type() -> None:
    found = staged(plan([SHOP], [], Found()), Found())
    with pytest.raises(UnsupportedError, match="removed first"):
        plan([Network(SHOP.owner_uid, ZoneKind.SIMPLE)], [], found)


@given(st.uuids(), st.uuids())
def test_names_fit_and_tell_owners_apart(one: object, other: object) -> None:
    name = name_of(str(one))
    assert len(name) == 8
    assert name[0].isalpha()
    assert name.isalnum()
    assert (name == name_of(str(other))) == (one == other)
