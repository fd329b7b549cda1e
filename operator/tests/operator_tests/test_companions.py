"""Together and apart: hard rules hold whatever the order of arrival, wishes decide between nodes that fit."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_api.types import GuestType
from dsecos_operator.rendering import Refused
from dsecos_operator.scheduling import Company, Member, Occupant, Rules, Wanted, place
from dsecos_operator.scheduling.companions import Map, demands
from hypothesis import given, settings
from hypothesis import strategies as st

from .objects import node, occupant

NODES = [
    node("a1", labels={"rack": "a"}),
    node("a2", labels={"rack": "a"}),
    node("b1", labels={"rack": "b"}),
    node("c1"),
]
RULES = Rules()
RACK = "rack"


def company(*stacks: str, **more: Any) -> Company:
    return Company(stacks=frozenset(stacks), **more)


def wanted(name: str, **more: Any) -> Wanted:
    values: dict[str, Any] = {
        "namespace": "acme",
        "stack": name,
        "uid": f"uid-{name}",
        "zone": f"zone-{name}",
        "type": GuestType.CONTAINER,
        "selector": (),
        "cpu": 100,
        "memory": 2**20,
        "host_ports": frozenset(),
        "pools": frozenset(),
    }
    return Wanted(**{**values, **more})


def there(name: str, at: str, **more: Any) -> Occupant:
    return occupant(name, node=at, zone=f"zone-{name}", memory=2**20, **more)


def unplaced(name: str, **more: Any) -> Member:
    return Member(namespace="acme", stack=name, uid=f"uid-{name}", zone=f"zone-{name}", **more)


def refusal(this: Wanted, others: list[Occupant], waiting: list[Member] | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        place(this, NODES, others, RULES, waiting or [])
    assert not caught.value.stalled, "the others may go or come"
    return caught.value


def test_apart_means_another_node() -> None:
    assert place(wanted("web", apart=company("db")), NODES, [there("db", "a1")], RULES) == "a2"


def test_apart_by_a_label_means_another_value_and_a_node_without_it_is_a_place_of_its_own() -> None:
    rule = company("db", "cache", topology=RACK)
    others = [there("db", "a1"), there("cache", "b1")]
    assert place(wanted("web", apart=rule), NODES, others, RULES) == "c1"
    told = refusal(wanted("web", apart=rule), [*others, there("db", "c1")]).message
    assert "a1: Stack acme/db, which it has to be apart from, is on it" in told
    assert "a2: Stack acme/db, which it has to be apart from, is on a1, of the same rack" in told


def test_who_wants_to_be_apart_keeps_newcomers_away_too() -> None:
    loner = there("db", "a1", apart=company("web", topology=RACK))
    assert place(wanted("web"), NODES, [loner], RULES) == "b1"
    everywhere = [there("db", each.name, apart=company("web")) for each in NODES]
    assert (
        "Stack acme/db, which has to be apart from it, is on it" in refusal(wanted("web"), everywhere).message
    )


def test_together_means_where_the_companion_is() -> None:
    assert place(wanted("web", together=company("db")), NODES, [there("db", "b1")], RULES) == "b1"
    near = wanted("web", together=company("db", topology=RACK))
    assert place(near, NODES, [there("db", "a2")], RULES) == "a1"
    drawn = there("db", "c1", together=company("web"))
    assert place(wanted("web"), NODES, [drawn], RULES) == "c1"


def test_all_stacks_of_a_zone_are_companions() -> None:
    rule = Company(zones=frozenset({"zone-db"}))
    assert place(wanted("web", together=rule), NODES, [there("db", "b1")], RULES) == "b1"


def test_companions_are_of_the_same_namespace_and_orphans_are_none() -> None:
    foreign = there("db", "a1", namespace="other")
    assert place(wanted("web", apart=company("db")), NODES, [foreign], RULES) == "a2", (
        "more memory is left there"
    )
    crowded = [there("db", each.name, namespace="other") for each in NODES]
    assert place(wanted("web", apart=company("db")), NODES, crowded, RULES) == "a1"
    orphaned = [there("db", each.name, orphan=True) for each in NODES]
    assert place(wanted("web", apart=company("db")), NODES, orphaned, RULES) == "a1"


def test_a_companion_without_a_place_is_waited_for_and_one_that_does_not_exist_is_not() -> None:
    web = wanted("web", together=company("db"))
    assert "waits for Stack acme/db" in refusal(web, [], [unplaced("db")]).message
    assert place(web, NODES, [], RULES) == "a1"


def test_of_two_that_want_to_be_together_the_first_goes_ahead_and_the_second_follows() -> None:
    web, db = wanted("web", together=company("db")), wanted("db", together=company("web"))
    first = place(
        web, NODES, [], RULES, [unplaced("web", together=web.together), unplaced("db", together=db.together)]
    )
    others = [there("web", first, together=web.together)]
    assert place(db, NODES, others, RULES, [unplaced("db", together=db.together)]) == first


def test_who_waits_for_a_circle_is_not_part_of_it() -> None:
    b, c = unplaced("b", together=company("c")), unplaced("c", together=company("b"))
    assert "waits for Stack acme/b" in refusal(wanted("a", together=company("b")), [], [b, c]).message
    assert place(wanted("b", together=company("c")), NODES, [], RULES, [b, c]) == "a1"


def test_a_wish_decides_between_nodes_that_fit_and_keeps_nobody_away() -> None:
    liked = company("db", preferred=True)
    full = [there("db", "b1"), there("x", "b1", namespace="other")]
    assert place(wanted("web", together=liked), NODES, full, RULES) == "b1"
    everywhere = [there("db", each.name) for each in NODES]
    assert place(wanted("web", apart=liked), NODES, everywhere, RULES) == "a1"
    assert place(wanted("web", apart=liked), NODES, [there("db", "a1")], RULES) == "a2"


NAMES = ["s1", "s2", "s3", "s4", "s5"]
rules = st.none() | st.builds(
    Company,
    stacks=st.frozensets(st.sampled_from(NAMES), max_size=3),
    zones=st.frozensets(st.sampled_from([f"zone-{name}" for name in NAMES]), max_size=2),
    topology=st.none() | st.just(RACK),
    preferred=st.booleans(),
)
crowd = st.fixed_dictionaries({name: st.tuples(rules, rules) for name in NAMES})


@given(crowd, st.permutations(NAMES), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_no_hard_rule_is_ever_broken_whatever_the_order_of_arrival(
    who: dict[str, tuple[Company | None, Company | None]], order: list[str], memory: int
) -> None:
    nodes = [node(each.name, memory=f"{memory}Mi", labels=dict(each.metadata.labels)) for each in NODES]
    places = Map(nodes)
    here: list[Occupant] = []
    for name in order:
        together, apart = who[name]
        this = wanted(name, together=together, apart=apart)
        try:
            chosen = place(this, nodes, here, RULES)
        except Refused:
            continue
        assert chosen == place(this, nodes, list(reversed(here)), RULES), "deterministic"
        here.append(there(name, chosen, together=together, apart=apart))
    for one in here:
        for other in here:
            apart_rule, together_rule = demands(one.apart, one, other), demands(one.together, one, other)
            if apart_rule:
                key = apart_rule.topology
                assert places.domain(one.node, key) != places.domain(other.node, key)
            if together_rule:
                key = together_rule.topology
                assert places.domain(one.node, key) == places.domain(other.node, key)


@given(st.fixed_dictionaries({name: st.none() | st.sampled_from(NAMES) for name in NAMES}), st.data())
@settings(max_examples=50, deadline=None)
def test_who_wants_one_companion_finds_a_place_however_the_circles_lie(
    companions: dict[str, str | None], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(NAMES))
    rule = {name: company(other) for name, other in companions.items() if other is not None}
    here: list[Occupant] = []
    todo = list(order)
    for _ in order:  # whoever waits is woken by a place that another one got
        for name in list(todo):
            waiting = [unplaced(each, together=rule.get(each)) for each in todo]
            try:
                chosen = place(wanted(name, together=rule.get(name)), NODES, here, RULES, waiting)
            except Refused:
                continue
            todo.remove(name)
            here.append(there(name, chosen, together=rule.get(name)))
    assert todo == []
