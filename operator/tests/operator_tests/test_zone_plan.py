"""Zones: where they are attached, and what each node is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any

import pytest
from dsecos_api import Guest, NetworkZone, Node, Reason, Stack, ZoneAttachment
from dsecos_api.names import OPERATOR_FINALIZER
from dsecos_api.zoneattachment import Transit
from dsecos_operator.kinds import node_of
from dsecos_operator.rendering import Refused
from dsecos_operator.zones.attachments import same
from dsecos_operator.zones.ids import VLAN_IDS, VNIS, IdRange
from dsecos_operator.zones.network import Verdict, judge
from dsecos_operator.zones.observe import Observed, gather
from dsecos_operator.zones.plan import (
    Action,
    AddFinalizer,
    ApplyAttachment,
    DeleteAttachment,
    RemoveFinalizer,
    plan,
)
from dsecos_operator.zones.presence import homes
from dsecos_operator.zones.whole import settle
from hypothesis import given, settings
from hypothesis import strategies as st

from .objects import guest, naming, node, peer, placed, zone

VXLAN: dict[str, Any] = {"encapsulation": {"type": "vxlan"}}
VLAN: dict[str, Any] = {"encapsulation": {"type": "vlan"}}
NODES = [peer(1), peer(2), peer(3)]


def look(
    this: NetworkZone | None,
    *,
    stacks: Sequence[Stack] = (),
    guests: Sequence[Guest] = (),
    attachments: Sequence[ZoneAttachment] = (),
    nodes: Sequence[Node] = (node(),),
    others: Sequence[NetworkZone] = (),
) -> Observed:
    zones = [*others, *([this] if this is not None else [])]
    return gather(
        ("acme", "backend"), zones=zones, stacks=stacks, guests=guests, attachments=attachments, nodes=nodes
    )


def planned(this: NetworkZone | None, **world: Any) -> list[Action]:
    observed = look(this, **world)
    return plan(observed, judge(observed))


def settled(
    zones: Iterable[NetworkZone],
    stacks: Iterable[Stack] = (),
    guests: Iterable[Guest] = (),
    nodes: Iterable[Node] = NODES,
    attachments: Iterable[ZoneAttachment] = (),
) -> dict[tuple[str, str], ZoneAttachment]:
    """Attachments by zone and node."""
    _, made = settle(zones, stacks, guests, nodes, attachments)
    return {(each.spec.zone_ref.name, node_of(each.namespace)): each for each in made}


def transit(attachment: ZoneAttachment) -> Transit:
    assert attachment.spec.transit is not None
    return attachment.spec.transit


def reached(attachment: ZoneAttachment) -> dict[str, list[str]]:
    """Addresses on other nodes, as the node is told."""
    return {each.node: each.guests for each in transit(attachment).remotes}


SHOP = placed("shop", "node-1", "10.20.0.2")


def deleting(this: NetworkZone) -> NetworkZone:
    update = {"deletion_timestamp": "2026-01-01T00:00:00Z", "finalizers": [OPERATOR_FINALIZER]}
    return this.model_copy(update={"metadata": this.metadata.model_copy(update=update)})


class TestLocalZones:
    def test_the_first_guest_brings_the_zone_and_the_last_one_takes_it(self) -> None:
        this = zone(metadata={"finalizers": [OPERATOR_FINALIZER]})
        there = settled([this], [SHOP])["backend", "node-1"]
        assert planned(this) == []
        assert planned(this, stacks=[SHOP]) == [ApplyAttachment(there)]
        assert planned(this, stacks=[SHOP], attachments=[there]) == []
        assert planned(this, attachments=[there]) == [DeleteAttachment(there)]

    def test_the_finalizer_comes_before_the_first_node_has_the_zone(self) -> None:
        assert [type(each) for each in planned(zone(), stacks=[SHOP])] == [AddFinalizer, ApplyAttachment]

    def test_a_zone_goes_when_nobody_uses_it_and_no_node_has_it(self) -> None:
        this = deleting(zone())
        there = settled([zone()], [SHOP])["backend", "node-1"]
        assert planned(this, stacks=[SHOP], attachments=[there]) == []
        assert planned(this, attachments=[there]) == [DeleteAttachment(there)]
        assert planned(this) == [RemoveFinalizer()]

    def test_a_zone_that_was_forced_away_leaves_nothing(self) -> None:
        there = settled([zone()], [SHOP])["backend", "node-1"]
        assert planned(None, attachments=[there]) == [DeleteAttachment(there)]

    def test_a_zone_that_cannot_be_had_stays_as_it_is_where_it_is(self) -> None:
        this = zone()
        there = settled([this], [SHOP])["backend", "node-1"]
        observed = look(this, stacks=[SHOP, placed("new", "node-2", "10.20.0.3")], attachments=[there])
        assert plan(observed, Verdict(problem=Refused(Reason.CIDR_OVERLAPS, "it overlaps"))) == []

    def test_what_nodes_have_of_zones_of_before_does_not_change(self) -> None:
        """Nothing new is set: the bridge keeps its address, and no guest restarts."""
        found = settled([zone()], [SHOP], nodes=[node()])["backend", "node-1"]
        assert found.spec.to_dict() == {
            "zoneRef": {"namespace": "acme", "name": "backend", "uid": "uid-acme-backend"},
            "cidrs": ["10.20.0.0/24"],
            "gateway": "10.20.0.1",
            "prefixLength": 24,
            "encapsulation": {"type": "local"},
            "mtu": 1500,
            "egress": {"mode": "Deny"},
        }
        assert guest(SHOP, "node-1").spec.to_dict()["network"].keys() == {
            "attachment", "address", "prefixLength", "gateway", "mac"
        }  # fmt: skip


class TestSpanningZones:
    @pytest.mark.parametrize(("spec", "given"), [(VXLAN, VNIS), (VLAN, VLAN_IDS)], ids=["vxlan", "vlan"])
    def test_each_node_is_told_who_is_on_the_others(self, spec: dict[str, Any], given: IdRange) -> None:
        stacks = [SHOP, placed("db", "node-1", "10.20.0.10"), placed("far", "node-2", "10.20.0.3")]
        found = settled([zone(cidr6="fd00:20::/64", **spec)], stacks)
        one, two = found["backend", "node-1"], found["backend", "node-2"]
        for each in (one, two):
            assert each.spec.encapsulation.to_dict() == spec["encapsulation"]
            assert given.first <= transit(each).id <= given.last
        assert reached(one) == {"node-2": ["10.20.0.3", "fd00:20::3"]}
        assert reached(two) == {"node-1": ["10.20.0.2", "10.20.0.10", "fd00:20::2", "fd00:20::a"]}
        assert (transit(one).address, transit(two).address) == ("192.0.2.1", "192.0.2.2")
        (remote,) = transit(one).remotes
        assert (remote.address, remote.mac) == (transit(two).address, transit(two).mac)
        assert ("backend", "node-3") not in found

    def test_all_nodes_have_the_same_gateway_and_each_has_its_own_end(self) -> None:
        stacks = [placed(f"s{number}", f"node-{number}", f"10.20.0.{number + 1}") for number in (1, 2, 3)]
        found = settled([zone(cidr6="fd00:20::/64", **VXLAN)], stacks)
        gateways = {(each.spec.mac, each.spec.gateway, each.spec.gateway6) for each in found.values()}
        (gateway,) = gateways
        assert gateway[1:] == ("10.20.0.1", "fd00:20::1")
        macs = [gateway[0] or "", *(transit(each).mac for each in found.values())]
        assert len(set(macs)) == 4
        assert all(int(each[:2], 16) & 0b11 == 0b10 for each in macs), "locally administered, unicast"
        assert len({transit(each).id for each in found.values()}) == 1

    def test_a_stack_on_its_way_is_told_where_it_is_until_it_has_arrived(self) -> None:
        this = zone(**VXLAN)
        watcher = placed("watcher", "node-3", "10.20.0.9")
        leaving = placed("shop", "node-1", "10.20.0.2", movingTo="node-2")
        there = placed("shop", "node-2", "10.20.0.2")
        before = settled([this], [leaving, watcher], [guest(leaving, "node-1")])
        assert reached(before["backend", "node-3"]) == {"node-1": ["10.20.0.2"], "node-2": []}
        assert reached(before["backend", "node-2"]) == {"node-1": ["10.20.0.2"], "node-3": ["10.20.0.9"]}
        both = [guest(there, "node-1"), guest(there, "node-2")]
        between = settled([this], [there, watcher], both)
        assert reached(between["backend", "node-3"]) == {"node-1": [], "node-2": ["10.20.0.2"]}
        after = settled([this], [there, watcher], both[1:])
        assert reached(after["backend", "node-3"]) == {"node-2": ["10.20.0.2"]}
        assert ("backend", "node-1") not in after

    def test_a_guest_that_is_removed_is_told_until_it_is_gone(self) -> None:
        this, watcher = zone(**VXLAN), placed("watcher", "node-3", "10.20.0.9")
        metadata = SHOP.metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})
        going = SHOP.model_copy(update={"metadata": metadata})
        left = guest(SHOP, "node-1")
        for stacks in ([going, watcher], [watcher]):
            found = settled([this], stacks, [left])
            assert reached(found["backend", "node-3"]) == {"node-1": ["10.20.0.2"]}
        assert reached(settled([this], [going, watcher])["backend", "node-3"]) == {}

    def test_an_address_that_a_guest_has_is_not_told_elsewhere_whatever_a_status_says(self) -> None:
        here, forged = placed("shop", "node-1", "10.20.0.2"), placed("evil", "node-2", "10.20.0.2")
        abroad = placed("other", "node-2", "10.99.0.2")
        watcher = placed("watcher", "node-3", "10.20.0.9")
        found = settled([zone(**VXLAN)], [forged, here, abroad, watcher], [guest(here, "node-1")])
        assert reached(found["backend", "node-3"]) == {"node-1": ["10.20.0.2"], "node-2": []}

    def test_a_node_that_forgets_its_address_is_still_found_there(self) -> None:
        this, stacks = zone(**VXLAN), [SHOP, placed("far", "node-2", "10.20.0.3")]
        there = settled([this], stacks)
        silent = [node("node-1", capabilities=["zone/vxlan"]), peer(2)]
        unknown = silent[0].status.model_copy(update={"addresses": None})
        silent[0] = silent[0].model_copy(update={"status": unknown})
        assert settled([this], stacks, nodes=silent, attachments=there.values()) == there

    def test_the_management_address_is_taken_where_there_is_no_other(self) -> None:
        nodes = [node("node-1", capabilities=["zone/vxlan"]), peer(2)]
        found = settled([zone(**VXLAN)], [SHOP], nodes=nodes)
        assert transit(found["backend", "node-1"]).address == "192.0.2.1"

    def test_the_order_of_lists_means_nothing(self) -> None:
        stacks = [placed(f"s{number}", f"node-{number}", f"10.20.0.{number + 1}") for number in (1, 2, 3)]
        found = settled([zone(**VXLAN, **naming("backend", "other"))], stacks)["backend", "node-1"]
        backwards = transit(found).model_copy(update={"remotes": transit(found).remotes[::-1]})
        other = found.model_copy(update={"spec": found.spec.model_copy(update={"transit": backwards})})
        assert other.spec != found.spec
        assert same(other, found)
        fewer = transit(found).model_copy(update={"remotes": transit(found).remotes[:1]})
        changed = found.model_copy(update={"spec": found.spec.model_copy(update={"transit": fewer})})
        assert not same(changed, found)


class TestPeers:
    FRONT = "10.30.0.0/24"

    def test_agreed_zones_are_on_the_nodes_of_both(self) -> None:
        zones = [
            zone(**VXLAN, **naming("front")),
            zone(self.FRONT, name="front", **VXLAN, **naming("backend", ports=[{"port": 443}])),
        ]
        found = settled(zones, [SHOP, placed("web", "node-2", "10.30.0.2", zone="front")])
        assert sorted(found) == [*product(("backend", "front"), ("node-1", "node-2"))]
        assert reached(found["backend", "node-1"]) == {"node-2": []}, "answers come from there"
        assert reached(found["backend", "node-2"]) == {"node-1": ["10.20.0.2"]}
        (told,) = found["backend", "node-1"].spec.ingress
        assert (told.namespace, told.zone, told.cidrs, told.ports) == ("acme", "front", [self.FRONT], [])
        (back,) = found["front", "node-1"].spec.ingress
        assert [each.port for each in back.ports] == [443]

    def test_zones_of_two_encapsulations_are_on_the_nodes_of_both(self) -> None:
        zones = [
            zone(**VXLAN, **naming("front")),
            zone(self.FRONT, name="front", **VLAN, **naming("backend")),
        ]
        stacks = [SHOP, placed("web", "node-2", "10.30.0.2", zone="front")]
        found = settled(zones, stacks)
        assert sorted(found) == [*product(("backend", "front"), ("node-1", "node-2"))]
        assert reached(found["front", "node-1"]) == {"node-2": ["10.30.0.2"]}
        assert reached(found["backend", "node-2"]) == {"node-1": ["10.20.0.2"]}
        assert [each.zone for each in found["front", "node-2"].spec.ingress] == ["backend"]
        without = [peer(1, capabilities=["zone/vxlan"]), peer(2)]
        assert sorted(settled(zones, stacks, nodes=without)) == [
            ("backend", "node-1"),
            ("backend", "node-2"),
            ("front", "node-2"),
        ]

    def test_one_side_alone_agrees_on_nothing(self) -> None:
        zones = [zone(**VXLAN, **naming("front")), zone(self.FRONT, name="front", **VXLAN)]
        found = settled(zones, [SHOP, placed("web", "node-2", "10.30.0.2", zone="front")])
        assert sorted(found) == [("backend", "node-1"), ("front", "node-2")]
        assert all(each.spec.ingress == [] for each in found.values())

    def test_a_peer_that_cannot_be_had_does_not_count(self) -> None:
        zones = [
            zone(**VXLAN, **naming("front")),
            zone("10.30.0.0/30", name="front", **VXLAN, **naming("backend")),
        ]
        found = settled(zones, [SHOP, placed("web", "node-2", "10.30.0.2", zone="front")])
        assert sorted(found) == [("backend", "node-1")]
        assert found["backend", "node-1"].spec.ingress == []

    def test_outbound_only_opens_the_other_direction_alone(self) -> None:
        zones = [
            zone(**VXLAN, **naming("front", outboundOnly=True)),
            zone(self.FRONT, name="front", **VXLAN, **naming("backend")),
        ]
        found = settled(zones, [SHOP])
        assert found["backend", "node-1"].spec.ingress == []
        assert [each.zone for each in found["front", "node-1"].spec.ingress] == ["backend"]

    def test_a_zone_that_names_itself_lets_its_own_guests_meet_also_while_it_is_deleted(self) -> None:
        this = zone(**VXLAN, **naming("backend"))
        for each in (this, deleting(this)):
            found = settled([each], [SHOP])["backend", "node-1"]
            assert [one.cidrs for one in found.spec.ingress] == [["10.20.0.0/24"]]

    def test_a_local_zone_goes_nowhere_for_its_peers(self) -> None:
        zones = [
            zone(**naming("front")),
            zone(self.FRONT, name="front", **VXLAN, **naming("backend")),
        ]
        found = settled(zones, [SHOP, placed("web", "node-2", "10.30.0.2", zone="front")])
        assert sorted(found) == [("backend", "node-1"), ("front", "node-2")]
        assert [each.zone for each in found["backend", "node-1"].spec.ingress] == ["front"]

    def test_a_zone_that_is_deleted_leaves_the_nodes_of_its_peers(self) -> None:
        zones = [
            deleting(zone(**VXLAN, **naming("front"))),
            zone(self.FRONT, name="front", **VXLAN, **naming("backend")),
        ]
        found = settled(zones, [SHOP, placed("web", "node-2", "10.30.0.2", zone="front")])
        assert sorted(found) == [("backend", "node-1"), ("front", "node-2")]

    def test_a_move_in_one_zone_changes_nothing_of_its_peers_whose_nodes_stay(self) -> None:
        zones = [
            zone(**VXLAN, **naming("front")),
            zone(self.FRONT, name="front", **VXLAN, **naming("backend")),
        ]
        stay = [placed("keep", "node-1", "10.20.0.5"), placed("web", "node-2", "10.30.0.2", zone="front")]
        before = settled(zones, [*stay, placed("shop", "node-1", "10.20.0.2")])
        after = settled(zones, [*stay, placed("shop", "node-2", "10.20.0.2")])
        changed = {of for of in before if before[of] != after[of]}
        assert changed == {("backend", "node-1"), ("backend", "node-2")}


class TestMtu:
    def told(self, this: NetworkZone, nodes: Sequence[Node], stacks: Sequence[Stack] = ()) -> Verdict:
        return judge(look(this, nodes=nodes, stacks=stacks))

    def test_a_zone_has_what_fits_through_every_node(self) -> None:
        nodes = [peer(1, tunnel_mtu=9000), peer(2, tunnel_mtu=1400), node("node-3", tunnel_mtu=576)]
        assert self.told(zone(**VXLAN), nodes).mtu == 1350
        assert self.told(zone(**VXLAN), [peer(1, tunnel_mtu=None)]).mtu == 1450
        assert self.told(zone(**VLAN), nodes).mtu == 1400, "a tag is not counted"
        assert self.told(zone(**VLAN), [peer(1, tunnel_mtu=None)]).mtu == 1500
        assert self.told(zone(), nodes).mtu == 1500
        assert self.told(zone(**VXLAN), []).mtu is None

    def test_it_is_lowered_by_a_node_that_the_zone_comes_to_and_never_raised(self) -> None:
        this = zone(**VXLAN, status={"gateway": "10.20.0.1", "mtu": 1450, "id": 99_999})
        nodes = [peer(1, tunnel_mtu=9000), peer(2, tunnel_mtu=1400)]
        assert self.told(this, nodes).mtu == 1450
        assert self.told(this, nodes, [SHOP]).mtu == 1450
        assert self.told(this, nodes, [SHOP, placed("far", "node-2", "10.20.0.3")]).mtu == 1350

    def test_a_lost_status_is_told_again_by_the_nodes(self) -> None:
        small = [peer(1, tunnel_mtu=1400)]
        there = settled([zone(**VXLAN)], [SHOP], nodes=small)
        again = settled([zone(**VXLAN)], [SHOP], nodes=[peer(1, tunnel_mtu=9000)], attachments=there.values())
        assert again["backend", "node-1"].spec.mtu == 1350

    @pytest.mark.parametrize(("spec", "overhead"), [(VXLAN, 50), (VLAN, 0)], ids=["vxlan", "vlan"])
    @pytest.mark.parametrize(("cidr6", "least"), [(None, 576), ("fd00:20::/64", 1280)])
    def test_one_that_is_too_small_on_every_node_is_refused(
        self, cidr6: str | None, least: int, spec: dict[str, Any], overhead: int
    ) -> None:
        this = zone(cidr6=cidr6, **spec, status={})
        mtu = least + overhead - 1
        problem = self.told(
            this, [peer(1, tunnel_mtu=mtu), node("node-2", capabilities=["container/Adopt"])]
        ).problem
        assert problem is not None
        assert problem.reason == Reason.MTU_TOO_SMALL
        for told in ("node-1", f"MTU {mtu}", f"needs {least + overhead}"):
            assert told in problem.message
        assert self.told(this, [peer(1, tunnel_mtu=mtu + 1)]).mtu == least

    def test_a_node_that_is_too_small_keeps_the_zone_from_itself_alone(self) -> None:
        this = zone(**VXLAN)
        nodes = [peer(1), peer(2, tunnel_mtu=600)]
        verdict = self.told(this, nodes, [SHOP, placed("far", "node-2", "10.20.0.3")])
        assert (verdict.problem, verdict.mtu) == (None, 1450)
        assert verdict.hindrance is not None
        assert verdict.hindrance.reason == Reason.MTU_TOO_SMALL
        assert "node-2: the MTU 600" in verdict.hindrance.message


class TestCapabilities:
    @pytest.mark.parametrize(
        ("cidr6", "spec", "has", "lacks"),
        [
            (None, VXLAN, ["zone/vlan", "zone/ipv6"], "zone/vxlan"),
            (None, VLAN, ["zone/vxlan", "zone/ipv6"], "zone/vlan (802.1Q)"),
            ("fd00:20::/64", VXLAN, ["zone/vxlan"], "zone/ipv6"),
            ("fd00:20::/64", {}, ["zone/vxlan"], "zone/ipv6"),
        ],
    )
    def test_a_node_that_cannot_take_the_zone_does_not_get_it_and_others_do(
        self, cidr6: str | None, spec: dict[str, Any], has: list[str], lacks: str
    ) -> None:
        this = zone(cidr6=cidr6, **spec)
        nodes = [peer(1), peer(2, capabilities=has)]
        stacks = [SHOP, placed("far", "node-2", "10.20.0.3")]
        assert sorted(settled([this], stacks, nodes=nodes)) == [("backend", "node-1")]
        verdict = judge(look(this, nodes=nodes, stacks=stacks))
        assert verdict.problem is None
        assert verdict.hindrance is not None
        assert verdict.hindrance.reason == Reason.NODE_INCAPABLE
        assert f"node-2: it lacks {lacks}" in verdict.hindrance.message

    @pytest.mark.parametrize(("tunnel", "told"), [("fd00::1", "not one of IPv4"), (None, "no tunnel")])
    def test_a_node_without_a_tunnel_address_is_the_same(self, tunnel: str | None, told: str) -> None:
        lost = peer(2, tunnel=tunnel)
        if tunnel is None:
            unknown = lost.status.model_copy(update={"addresses": None})
            lost = lost.model_copy(update={"status": unknown})
        stacks = [SHOP, placed("far", "node-2", "10.20.0.3")]
        verdict = judge(look(zone(**VXLAN), nodes=[peer(1), lost], stacks=stacks))
        assert verdict.hindrance is not None
        assert verdict.hindrance.reason == Reason.NODE_INCAPABLE
        assert f"node-2: {'its' if tunnel else 'it'}" in verdict.hindrance.message
        assert told in verdict.hindrance.message

    def test_two_nodes_with_one_address_are_named(self) -> None:
        stacks = [SHOP, placed("far", "node-2", "10.20.0.3")]
        nodes = [peer(1), peer(2, tunnel="192.0.2.1"), peer(3, tunnel="192.0.2.1")]
        hindrance = judge(look(zone(**VXLAN), nodes=nodes, stacks=stacks)).hindrance
        assert hindrance is not None
        assert "node-1 and node-2 tell the same tunnel address 192.0.2.1" in hindrance.message
        assert judge(look(zone(**VXLAN), nodes=nodes, stacks=stacks[:1])).hindrance is None
        assert judge(look(zone(), nodes=nodes, stacks=stacks)).hindrance is None

    def test_it_is_told_before_anybody_is_in_the_zone_if_no_node_can_take_it(self) -> None:
        hindrance = judge(look(zone(**VXLAN), nodes=[peer(1, capabilities=["zone/ipv6"])])).hindrance
        assert hindrance is not None
        assert hindrance.reason == Reason.NODE_INCAPABLE
        assert judge(look(zone(**VXLAN), nodes=[peer(1, capabilities=())])).hindrance is None, "not told yet"
        assert judge(look(zone(**VXLAN), nodes=[])).hindrance is None

    def test_a_node_that_has_the_zone_already_is_told_of_changes(self) -> None:
        this, stacks = zone(**VXLAN), [SHOP, placed("far", "node-2", "10.20.0.3")]
        there = settled([this], stacks, nodes=NODES)
        weaker = [peer(1), peer(2, capabilities=["zone/ipv6"])]
        more = [*stacks, placed("new", "node-1", "10.20.0.4")]
        after = settled([this], more, nodes=weaker, attachments=there.values())
        assert reached(after["backend", "node-2"]) == {"node-1": ["10.20.0.2", "10.20.0.4"]}


places = st.sampled_from(["node-1", "node-2", "node-3", "node-4"])
NAMES = ("a", "b", "c")


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Zones that name each other at random, Stacks at random places, some of them on their way."""
    zones = [
        zone(
            f"10.{20 + number}.0.0/24",
            f"fd00:{number}::/64" if draw(st.booleans()) else None,
            name=name,
            metadata={"creationTimestamp": f"2026-01-01T00:00:0{draw(st.integers(0, 2))}Z"},
            status={},
            encapsulation={"type": draw(st.sampled_from(["vxlan", "vlan", "local"]))},
            **naming(*draw(st.sets(st.sampled_from(NAMES)))),
        )
        for number, name in enumerate(NAMES)
    ]
    stacks, guests = [], []
    for number in range(draw(st.integers(0, 7))):
        of = draw(st.sampled_from(NAMES))
        address = f"10.{20 + NAMES.index(of)}.0.{2 + number}"
        moving = {"movingTo": draw(places)} if draw(st.booleans()) else {}
        stacks.append(placed(f"s{number}", draw(places), address, zone=of, **moving))
        for at in draw(st.sets(places, max_size=2)):
            guests.append(guest(stacks[-1], at))
    every = ["zone/vxlan", "zone/vlan", "zone/ipv6"]
    capable = [every, every, ["zone/vxlan", "zone/ipv6"], ["zone/vlan"], ["container/Adopt"]]
    nodes = [
        peer(number, capabilities=draw(st.sampled_from(capable)), tunnel_mtu=draw(st.integers(1200, 9000)))
        for number in range(1, 5)
    ]
    return {"zones": zones, "stacks": stacks, "guests": guests, "nodes": nodes}


@settings(max_examples=80, deadline=None)
@given(worlds(), st.randoms())
def test_whatever_the_order_all_nodes_agree_and_nothing_is_left_to_do(
    world: dict[str, Any], order: Any
) -> None:
    zones, made = settle(**world)
    found = {(each.spec.zone_ref.name, node_of(each.namespace)): each for each in made}
    shuffled = {name: order.sample(each, len(each)) for name, each in world.items()}
    again, others = settle(**shuffled)
    assert {each.name: each.status.id for each in again} == {each.name: each.status.id for each in zones}
    assert {each.namespace + each.name: each for each in others} == {
        each.namespace + each.name: each for each in made
    }
    # Planning after acting is empty.
    assert settle(zones, world["stacks"], world["guests"], world["nodes"], made)[1] == made
    spans = [each for each in made if each.spec.transit is not None]
    for one, other in combinations(spans, 2):
        mine, theirs = transit(one), transit(other)
        if one.spec.zone_ref.uid != other.spec.zone_ref.uid:
            assert (one.spec.encapsulation.type, mine.id) != (other.spec.encapsulation.type, theirs.id)
            continue
        # Both ends of a way know each other as they are, and the zone is the same at both.
        remote = next(each for each in mine.remotes if each.node == node_of(other.namespace))
        assert (remote.address, remote.mac) == (theirs.address, theirs.mac)
        assert (one.spec.mac, one.spec.mtu, one.spec.gateway) == (
            other.spec.mac,
            other.spec.mtu,
            other.spec.gateway,
        )
    at = homes([("acme", name) for name in NAMES], world["stacks"], world["guests"])
    for each in spans:
        told = [address for one in transit(each).remotes for address in one.guests]
        assert len(told) == len(set(told)), "one address, one way"
        if node_of(each.namespace) not in at["acme", each.spec.zone_ref.name]:
            continue  # it is there for a peer, and no guest of its own is met by another one
        for peer_zone in each.spec.ingress:
            back = found.get((peer_zone.zone, node_of(each.namespace)))
            partner = next(one for one in zones if one.name == peer_zone.zone)
            able = next(one for one in world["nodes"] if one.name == node_of(each.namespace))
            kind = partner.spec.encapsulation.type
            if {f"zone/{kind}", "zone/ipv6"} <= {*able.status.capabilities}:
                room = (able.status.tunnel_mtu or 0) - (50 if kind == "vxlan" else 0)
                assert back is not None or room < 1280, "where one of two peers is, the other is too"
