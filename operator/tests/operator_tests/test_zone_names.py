"""Names of Stacks: which of them the guests of a zone find, and on which nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from dsecos_api import Guest, NetworkZone, Node, Stack, ZoneAttachment
from dsecos_api.names import guest_name
from dsecos_api.peering import key, spans_nodes
from dsecos_api.zoneattachment import Name
from dsecos_operator.kinds import node_of
from dsecos_operator.zones import naming, services
from dsecos_operator.zones.attachments import same
from dsecos_operator.zones.presence import Population
from dsecos_operator.zones.whole import settle
from hypothesis import given, settings
from hypothesis import strategies as st

from .objects import adopting, guest, peer, stack, zone

VXLAN: dict[str, Any] = {"encapsulation": {"type": "vxlan"}}
NODES = [peer(1), peer(2), peer(3)]


def naming_zones(*zones: tuple[str, str], **more: Any) -> dict[str, Any]:
    """`spec.peers` that names zones by namespace and name."""
    return {"peers": [{"namespace": space, "zone": name, **more} for space, name in zones]}


def living(name: str, on: str, address: str, zone: str = "backend", space: str = "acme") -> Stack:
    """A Stack that has a place."""
    uid = f"uid-{space}-{name}"
    claim = {"node": on, "guest": guest_name(space, name, uid), "epoch": 1, "address": address}
    return stack(name, zone=zone, metadata={"namespace": space, "uid": uid}, status=claim)


def guests(*stacks: Stack, **services: Any) -> list[Guest]:
    """Their Guests, where their claims say."""
    document = json.dumps({"services": services})
    return [guest(each, each.status.node or "", document) for each in stacks]


def told(
    zones: Iterable[NetworkZone],
    stacks: Sequence[Stack],
    its: Sequence[Guest] | None = None,
    nodes: Sequence[Node] = NODES,
) -> dict[tuple[str, str], list[str]]:
    """Names by zone and node, as <namespace>/<stack>. `its`: the Guests; unset: each Stack has one."""
    _, made = settle(zones, stacks, guests(*stacks) if its is None else its, nodes)
    return {
        (each.spec.zone_ref.name, node_of(each.namespace)): [
            f"{name.namespace}/{name.stack}" for name in each.spec.names
        ]
        for each in made
    }


SHOP = living("shop", "node-1", "10.20.0.2")
MAIL = living("mail", "node-2", "10.20.0.3")


class TestOwnNames:
    def test_a_name_has_both_addresses_and_the_services(self) -> None:
        this = zone(cidr6="fd00:20::/64")
        _, (made,) = settle([this], [SHOP], guests(SHOP, web={}, db={}), [peer(1)])
        assert made.spec.names == [
            Name(
                namespace="acme", stack="shop", addresses=["10.20.0.2", "fd00:20::2"], services=["db", "web"]
            )
        ]

    def test_a_local_zone_tells_each_node_of_its_own_guests(self) -> None:
        assert told([zone()], [SHOP, MAIL]) == {
            ("backend", "node-1"): ["acme/shop"],
            ("backend", "node-2"): ["acme/mail"],
        }

    def test_a_zone_that_spans_nodes_tells_all_of_them_the_same(self) -> None:
        assert told([zone(**VXLAN)], [SHOP, MAIL]) == {
            ("backend", "node-1"): ["acme/mail", "acme/shop"],
            ("backend", "node-2"): ["acme/mail", "acme/shop"],
        }

    def test_a_place_without_a_guest_has_no_name(self) -> None:
        assert told([zone()], [SHOP], []) == {("backend", "node-1"): []}

    def test_a_forged_place_takes_no_address_from_a_guest_that_is_there(self) -> None:
        forged = living("a", "node-1", "10.20.0.2")
        assert told([zone()], [forged, SHOP], guests(SHOP)) == {("backend", "node-1"): ["acme/shop"]}

    def test_one_address_has_one_name(self) -> None:
        twin = living("twin", "node-1", "10.20.0.2")
        assert told([zone()], [twin, SHOP]) == {("backend", "node-1"): ["acme/shop"]}

    def test_an_address_outside_of_the_zone_has_no_name(self) -> None:
        astray = living("astray", "node-1", "10.99.0.2")
        assert told([zone()], [astray, SHOP]) == {("backend", "node-1"): ["acme/shop"]}

    def test_a_stack_on_its_way_is_found_where_its_claim_says(self) -> None:
        both = [guest(SHOP, "node-1"), guest(SHOP, "node-2")]
        assert told([zone()], [SHOP], both) == {
            ("backend", "node-1"): ["acme/shop"],
            ("backend", "node-2"): [],
        }

    def test_a_guest_whose_stack_is_gone_has_no_name(self) -> None:
        assert told([zone()], [], guests(SHOP)) == {("backend", "node-1"): []}

    def test_what_was_adopted_has_no_name(self) -> None:
        assert told([zone()], [adopting("old", on="node-1"), SHOP], guests(SHOP)) == {
            ("backend", "node-1"): ["acme/shop"]
        }


FRONT, BACK = ("other", "front"), ("acme", "backend")
WEB = living("web", "node-2", "10.21.0.2", "front", "other")


def two(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], *, local: Sequence[str] = ()
) -> list[NetworkZone]:
    """Zone backend of tenant acme, and front of tenant other. `local`: those that do not span nodes."""
    return [
        zone(**mine, **({} if "backend" in local else VXLAN)),
        zone("10.21.0.0/24", name="front", namespace="other", **theirs)
        if "front" in local
        else zone("10.21.0.0/24", name="front", namespace="other", **theirs, **VXLAN),
    ]


class TestPeers:
    def test_both_find_each_other_where_both_may_connect(self) -> None:
        found = told(two(naming_zones(FRONT), naming_zones(BACK)), [SHOP, WEB])
        assert found["backend", "node-1"] == found["backend", "node-2"] == ["acme/shop", "other/web"]
        assert found["front", "node-1"] == found["front", "node-2"] == ["acme/shop", "other/web"]

    def test_one_that_nobody_may_connect_to_is_not_found(self) -> None:
        found = told(two(naming_zones(FRONT, outboundOnly=True), naming_zones(BACK)), [SHOP, WEB])
        assert found["backend", "node-1"] == ["acme/shop", "other/web"]
        assert found["front", "node-2"] == ["other/web"]

    @pytest.mark.parametrize(("mine", "theirs"), [([FRONT], []), ([], [BACK])])
    def test_what_one_side_says_alone_tells_nobody_anything(
        self, mine: list[tuple[str, str]], theirs: list[tuple[str, str]]
    ) -> None:
        found = told(two(naming_zones(*mine), naming_zones(*theirs)), [SHOP, WEB])
        assert found == {("backend", "node-1"): ["acme/shop"], ("front", "node-2"): ["other/web"]}

    @pytest.mark.parametrize("local", [["backend"], ["front"], ["backend", "front"]])
    def test_where_one_of_both_is_local_they_are_found_on_the_same_node_only(self, local: list[str]) -> None:
        near = living("near", "node-1", "10.21.0.3", "front", "other")
        found = told(two(naming_zones(FRONT), naming_zones(BACK), local=local), [SHOP, WEB, near])
        assert found["backend", "node-1"] == ["acme/shop", "other/near"]
        assert "acme/shop" in found["front", "node-1"]
        assert "acme/shop" not in found["front", "node-2"]

    def test_a_peer_that_cannot_be_had_is_not_found(self) -> None:
        older = {"creationTimestamp": "2020-01-01T00:00:00Z"}
        mine, front = two(naming_zones(FRONT), naming_zones(BACK))
        update = {"creation_timestamp": "2026-01-01T00:00:00Z"}
        front = front.model_copy(update={"metadata": front.metadata.model_copy(update=update)})
        zones = [zone("10.21.0.0/16", name="old", metadata=older), mine, front]
        assert told(zones, [SHOP, WEB])["backend", "node-1"] == ["acme/shop"]

    def test_a_peer_that_goes_is_not_found_and_finds_nobody(self) -> None:
        mine, front = two(naming_zones(FRONT), naming_zones(BACK))
        gone = {"deletion_timestamp": "2026-01-01T00:00:00Z"}
        front = front.model_copy(update={"metadata": front.metadata.model_copy(update=gone)})
        found = told([mine, front], [SHOP, WEB])
        assert found == {("backend", "node-1"): ["acme/shop"], ("front", "node-2"): ["other/web"]}


class TestServices:
    @pytest.mark.parametrize(
        ("document", "found"),
        [
            ('{"services": {"web": {}, "db": {}}}', ("db", "web")),
            (
                '{"services": {"Web": {}, "a_b": {}, "a.b": {}, "-a": {}, "": {}, "a\\n": {}, "ok": {}}}',
                ("ok",),
            ),
            (json.dumps({"services": {"a" * 63: {}, "b" * 64: {}}}), ("a" * 63,)),
            (json.dumps({"services": {f"s{number:03}": {} for number in range(500)}}), 128),
            ("", ()),
            ("services: {web: {image: a}}", ()),
            ("[]", ()),
            ('{"services": ["web"]}', ()),
            ('{"services": null}', ()),
            ("[" * 500_000, ()),
            ('{"services": {"web": ' + "9" * 100_000 + "}}", ()),
        ],
    )
    def test_those_whose_names_are_dns_labels_whatever_the_document(
        self, document: str, found: tuple[str, ...] | int
    ) -> None:
        read = services.read(document)
        assert (read if isinstance(found, tuple) else len(read)) == found
        assert list(read) == sorted(read)

    def test_a_document_is_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        done: list[str] = []
        its = [guest(living("once", "node-1", "10.20.0.9"), "node-1", '{"services": {"first": {}}}')]
        monkeypatch.setattr(services, "_known", type(services._known)())

        def read(text: str) -> tuple[str, ...]:
            done.append(text)
            return ("first",)

        monkeypatch.setattr(services, "read", read)
        for _ in range(3):
            assert services.services(its[0]) == ("first",)
        assert len(done) == 1

    def test_a_changed_document_is_read_again(self) -> None:
        of = living("again", "node-1", "10.20.0.9")
        for each in ("one", "two", "one"):
            assert services.services(guest(of, "node-1", json.dumps({"services": {each: {}}}))) == (each,)

    def test_no_guest_speaks_for_another_one(self) -> None:
        (mine,) = guests(SHOP, web={})
        (theirs,) = guests(MAIL, evil={})
        compose = theirs.spec.compose
        assert mine.spec.compose is not None
        assert compose is not None
        forged = compose.model_copy(update={"digest": mine.spec.compose.digest})
        theirs = theirs.model_copy(update={"spec": theirs.spec.model_copy(update={"compose": forged})})
        assert services.services(theirs) == ("evil",)
        assert services.services(mine) == ("web",)


class TestLimits:
    def many(self, count: int, of: NetworkZone, space: str, net: str, **its: Any) -> Population:
        """So many Stacks of a zone."""
        stacks = [
            living(f"s{number:04}", "node-1", f"{net}.{number // 250}.{number % 250 + 2}", of.name, space)
            for number in range(count)
        ]
        return Population(of, stacks, guests(*stacks, **its))

    def test_beyond_the_most_come_those_that_sort_last(self) -> None:
        this = zone("10.20.0.0/16")
        found = naming.Directory(this, [self.many(naming.MOST_NAMES + 4, this, "acme", "10.20")]).on("node-1")
        assert [each.stack for each in found] == [f"s{number:04}" for number in range(naming.MOST_NAMES)]

    def test_a_peer_does_not_crowd_out_the_zones_own_names(self) -> None:
        """Whatever its namespace is, and however many services its documents have."""
        this = zone("10.20.0.0/16", namespace="zeta")
        theirs = zone("10.21.0.0/16", name="front", namespace="alpha")
        crowd = self.many(200, theirs, "alpha", "10.21", **{f"{number:063}": {} for number in range(128)})
        own = self.many(3, this, "zeta", "10.20")
        found = naming.Directory(this, [own, crowd]).on("node-1")
        assert [each.stack for each in found if each.namespace == "zeta"] == ["s0000", "s0001", "s0002"]
        assert 10 < len(found) < 203
        assert sum(len(json.dumps(each.to_dict())) for each in found) < naming.MOST_BYTES
        assert [each.namespace for each in found] == sorted(each.namespace for each in found)


class TestWrites:
    def test_the_order_of_names_addresses_and_services_means_nothing(self) -> None:
        this = zone(cidr6="fd00:20::/64", **VXLAN)
        _, made = settle([this], [SHOP, MAIL], guests(SHOP, MAIL, web={}, db={}), NODES)
        for each in made:
            back = [
                name.model_copy(update={"addresses": name.addresses[::-1], "services": name.services[::-1]})
                for name in reversed(each.spec.names)
            ]
            turned = each.model_copy(update={"spec": each.spec.model_copy(update={"names": back})})
            assert same(turned, each)
            assert not same(each.model_copy(update={"spec": dropping(each)}), each)

    def test_another_image_changes_nothing(self) -> None:
        this = zone()
        one = settle([this], [SHOP], guests(SHOP, web={"image": "a"}), NODES)
        assert one == settle([this], [SHOP], guests(SHOP, web={"image": "b"}), NODES)


def dropping(attachment: ZoneAttachment) -> Any:
    """The spec without one of its names."""
    return attachment.spec.model_copy(update={"names": attachment.spec.names[1:]})


KEYS = [("acme", "a"), ("acme", "b"), ("other", "a"), ("other", "c")]
places = st.sampled_from(["node-1", "node-2", "node-3"])


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Zones of two tenants that name each other at random, Stacks at random places, some of them forged."""
    zones = []
    for number, (space, name) in enumerate(KEYS):
        peers = [
            {"namespace": other, "zone": each, "outboundOnly": draw(st.booleans())}
            for other, each in sorted(draw(st.sets(st.sampled_from(KEYS))))
        ]
        zones.append(
            zone(
                f"10.{20 + draw(st.sampled_from([number, number, 0]))}.0.0/24",
                name=name,
                namespace=space,
                metadata={"creationTimestamp": f"2026-01-01T00:00:0{draw(st.integers(0, 2))}Z"},
                status={},
                encapsulation={"type": draw(st.sampled_from(["vxlan", "local"]))},
                peers=peers,
            )
        )
    stacks, its = [], []
    for number in range(draw(st.integers(0, 8))):
        space, name = draw(st.sampled_from(KEYS))
        part = draw(st.sampled_from([KEYS.index((space, name)), *range(4)]))
        address = f"10.{20 + part}.0.{draw(st.integers(2, 6))}"
        stacks.append(living(f"s{number}", draw(places), address, name, space))
        its += [guest(stacks[-1], at) for at in draw(st.sets(places, max_size=2))]
    return {"zones": zones, "stacks": stacks, "guests": its, "nodes": NODES}


def may_connect(zone: NetworkZone, to: NetworkZone) -> bool:
    """As the documentation of `spec.peers` says it."""

    def names(one: NetworkZone, other: NetworkZone) -> list[bool]:
        return [
            not each.outbound_only
            for each in one.spec.peers
            if (each.namespace, each.zone) == (other.namespace, other.name)
        ]

    return zone.uid == to.uid or (bool(names(zone, to)) and any(names(to, zone)) and bool(to.status.gateway))


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_no_name_is_ever_told_of_what_may_not_be_reached(world: dict[str, Any]) -> None:
    zones, made = settle(**world)
    known = {key(each): each for each in zones}
    homes = {(each.namespace, each.name): known[each.namespace, each.spec.zone] for each in world["stacks"]}
    claims = {each.uid: each.status.node for each in world["stacks"]}
    present: dict[tuple[str, str], dict[str, str]] = {}
    for each in world["guests"]:
        ref = each.spec.stack_ref
        present.setdefault((ref.namespace, ref.name), {})[node_of(each.namespace)] = ref.uid
    for attachment in made:
        this = known[attachment.spec.zone_ref.namespace, attachment.spec.zone_ref.name]
        here, names = node_of(attachment.namespace), attachment.spec.names
        stacks = [(each.namespace, each.stack) for each in names]
        assert stacks == sorted(set(stacks))
        told = [address for each in names for address in each.addresses]
        assert len(told) == len(set(told)), "one address, one name"
        for of, address in zip(stacks, told, strict=True):
            home = homes[of]
            assert may_connect(this, home)
            assert address.startswith(home.spec.cidrs[0].removesuffix("0/24"))
            assert of in present, "a claim alone gives no name"
            if not (spans_nodes(this) and spans_nodes(home)):
                assert here in present[of], "what is on another node is not reached"
                claim = claims[present[of][here]]
                assert claim == here or claim not in present[of]
    assert settle(zones, world["stacks"], world["guests"], NODES, made)[1] == made
