"""A changed firewall and changed uplinks roll over the nodes, a few at a time; harm stops them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from dsecos_api import HostPolicy, NetworkZone, Node, Reason, Type
from dsecos_api.hostpolicy import HostFirewall
from dsecos_operator.hostpolicies.plan import (
    ApplyPolicy,
    Standing,
    Verdict,
    Wish,
    given_to,
    plan,
    standing,
    told_of,
    wish_of,
)
from dsecos_operator.kinds import node_of
from hypothesis import given
from hypothesis import strategies as st

FIRST: dict[str, Any] = {"managementNetworks": ["10.0.0.0/24"]}
SECOND: dict[str, Any] = {"managementNetworks": ["10.0.0.0/24"], "allow": [{"port": 80}]}
UPLINKS: list[dict[str, Any]] = [{"interface": "eth0", "mtu": 9000}]
BAD: dict[str, Any] = {"managementNetworks": ["10.0.0.0/24"], "egress": [{"cidr": "127.0.0.0/8"}]}


@dataclass
class Cluster:
    """Nodes, their policies as the API holds them, and agents that answer when they are told to."""

    max_unavailable: int = 1
    nodes: dict[str, Node] = field(default_factory=dict)
    policies: dict[str, HostPolicy] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    zones: list[NetworkZone] = field(default_factory=list)
    told: list[list[str]] = field(default_factory=list)
    """Nodes that were given another firewall or other uplinks, by pass."""

    def add(self, name: str, number: int, firewall: dict[str, Any] | None = None, **status: Any) -> None:
        registered = {"type": Type.NODE_REGISTERED, "status": "True", "reason": Reason.REGISTERED}
        raw = {
            "metadata": {"name": name, "uid": name},
            "spec": {"engine": {"type": "lxc"}},
            "status": {
                "conditions": [registered],
                "addresses": {"management": f"10.0.0.{number}", "tunnel": f"10.1.0.{number}"},
                **status,
            },
        }
        self.nodes[name] = Node.parse(raw)
        if firewall is not None:
            self.edit(name, firewall=firewall)

    def edit(self, *names: str, **spec: Any) -> None:
        for name in names or tuple(self.nodes):
            raw = self.nodes[name].to_dict()
            raw["spec"] = {key: value for key, value in {**raw["spec"], **spec}.items() if value is not None}
            self.nodes[name] = Node.parse(raw)

    def roll(self) -> list[str]:
        """One pass; the nodes whose firewall or uplinks were changed by it."""
        actions, self.verdicts = plan(
            list(self.nodes.values()), self.policies, self.max_unavailable, self.zones
        )
        changed = []
        for action in actions:
            name = node_of(action.policy.namespace)
            present = self.policies.get(name)
            if given_to(action.policy) != given_to(present):
                changed.append(name)
            generation = (present.metadata.generation or 0) + 1 if present else 1
            metadata = action.policy.metadata.model_copy(update={"generation": generation})
            status = present.status if present else action.policy.status
            self.policies[name] = action.policy.model_copy(update={"metadata": metadata, "status": status})
        self.told.append(changed)
        return changed

    def answer(self, *names: str, reason: Reason = Reason.IN_FORCE) -> None:
        """What the agents of these nodes, or of all, say of the policy that they have."""
        for name in names or tuple(self.policies):
            raw = self.policies[name].to_dict()
            well = reason is Reason.IN_FORCE
            raw["status"] = {
                "observedGeneration": raw["metadata"]["generation"],
                **({"enforced": raw["spec"].get("firewall")} if well else {}),
                **({"uplinks": raw["spec"].get("uplinks", [])} if well else {}),
                "conditions": [
                    {"type": "Ready", "status": str(well), "reason": reason, "message": f"so says {name}"}
                ],
            }
            self.policies[name] = HostPolicy.parse(raw)

    def told_of(self, name: str) -> dict[Type, Reason]:
        """The reasons of the Node's conditions."""
        told = told_of(self.nodes[name], self.policies[name], self.verdicts[name])
        return {half: verdict.reason for half, verdict in told.items()}

    def given(self, name: str) -> HostFirewall | None:
        return self.policies[name].spec.firewall


def cluster(count: int, max_unavailable: int = 1) -> Cluster:
    """Nodes a, b, c, ... with the first firewall in force."""
    made = Cluster(max_unavailable)
    for number in range(count):
        made.add("abcdefgh"[number], number + 1, FIRST)
    for _ in range(count):
        made.roll()
        made.answer()
    made.roll()
    made.told.clear()
    return made


def zone(name: str, *cidrs: str, **status: Any) -> NetworkZone:
    return NetworkZone.parse(
        {"metadata": {"name": name, "namespace": "acme"}, "spec": {"cidrs": cidrs}, "status": status}
    )


def test_every_node_is_told_the_networks_of_all_zones_and_its_firewall_is_none_the_less_in_force() -> None:
    made = cluster(2)
    made.zones = [
        zone("b", "10.21.0.0/24", "fd00:21::/64", gateway="10.21.0.1"),
        zone("a", "10.20.0.0/24", nodes=[{"name": "a"}]),
        zone("wanted", "0.0.0.0/0"),
    ]
    assert made.roll() == [], "no firewall has changed"
    for policy in made.policies.values():
        assert policy.spec.zones == ["10.20.0.0/24", "10.21.0.0/24", "fd00:21::/64"]
    made.roll()
    assert {verdict.reason for verdict in made.verdicts.values()} == {Reason.IN_FORCE}
    made.edit(firewall=SECOND)
    assert made.roll() == ["a"], "nobody is under way"


def test_every_node_is_told_the_addresses_of_all_also_without_a_firewall() -> None:
    made = Cluster()
    made.add("a", 1)
    made.add("b", 2)
    assert made.roll() == []
    for name in "ab":
        assert made.policies[name].spec.nodes == ["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.1.0.2"]
        assert made.policies[name].spec.firewall is None
        assert made.policies[name].namespace == f"dsecos-node-{name}"
    assert made.verdicts == {}
    assert plan(list(made.nodes.values()), made.policies, 1)[0] == [], "a pass after it plans nothing"


def test_one_node_after_the_other() -> None:
    made = cluster(3)
    made.edit(firewall=SECOND)
    assert made.roll() == ["a"]
    assert made.verdicts["a"].reason is Reason.PROGRESSING
    assert made.verdicts["b"] == Verdict(False, Reason.PENDING, "waits for its turn, after node a")
    assert made.roll() == [], "a has not answered"
    made.answer("a")
    assert made.roll() == ["b"]
    assert made.verdicts["a"] == Verdict(True, Reason.IN_FORCE, "so says a")
    made.answer("b")
    assert made.roll() == ["c"]
    made.answer("c")
    assert made.roll() == []
    assert {each.reason for each in made.verdicts.values()} == {Reason.IN_FORCE}


def test_two_at_a_time() -> None:
    made = cluster(5, max_unavailable=2)
    made.edit(firewall=SECOND)
    assert made.roll() == ["a", "b"]
    made.answer("b")
    assert made.roll() == ["c"], "a is still under way"
    made.answer("a", "c")
    assert made.roll() == ["d", "e"]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.ROLLED_BACK,
        Reason.LOCKS_OUT_API_SERVER,
        Reason.LOCKS_OUT_ADMINISTRATORS,
        Reason.LOCKS_OUT_NODES,
        Reason.CIDR_INVALID,
        Reason.UPLINK_INVALID,
    ],
)
def test_one_that_was_undone_or_refused_stops_the_others_and_they_say_so(reason: Reason) -> None:
    made = cluster(3)
    made.edit(firewall=BAD)
    assert made.roll() == ["a"]
    made.answer("a", reason=reason)
    assert made.roll() == []
    assert made.verdicts["a"] == Verdict(False, reason, "so says a")
    for name in "bc":
        assert made.verdicts[name].reason is Reason.ROLLOUT_STOPPED
        assert "node a did not take its own: so says a" in made.verdicts[name].message
        assert made.given(name) == HostFirewall.model_validate(FIRST)


def test_a_new_firewall_mends_the_one_that_stopped_before_the_others() -> None:
    made = cluster(3)
    made.edit("b", firewall=BAD)
    assert made.roll() == ["b"]
    made.answer("b", reason=Reason.ROLLED_BACK)
    made.edit(firewall=SECOND)
    assert made.roll() == ["b"]
    made.answer("b")
    assert made.roll() == ["a"]


def test_one_whose_agent_cannot_do_it_takes_a_better_one_and_is_waited_for() -> None:
    made = cluster(2)
    made.edit(firewall=BAD)
    assert made.roll() == ["a"]
    made.answer("a", reason=Reason.FAILED)
    assert made.roll() == []
    assert made.verdicts["a"] == Verdict(False, Reason.FAILED, "so says a")
    made.edit(firewall=SECOND)
    assert made.roll() == ["a"]
    made.answer("a")
    assert made.roll() == ["b"]


def test_taking_a_firewall_away_waits_for_nobody() -> None:
    made = cluster(3)
    made.edit("a", firewall=BAD)
    made.roll()
    made.answer("a", reason=Reason.ROLLED_BACK)
    made.edit(firewall=None)
    assert made.roll() == ["a", "b", "c"]
    made.answer()
    made.roll()
    assert made.verdicts == {}


def test_uplinks_go_to_one_node_after_the_other_and_a_failure_stops_them() -> None:
    made = cluster(3)
    made.edit(uplinks=UPLINKS)
    assert made.roll() == ["a"]
    assert [each.interface for each in made.policies["a"].spec.uplinks] == ["eth0"]
    assert made.verdicts["b"] == Verdict(False, Reason.PENDING, "waits for its turn, after node a")
    made.answer("a")
    assert made.roll() == ["b"]
    made.answer("b", reason=Reason.ROLLED_BACK)
    assert made.roll() == []
    assert made.verdicts["c"].reason is Reason.ROLLOUT_STOPPED
    assert made.policies["c"].spec.uplinks == []


def test_a_node_may_have_uplinks_and_no_firewall() -> None:
    made = Cluster()
    made.add("a", 1)
    made.edit(uplinks=UPLINKS)
    assert made.roll() == ["a"]
    made.answer("a")
    assert made.roll() == []
    assert made.told_of("a") == {Type.UPLINKS: Reason.IN_FORCE}
    assert made.given("a") is None


def test_taking_uplinks_away_waits_for_nobody_and_another_firewall_with_it_does() -> None:
    made = cluster(2)
    made.edit(uplinks=UPLINKS)
    for _ in "ab":
        made.roll()
        made.answer()
    made.edit(uplinks=None)
    assert made.roll() == ["a", "b"]
    made.answer()
    made.edit(uplinks=UPLINKS)
    assert made.roll() == ["a"]
    made.answer()
    made.edit("a", uplinks=None, firewall=SECOND)
    assert made.roll() == ["a"]
    made.edit("b", firewall=SECOND)
    assert made.roll() == [], "a is not done"


def test_the_half_that_is_in_force_is_not_blamed_for_the_other() -> None:
    made = cluster(1)
    made.edit(uplinks=UPLINKS)
    made.roll()
    made.answer("a", reason=Reason.UPLINK_INVALID)
    made.policies["a"] = made.policies["a"].model_copy(
        update={
            "status": made.policies["a"].status.model_copy(
                update={"enforced": HostFirewall.model_validate(FIRST)}
            )
        }
    )
    made.roll()
    assert made.told_of("a") == {
        Type.HOST_FIREWALL: Reason.IN_FORCE,
        Type.UPLINKS: Reason.UPLINK_INVALID,
    }
    made.edit(firewall=SECOND)
    made.roll()
    made.answer("a", reason=Reason.ROLLED_BACK)
    made.roll()
    assert set(made.told_of("a").values()) == {Reason.ROLLED_BACK}, "both were undone"


def test_a_wish_within_what_was_had_takes_away_only() -> None:
    first, second = HostFirewall.model_validate(FIRST), HostFirewall.model_validate(SECOND)
    uplinks = Node.parse({"spec": {"engine": {"type": "lxc"}, "uplinks": UPLINKS}}).spec.uplinks
    had = Wish(first, uplinks)
    assert all(each.within(had) for each in (Wish(), Wish(first), Wish(None, uplinks), had))
    assert not any(
        each.within(had) for each in (Wish(second, uplinks), Wish(second), Wish(first, [*uplinks] * 2))
    )


def test_the_addresses_of_a_new_node_are_told_at_once_and_firewalls_wait_for_it() -> None:
    made = cluster(2)
    made.add("c", 3)
    made.edit(firewall=SECOND)
    assert made.roll() == ["a"]
    assert all("10.0.0.3" in policy.spec.nodes for policy in made.policies.values())
    assert made.roll() == [], "a is not done, and b has not yet taken in the new addresses"
    made.answer("a")
    assert made.roll() == ["b"]
    assert made.roll() == [], "b is not done"


def test_a_paused_node_keeps_its_firewall_and_its_agent_is_told() -> None:
    made = cluster(2)
    made.edit("a", paused=True)
    made.edit(firewall=SECOND)
    assert made.roll() == ["b"]
    assert made.policies["a"].spec.paused
    assert made.verdicts["a"].status is None
    assert made.given("a") == HostFirewall.model_validate(FIRST)


def test_a_node_that_is_not_registered_has_no_policy() -> None:
    made = Cluster()
    made.add("a", 1, FIRST, conditions=[])
    assert made.roll() == []
    assert made.policies == {}
    assert made.verdicts["a"].reason is Reason.PENDING


@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from(["edit", "uplinks", "answer", "undo", "remove", "join", "pass"]),
        ),
        max_size=25,
    ),
)
def test_never_more_at_a_time_than_allowed_and_nobody_after_a_failure(
    max_unavailable: int, events: list[tuple[str, str]]
) -> None:
    made = cluster(4, max_unavailable)
    for number, (name, event) in enumerate(events):
        match event:
            case "edit":
                made.edit(firewall={**FIRST, "allow": [{"port": number + 1}]})
            case "uplinks":
                made.edit(uplinks=[{"interface": "eth0", "mtu": 1280 + number}])
            case "remove":
                made.edit(name, firewall=None, uplinks=None)
            case "join":
                made.add(f"z{number}", number + 10)
            case "answer":
                made.answer(name)
            case "undo":
                made.answer(name, reason=Reason.ROLLED_BACK)
        before = {each: standing(policy) for each, policy in made.policies.items()}
        mended = {
            each
            for each, policy in made.policies.items()
            if before[each] is Standing.STOPPED and given_to(policy) != wish_of(made.nodes[each])
        }
        told = [each for each in made.roll() if given_to(made.policies[each])]
        stopped = {each for each, how in before.items() if how is Standing.STOPPED} - mended
        assert not (told and stopped), "the roll stands still"
        busy = [
            each
            for each, policy in made.policies.items()
            if given_to(policy) and standing(policy) is Standing.UNDER_WAY
        ]
        # Whoever lost what it was told, because it was edited meanwhile, is told nothing new either.
        assert not told or len(busy) <= max_unavailable
    assert all(isinstance(each, ApplyPolicy) for each in plan(list(made.nodes.values()), made.policies, 1)[0])
