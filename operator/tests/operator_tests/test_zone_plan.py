"""Zones: which can be had, and where they are attached."""

from __future__ import annotations

import pytest
from dsecos_api import NetworkZone, Reason, ZoneAttachment
from dsecos_api.names import OPERATOR_FINALIZER
from dsecos_operator.rendering import Refused
from dsecos_operator.zones.check import check
from dsecos_operator.zones.observe import Observed
from dsecos_operator.zones.plan import (
    AddFinalizer,
    ApplyAttachment,
    DeleteAttachment,
    RemoveFinalizer,
    attachment,
    plan,
)

from .objects import stack, zone

GATEWAY = "10.20.0.1"
PLACED = stack(status={"node": "node-1", "guest": "g", "epoch": 1, "address": "10.20.0.2"})


def aged(cidr: str, name: str, created: str) -> NetworkZone:
    return zone(cidr, name=name, metadata={"creationTimestamp": created})


def test_the_gateway_is_the_first_address() -> None:
    assert check(zone(), []) == GATEWAY


@pytest.mark.parametrize(
    ("cidr", "told"),
    [
        ("10.20.0.1/24", "write 10.20.0.0/24"),
        ("10.0.0.0/15", "between /16 and /29"),
        ("10.20.0.0/30", "between /16 and /29"),
        ("127.0.0.0/24", "special meaning"),
        ("224.0.0.0/24", "special meaning"),
        ("169.254.0.0/24", "special meaning"),
        ("0.0.0.0/24", "special meaning"),
    ],
)
def test_a_network_that_cannot_be_one(cidr: str, told: str) -> None:
    with pytest.raises(Refused) as caught:
        check(zone(cidr), [])
    assert caught.value.reason == Reason.CIDR_INVALID
    assert told in caught.value.message


@pytest.mark.parametrize("cidr", ["10.20.0.0/24", "10.20.0.128/25", "10.20.0.0/16"])
def test_the_older_zone_keeps_its_network(cidr: str) -> None:
    old = aged("10.20.0.0/24", "old", "2026-01-01T00:00:00Z")
    young = aged(cidr, "young", "2026-01-02T00:00:00Z")
    assert check(old, [old, young]) == GATEWAY
    with pytest.raises(Refused, match="acme/old"):
        check(young, [old, young])


def test_neighbours_do_not_overlap() -> None:
    old = aged("10.20.0.0/25", "old", "2026-01-01T00:00:00Z")
    young = aged("10.20.0.128/25", "young", "2026-01-02T00:00:00Z")
    assert check(young, [old]) == "10.20.0.129"


def observed(
    this: NetworkZone | None, *, placed: bool = True, attachments: tuple[ZoneAttachment, ...] = ()
) -> Observed:
    return Observed(this, (), (PLACED,) if placed else (), (), attachments)


def deleting(this: NetworkZone) -> NetworkZone:
    update = {"deletion_timestamp": "2026-01-01T00:00:00Z", "finalizers": [OPERATOR_FINALIZER]}
    return this.model_copy(update={"metadata": this.metadata.model_copy(update=update)})


def test_the_first_guest_brings_the_zone_and_the_last_one_takes_it() -> None:
    this = zone(metadata={"finalizers": [OPERATOR_FINALIZER]})
    there = attachment(this, "node-1", GATEWAY)
    assert plan(observed(this, placed=False), GATEWAY) == []
    assert plan(observed(this), GATEWAY) == [ApplyAttachment(there)]
    assert plan(observed(this, attachments=(there,)), GATEWAY) == []
    assert plan(observed(this, placed=False, attachments=(there,)), GATEWAY) == [DeleteAttachment(there)]


def test_the_finalizer_comes_before_the_first_node_has_the_zone() -> None:
    kinds = [type(action) for action in plan(observed(zone()), GATEWAY)]
    assert kinds == [AddFinalizer, ApplyAttachment]


def test_a_zone_goes_when_nobody_uses_it_and_no_node_has_it() -> None:
    this = deleting(zone())
    there = attachment(this, "node-1", GATEWAY)
    assert plan(observed(this, attachments=(there,)), GATEWAY) == []
    assert plan(observed(this, placed=False, attachments=(there,)), GATEWAY) == [DeleteAttachment(there)]
    assert plan(observed(this, placed=False), GATEWAY) == [RemoveFinalizer()]


def test_a_zone_that_was_forced_away_leaves_nothing() -> None:
    there = attachment(zone(), "node-1", GATEWAY)
    assert plan(observed(None, attachments=(there,)), None) == [DeleteAttachment(there)]
