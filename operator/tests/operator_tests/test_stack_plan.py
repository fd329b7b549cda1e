"""The plan: empty after it was done, and the same in the end whatever happened in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dsecos_api.types import DeletionPolicy
from dsecos_operator.stacks import retained
from dsecos_operator.stacks.actions import (
    AddFinalizer,
    ApplyGuest,
    ApplySecret,
    DeleteGuest,
    DeleteSecret,
    Remember,
    RemoveFinalizer,
    WriteClaim,
)
from dsecos_operator.stacks.guests import address_of, id_base_of, same, secret_of
from hypothesis import given
from hypothesis import strategies as st

from .world import World

DATA_KEPT = '{"volumes": [{"name": "data", "pool": null}], "guests": []}'

EVENTS: dict[str, Callable[[World], object]] = {
    "more memory": lambda world: world.edit(resources={"cpu": "1", "memory": "2Gi", "disk": "1Gi"}),
    "a port": lambda world: world.edit(expose=[{"port": 80, "hostPort": 8080}]),
    "stopped": lambda world: world.edit(runPolicy="Stopped"),
    "a volume": lambda world: world.edit(volumes=[{"name": "data", "size": "1Gi"}]),
    "retain": lambda world: world.edit(deletionPolicy="Retain"),
    "an address": lambda world: world.edit(address="10.20.0.77"),
    "another document": lambda world: setattr(world, "document", "two"),
    "another secret": lambda world: setattr(world, "digest", "secret-2"),
}
"""What users change; no two of them the same field, so their order means nothing."""

MISHAPS: dict[str, Callable[[World], object]] = {
    "a pass": lambda world: world.reconcile(),
    "killed at once": lambda world: world.reconcile(killed_after=1),
    "killed after two": lambda world: world.reconcile(killed_after=2),
    "killed after three": lambda world: world.reconcile(killed_after=3),
    "the agent": lambda world: world.others(),
    "guest deleted by hand": lambda world: world.lose_guest(),
    "secret deleted by hand": lambda world: world.lose_secret(),
    "paused": lambda world: world.edit(paused=True),
    "resumed": lambda world: world.edit(paused=None),
    "broken": lambda world: setattr(world, "broken", True),
    "mended": lambda world: setattr(world, "broken", False),
}


def test_the_first_plan_is_in_the_order_of_the_work() -> None:
    kinds = [type(action) for action in World().plan()]
    assert kinds == [AddFinalizer, WriteClaim, ApplySecret, ApplyGuest]


def test_without_secrets_there_is_no_secret() -> None:
    world = World(digest=None)
    world.settle()
    assert world.secrets == {}
    (guest,) = world.guests.values()
    assert secret_of(guest) is None


def test_a_secret_that_is_not_needed_any_more_goes_after_the_guest_has_changed() -> None:
    world = World()
    world.settle()
    world.digest = None
    assert [type(action) for action in world.plan()] == [ApplyGuest]
    world.settle()
    assert world.secrets == {}


def test_a_port_change_changes_the_ports_only() -> None:
    world = World()
    world.settle()
    (before,) = world.guests.values()
    world.edit(expose=[{"port": 80, "from": ["0.0.0.0/0"], "hostPort": 8080}])
    (action,) = world.plan()
    assert isinstance(action, ApplyGuest)
    assert action.guest.spec.network is not None
    kept = action.guest.spec.network.model_copy(update={"ports": []})
    assert action.guest.spec.model_copy(update={"network": kept}) == before.spec


def test_the_order_of_ports_and_volumes_means_nothing() -> None:
    world = World()
    ports = [{"port": 80, "from": ["10.0.0.0/8", "192.168.0.0/16"]}, {"port": 443}]
    world.edit(expose=ports, volumes=[{"name": "a", "size": "1Gi"}, {"name": "b", "size": "1Gi"}])
    world.settle()
    turned = [ports[1], {"port": 80, "from": ["192.168.0.0/16", "10.0.0.0/8"]}]
    world.edit(expose=turned, volumes=[{"name": "b", "size": "1Gi"}, {"name": "a", "size": "1Gi"}])
    assert world.plan() == []


@pytest.mark.parametrize("address", ["10.99.0.7", "10.20.0.1", "10.20.0.255", "fd00::7", "?"])
def test_an_address_that_somebody_wrote_into_the_status_is_not_taken_from_another_network(
    address: str,
) -> None:
    world = World()
    world.settle()
    assert world.stack is not None
    forged = world.stack.status.model_copy(update={"address": address})
    world.stack = world.stack.model_copy(update={"status": forged})
    world.settle()
    (guest,) = world.guests.values()
    assert address_of(guest) == world.stack.status.address == "10.20.0.2"


def test_deleting_goes_step_by_step() -> None:
    world = World()
    world.edit(volumes=[{"name": "data", "size": "1Gi"}])
    world.settle()
    world.delete()
    assert [type(action) for action in world.plan()] == [Remember, DeleteGuest]
    world.reconcile()
    assert world.plan() == [], "waits for the agent"
    world.guests.clear()
    assert [type(action) for action in world.plan()] == [DeleteSecret]
    world.reconcile()
    assert world.plan() == [], "waits for the zone"
    world.attached = False
    assert [type(action) for action in world.plan()] == [RemoveFinalizer]


@pytest.mark.parametrize(
    ("own", "of_stack", "effective"),
    [
        (None, None, DeletionPolicy.RETAIN),
        (None, "Delete", DeletionPolicy.DELETE),
        (None, "Orphan", DeletionPolicy.ORPHAN),
        ("Delete", None, DeletionPolicy.DELETE),
        ("Retain", "Delete", DeletionPolicy.RETAIN),
    ],
)
def test_data_goes_only_where_it_is_said(own: str | None, of_stack: str | None, effective: str) -> None:
    world = World()
    volume = {"name": "data", "size": "1Gi"} | ({"deletionPolicy": own} if own else {})
    world.edit(volumes=[volume], **({"deletionPolicy": of_stack} if of_stack else {}))
    world.settle()
    (guest,) = world.guests.values()
    assert [each.deletion_policy for each in guest.spec.volumes] == [effective]
    world.delete()
    world.settle()
    assert bool(world.kept) == (effective != DeletionPolicy.DELETE)


def test_what_was_retained_is_forgotten_when_it_is_deleted_after_all() -> None:
    world = World(kept={"acme.shop": DATA_KEPT})
    world.edit(volumes=[{"name": "data", "size": "1Gi", "deletionPolicy": "Delete"}])
    world.settle()
    world.delete()
    world.settle()
    assert world.kept == {}


def test_retained_data_calls_its_stack_home() -> None:
    world = World()
    world.edit(volumes=[{"name": "data", "size": "1Gi"}])
    world.settle()
    observed = world.observed()
    assert world.stack is not None
    assert retained.home(observed.retained, world.stack) is None
    world.kept = {"acme.shop": DATA_KEPT}
    assert retained.home(world.observed().retained, world.stack) == "node-1"
    world.kept = {"acme.shop": DATA_KEPT.replace("data", "other"), "acme.sho": "x"}
    assert retained.home(world.observed().retained, world.stack) is None


def test_an_orphan_keeps_its_address_and_its_ids() -> None:
    world = World()
    world.edit(deletionPolicy="Orphan")
    world.settle()
    (guest,) = world.guests.values()
    world.delete()
    world.settle()
    (orphan,) = retained.orphans(world.observed().retained)
    assert (orphan.node, orphan.zone) == ("node-1", "backend")
    assert (orphan.address, orphan.id_base) == (address_of(guest), id_base_of(guest))


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"guests": 1}', '{"guests": [1], "volumes": [{}]}'])
def test_an_entry_that_was_edited_by_hand_harms_nobody(text: str) -> None:
    world = World(kept={"acme.shop": text})
    world.edit(volumes=[{"name": "data", "size": "1Gi"}])
    world.settle()
    world.delete()
    world.settle()
    assert "data" in world.kept["acme.shop"]


def test_a_stack_that_was_never_placed_is_gone_at_once() -> None:
    world = World(broken=True)
    world.settle()
    world.delete()
    assert world.stack is None


mishaps = st.lists(st.sampled_from(sorted(MISHAPS)), max_size=12)


@given(st.permutations(sorted(EVENTS)), st.data())
def test_any_order_of_events_ends_the_same(order: list[str], data: st.DataObject) -> None:
    world = World()
    for name in order:
        EVENTS[name](world)
        for mishap in data.draw(mishaps, label=f"after {name}"):
            MISHAPS[mishap](world)
    world.edit(paused=None)
    world.broken = False
    world.settle()
    assert world.plan() == []

    smooth = World()
    for name in sorted(EVENTS):
        EVENTS[name](smooth)
    smooth.settle()
    (guest,), (expected,) = world.guests.values(), smooth.guests.values()
    assert same(guest, expected)
    assert {name: each.metadata.annotations for name, each in world.secrets.items()} == {
        name: each.metadata.annotations for name, each in smooth.secrets.items()
    }


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=4), mishaps, mishaps)
def test_deleted_at_any_moment_nothing_is_left(
    events: list[str], before: list[str], after: list[str]
) -> None:
    world = World()
    for name in events:
        EVENTS[name](world)
    for name in before:
        MISHAPS[name](world)
    world.delete()
    for name in after:
        MISHAPS[name](world)
    world.settle()
    assert world.stack is None
    assert (world.guests, world.secrets, world.attached) == ({}, {}, False)
