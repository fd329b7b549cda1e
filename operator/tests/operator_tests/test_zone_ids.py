"""VXLAN network identifiers and 802.1Q ids: one zone has one of its space, and keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from dsecos_api import NetworkZone, Reason, ZoneAttachment
from dsecos_api.networkzone import EncapsulationType
from dsecos_api.peering import encapsulation
from dsecos_operator.rendering import Refused
from dsecos_operator.settings import OperatorSettings
from dsecos_operator.zones import ids
from dsecos_operator.zones.whole import settle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydantic import ValidationError

from .objects import peer, placed, zone

VXLAN, VLAN = EncapsulationType.VXLAN, EncapsulationType.VLAN
FEW = ids.IdRange(3000, 3002)
"""Fewer 802.1Q ids than there are zones."""


def spanning(
    name: str,
    number: int | None = None,
    *,
    second: int = 0,
    has: int | None = None,
    by: EncapsulationType = VXLAN,
) -> NetworkZone:
    """A zone that was made in a second; `number` is what it asks for, `has` what its status says."""
    encapsulation: dict[str, Any] = {"type": by} | ({"id": number} if number else {})
    made = {"creationTimestamp": f"2026-01-01T00:00:{second:02}Z", "uid": f"{name}-{second}"}
    return zone(name=name, metadata=made, status={"id": has}, encapsulation=encapsulation)


def choose(this: NetworkZone, *others: NetworkZone, attachments: tuple[ZoneAttachment, ...] = ()) -> int:
    zones = [*others, this]
    return ids.choose(this, zones, ids.claims(encapsulation(this), zones, attachments), {}, FEW)


def attached(this: NetworkZone) -> tuple[ZoneAttachment, ...]:
    """What nodes are told of a zone."""
    _, made = settle([this], [placed("shop", "node-1", "10.20.0.2", zone=this.name)], [], [peer(1)])
    return tuple(made)


class TestChoice:
    def test_the_id_that_is_asked_for_is_had(self) -> None:
        assert choose(spanning("a", 7)) == 7

    def test_a_zone_keeps_what_it_has(self) -> None:
        this = spanning("a", has=99_999)
        assert choose(this, spanning("b", has=4), spanning("c")) == 99_999

    def test_the_older_of_two_has_it_and_the_younger_is_told_who(self) -> None:
        old, young = spanning("old", 7), spanning("young", 7, second=1)
        assert choose(old, young) == 7
        with pytest.raises(Refused, match="7 is taken: NetworkZone acme/old") as caught:
            choose(young, old)
        assert caught.value.reason == Reason.ID_TAKEN

    def test_an_id_in_use_stays_with_its_zone_whoever_asks_for_it(self) -> None:
        user = spanning("young", has=100_000, second=9)
        with pytest.raises(Refused, match="acme/young has it"):
            choose(spanning("old", 100_000), user)
        assert choose(user, spanning("old", 100_000)) == 100_000

    def test_one_that_is_being_deleted_has_its_id_until_it_is_gone(self) -> None:
        going = spanning("old", 7, has=7)
        metadata = going.metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:01:00Z"})
        with pytest.raises(Refused, match="acme/old has it"):
            choose(spanning("new", 7, second=1), going.model_copy(update={"metadata": metadata}))

    def test_what_anybody_asks_for_is_not_given_to_others(self) -> None:
        first = choose(spanning("a"))
        assert choose(spanning("a"), spanning("b", first, second=5)) != first

    def test_ids_that_people_choose_are_left_to_them(self) -> None:
        assert ids.VNIS.first <= choose(spanning("a")) <= ids.VNIS.last

    def test_the_next_zone_does_not_get_the_id_of_the_one_before(self) -> None:
        assert choose(spanning("a")) != choose(spanning("a", second=1))

    def test_the_search_goes_on_where_ids_are_taken(self) -> None:
        first = choose(spanning("a"))
        assert choose(spanning("a"), spanning("b", has=first)) == first + 1

    def test_a_lost_status_is_told_again_by_the_nodes(self) -> None:
        this = spanning("a", has=123_456)
        there = attached(this)
        assert choose(spanning("a"), spanning("b"), attachments=there) == 123_456

    def test_a_zone_that_was_forced_away_has_its_id_while_nodes_have_it(self) -> None:
        there = attached(spanning("gone", 7, has=7))
        with pytest.raises(Refused, match="acme/gone has it"):
            choose(spanning("new", 7, second=1), attachments=there)

    def test_a_status_that_says_what_another_zone_uses_counts_for_nothing(self) -> None:
        user, forged = spanning("young", has=100_000, second=9), spanning("old", has=100_000)
        assert choose(user, forged, attachments=attached(user)) == 100_000
        assert choose(forged, user, attachments=attached(user)) != 100_000

    def test_a_write_whose_answer_got_lost_still_counts(self) -> None:
        one, other = spanning("a"), spanning("b")
        first = ids.choose(one, [one, other], {}, {})
        wish = spanning("b", first)
        with pytest.raises(Refused, match="acme/a has it"):
            ids.choose(wish, [one, wish], {}, {one.uid: first})
        assert ids.choose(one, [one, other], {}, {one.uid: first}) == first


class TestSpaces:
    def test_a_vxlan_and_a_vlan_may_have_the_same_number(self) -> None:
        number = FEW.first
        there = spanning("old", number, has=number)
        young = spanning("young", number, second=1, by=VLAN)
        assert choose(young, there, attachments=attached(there)) == number
        there = spanning("old", number, has=number, by=VLAN)
        assert choose(spanning("young", number, second=1), there, attachments=attached(there)) == number

    def test_an_id_of_802_1q_is_one_of_those_that_are_set(self) -> None:
        assert choose(spanning("a", by=VLAN)) in range(FEW.first, FEW.last + 1)
        assert choose(spanning("a", FEW.last, by=VLAN)) == FEW.last
        assert choose(spanning("a", has=42, by=VLAN)) == 42, "one of a range of before"
        for beside in (1, FEW.first - 1, FEW.last + 1, 4094):
            with pytest.raises(Refused, match=f"{beside} is none of the 802.1Q ids .* 3000-3002") as caught:
                choose(spanning("a", beside, by=VLAN))
            assert caught.value.reason == Reason.ID_INVALID

    def test_where_all_are_taken_it_is_said_what_to_do(self) -> None:
        others = [spanning(f"z{number}", has=number, by=VLAN) for number in range(FEW.first, FEW.last)]
        wishing = spanning("wishing", FEW.last, by=VLAN)
        with pytest.raises(
            Refused, match="3000-3002 is taken; delete zones, or widen DSECOS_VLAN_IDS"
        ) as caught:
            choose(spanning("a", by=VLAN), *others, wishing)
        assert caught.value.reason == Reason.ID_TAKEN
        assert choose(spanning("a", by=VLAN), *others, spanning("vxlan", FEW.last)) == FEW.last

    def test_nodes_tell_of_a_vlan_that_its_zone_was_forced_away_from(self) -> None:
        there = attached(spanning("gone", FEW.first, has=FEW.first, by=VLAN))
        with pytest.raises(Refused, match="3000 is taken: NetworkZone acme/gone has it"):
            choose(spanning("new", FEW.first, second=1, by=VLAN), attachments=there)
        assert choose(spanning("new", FEW.first, second=1), attachments=there) == FEW.first


class TestSetting:
    @pytest.mark.parametrize(("text", "first", "last"), [("1-4094", 1, 4094), (" 77 - 77 ", 77, 77)])
    def test_ids_are_set_as_the_first_and_the_last(self, text: str, first: int, last: int) -> None:
        assert OperatorSettings(vlan_ids=text).vlan_ids == (first, last)
        assert OperatorSettings().vlan_ids == (3000, 3999)

    @pytest.mark.parametrize("text", ["0-9", "4000-4095", "9-8", "7", "", "-", "1-2-3", "a-b", "1,2"])
    def test_what_is_no_range_of_802_1q_ids_is_refused(
        self, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DSECOS_VLAN_IDS", text)
        with pytest.raises(ValidationError, match="as 3000-3999, between 1 and 4094"):
            OperatorSettings()


@dataclass
class Server:
    """Zones by name, and how many were ever made."""

    zones: dict[str, NetworkZone] = field(default_factory=dict)
    made: int = 0


class Claims(RuleBasedStateMachine):
    """Users make and delete zones; operators claim, die on the way, and succeed each other.

    What `ids` is given is what the API server has, as `Claiming` reads it; between its read and its write no
    other claim happens, but a write, or the answer to it, may be lost. There are fewer 802.1Q ids than zones.
    """

    names = st.sampled_from(["a", "b", "c", "d", "e"])

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.promised: dict[str, int] = {}
        self.seen: dict[str, int] = {}

    @rule(
        name=names,
        number=st.sampled_from([None, 1, FEW.first, FEW.last]),
        by=st.sampled_from([VXLAN, VLAN]),
    )
    def apply(self, name: str, number: int | None, by: EncapsulationType) -> None:
        """Several may be made in the same second."""
        if name not in self.server.zones:
            self.server.zones[name] = spanning(name, number, second=self.server.made // 3 % 60, by=by)
            fresh = self.server.zones[name].metadata.model_copy(update={"uid": f"uid-{self.server.made}"})
            self.server.zones[name] = self.server.zones[name].model_copy(update={"metadata": fresh})
            self.server.made += 1

    @rule(name=names)
    def delete(self, name: str) -> None:
        """It goes, and its id is free."""
        self.server.zones.pop(name, None)

    @rule(name=names, outcome=st.sampled_from(["written", "lost", "answer lost"]))
    def reconcile(self, name: str, outcome: str) -> None:
        """One claim."""
        this = self.server.zones.get(name)
        if this is None:
            return
        zones = list(self.server.zones.values())
        try:
            known = ids.claims(encapsulation(this), zones, ())
            number = ids.choose(this, zones, known, self.promised, FEW)
        except Refused:
            return
        self.promised[this.uid] = number
        if outcome != "lost":
            status = this.status.model_copy(update={"id": number})
            self.server.zones[name] = this.model_copy(update={"status": status})
        if outcome == "written":
            del self.promised[this.uid]

    @rule()
    def another_leader(self) -> None:
        """It knows what the API server has."""
        self.promised.clear()

    @invariant()
    def no_two_zones_have_the_same_id(self) -> None:
        """Of one space; nor does anybody have another one than the one that was asked for, or one of those
        that are given out.
        """
        having = [each for each in self.server.zones.values() if each.status.id is not None]
        assert len(having) == len({(encapsulation(each), each.status.id) for each in having})
        for each in having:
            given = FEW if encapsulation(each) is VLAN else ids.VNIS
            wanted = ids.wish(each)
            assert each.status.id in ([wanted] if wanted else range(given.first, given.last + 1))

    @invariant()
    def no_id_ever_changes(self) -> None:
        """As long as the zone lives."""
        for each in self.server.zones.values():
            if each.status.id is not None:
                assert self.seen.setdefault(each.uid, each.status.id) == each.status.id


TestClaims = Claims.TestCase
TestClaims.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("by", [VXLAN, VLAN])
@given(order=st.permutations(["a", "b", "c", "d", "e", "f"]))
def test_in_whatever_order_zones_are_met_they_have_the_same_ids(
    by: EncapsulationType, order: list[str]
) -> None:
    wishes = {"a": 3005, "b": 3005, "c": None, "d": None, "e": 3009, "f": None}
    zones = {name: spanning(name, number, by=by) for name, number in wishes.items()}

    def outcome(names: list[str]) -> dict[str, int | None]:
        now = dict(zones)
        for name in names:
            known = list(now.values())
            try:
                number = ids.choose(now[name], known, ids.claims(by, known, ()), {})
            except Refused:
                continue
            status = now[name].status.model_copy(update={"id": number})
            now[name] = now[name].model_copy(update={"status": status})
        return {name: each.status.id for name, each in now.items()}

    assert outcome(order) == outcome(sorted(order))
    assert (outcome(order)["a"], outcome(order)["b"]) == (3005, None)
