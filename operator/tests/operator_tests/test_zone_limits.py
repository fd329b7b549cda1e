"""What does not fit into an object is told, and is what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_api import Condition, NetworkZone, Node, Reason, Stack, Type, ZoneAttachment
from dsecos_operator.zones import attachments, limits
from dsecos_operator.zones.whole import settle

from .objects import peer, placed, zone

VXLAN: dict[str, Any] = {"encapsulation": {"type": "vxlan"}}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three other nodes, and four addresses of each."""
    for module in (attachments, limits):
        monkeypatch.setattr(module, "MOST_REMOTES", 3)
        monkeypatch.setattr(module, "MOST_ADDRESSES", 4)


def settled(
    this: NetworkZone, stacks: list[Stack], nodes: list[Node]
) -> tuple[NetworkZone, list[ZoneAttachment]]:
    found, told = settle([this], stacks, [], nodes)
    return found[0], list(told)


def stalled(this: NetworkZone) -> Condition | None:
    return next((each for each in this.status.conditions if each.type == Type.STALLED), None)


def guests(*on: int) -> list[Stack]:
    """One on each of these nodes, in the order of their addresses."""
    return [placed(f"s{index}", f"node-{node}", f"10.20.0.{index + 2}") for index, node in enumerate(on)]


def left_out(told: list[ZoneAttachment]) -> set[str]:
    """Nodes that some other node of the zone is not told of."""
    everywhere = {each.namespace.removeprefix("dsecos-node-") for each in told}
    missing = set()
    for each in told:
        assert each.spec.transit is not None
        own = each.namespace.removeprefix("dsecos-node-")
        missing |= everywhere - {own} - {remote.node for remote in each.spec.transit.remotes}
    return missing


def test_as_many_nodes_as_fit_are_no_news() -> None:
    found, told = settled(zone(**VXLAN), guests(1, 2, 3, 4), [peer(number) for number in range(1, 5)])
    assert stalled(found) is None
    assert left_out(told) == set()


def test_nodes_that_others_are_not_told_of_are_named() -> None:
    found, told = settled(zone(**VXLAN), guests(1, 2, 3, 4, 5), [peer(number) for number in range(1, 6)])
    condition = stalled(found)
    assert condition is not None
    assert condition.reason == Reason.ZONE_TOO_LARGE
    assert condition.message == (
        "a node is told of at most 3 others: guests on node-4, node-5 are not reached from every node"
    )
    assert left_out(told) == {"node-4", "node-5"}
    assert found.status.gateway == "10.20.0.1", "the rest is had"


@pytest.mark.parametrize(
    ("cidr6", "fit", "first"), [(None, 4, "10.20.0.6"), ("fd00:20::/64", 2, "fd00:20::3")]
)
def test_a_node_with_more_guests_than_others_are_told_of_is_named(
    cidr6: str | None, fit: int, first: str
) -> None:
    nodes = [peer(1), peer(2)]
    found, _ = settled(zone(cidr6=cidr6, **VXLAN), guests(*[1] * fit, 2), nodes)
    assert stalled(found) is None
    found, told = settled(zone(cidr6=cidr6, **VXLAN), guests(*[1] * (fit + 1), 2), nodes)
    condition = stalled(found)
    assert condition is not None
    assert condition.reason == Reason.ZONE_TOO_LARGE
    assert f"of node-1 others are told at most 4 addresses: from {first} on" in condition.message
    (remote,) = next(
        each.spec.transit.remotes for each in told if each.namespace.endswith("node-2") and each.spec.transit
    )
    assert len(remote.guests) == 4
    assert first not in remote.guests


def test_a_zone_that_is_on_one_node_alone_has_nobody_to_tell() -> None:
    found, _ = settled(zone(**VXLAN), guests(1, 1, 1, 1, 1), [peer(1), peer(2)])
    assert stalled(found) is None


def test_a_local_zone_tells_nothing_to_others() -> None:
    nodes = [peer(number) for number in range(1, 6)]
    found, _ = settled(zone(), guests(1, 2, 3, 4, 5), nodes)
    assert stalled(found) is None
