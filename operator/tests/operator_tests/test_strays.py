"""A guest that somebody else has moved: its Stack follows it, unless it cannot be driven over there."""

from __future__ import annotations

import pytest
from dsecos_api import Reason, Type
from dsecos_operator.stacks.moving import RETRY

from .fleet import Fleet, proxmox
from .test_moving import fleet, only_on

FOLLOWED = [
    "stack-reserve",
    "guest-migrate",
    "stack-arrive",
    "secret-copy",
    "guest-take-over",
    "guest-release",
    "guest-forget",
    "secret-delete",
]


def carried(made: Fleet, to: str = "b") -> None:
    """Moved by somebody else, and its agent has told it."""
    made.carry("shop", to)
    made.agent_pass(made.place("shop") or "")


def test_the_stack_follows_in_the_steps_of_a_move() -> None:
    made = fleet()
    carried(made)
    made.reconcile("shop")
    assert made.stacks["shop"].status.moving_to == "b"
    assert "somebody else moved it to b" in made.message("shop", Type.SCHEDULED)
    made.settle()
    only_on(made, "b")
    assert made.done == FOLLOWED
    assert made.stacks["shop"].status.epoch == 2
    assert made.ready("shop") == Reason.SERVING
    assert made.message("shop", Type.SCHEDULED).startswith("on b with ")
    assert "somebody" not in made.message("shop", Type.SCHEDULED)


def test_what_was_adopted_is_followed_as_well() -> None:
    made = Fleet()
    made.add_node(proxmox("a"))
    made.add_node(proxmox("b"))
    made.make_by_hand("105", "a")
    made.adopt("shop", on="a")
    made.settle()
    made.carry("shop", "b")
    made.settle()
    assert (made.place("shop"), made.where("shop")) == ("b", "b")
    assert made.ready("shop") == Reason.ADOPTED


def test_a_paused_stack_follows_when_its_pause_is_over() -> None:
    made = fleet()
    made.edit("shop", paused=True)
    made.settle()
    made.done.clear()
    carried(made)
    made.settle()
    assert made.done == []
    assert made.place("shop") == "a"
    made.edit("shop", paused=None)
    made.settle()
    only_on(made, "b")


def test_a_local_zone_stays_on_one_node() -> None:
    made = fleet()
    made.add("next", zone="zone-shop")
    made.settle()
    made.done.clear()
    carried(made)
    made.settle()
    assert made.done == []
    assert made.place("shop") == "a"
    assert made.message("shop", Type.SCHEDULED).endswith(
        "somebody else moved it to b, where it cannot stay: zone zone-shop is local and lives on a"
    )
    made.delete("next")
    made.settle()
    only_on(made, "b")


def test_a_port_that_somebody_has_over_there_is_not_taken_from_him() -> None:
    ports = [{"port": 80, "protocol": "TCP", "hostPort": 8080}]
    made = fleet(expose=ports)
    made.add("next", expose=ports, placement={"node": "b"})
    made.settle()
    carried(made)
    made.settle()
    assert made.place("shop") == "a"
    assert "host port 8080/TCP is taken by Stack acme/next" in made.message("shop", Type.SCHEDULED)


@pytest.mark.parametrize("cluster", [None, "other"])
def test_where_no_node_of_ours_is_it_is_not_followed(cluster: str | None) -> None:
    made = fleet()
    made.nodes["b"] = proxmox("b", cluster=cluster)
    carried(made)
    made.settle()
    assert made.place("shop") == "a"
    assert "somebody else moved it to pve-b, which is no Node" in made.message("shop", Type.SCHEDULED)
    carried(made, "a")
    made.settle()
    only_on(made, "a")
    assert "somebody" not in made.message("shop", Type.SCHEDULED)


def test_one_that_comes_back_before_it_is_followed_stays() -> None:
    made = fleet()
    carried(made)
    made.reconcile("shop")
    carried(made, "a")
    made.settle()
    only_on(made, "a")
    assert made.done == ["stack-reserve", "stack-give-back"]


def test_a_stack_that_names_the_node_it_was_taken_from_returns_but_not_at_once() -> None:
    made = fleet(placement={"node": "a"})
    for _ in range(3):
        made.carry("shop", "b")
        made.settle()
        only_on(made, "b")
        assert made.reason("shop", Type.SCHEDULED) == Reason.MIGRATION_FAILED
        assert "somebody else moved it from there to b" in made.message("shop", Type.SCHEDULED)
        made.wait(RETRY - 1)
        made.settle()
        only_on(made, "b")
        made.wait(1)
        made.settle()
        only_on(made, "a")
        assert made.ready("shop") == Reason.SERVING


def test_one_that_is_brought_to_a_node_that_is_emptied_leaves_it_but_not_at_once() -> None:
    made = fleet()
    made.maintain("b", policy="Move")
    made.carry("shop", "b")
    made.settle()
    only_on(made, "b")
    made.wait(RETRY - 1)
    made.settle()
    only_on(made, "b")
    made.wait(1)
    made.settle()
    only_on(made, "a")


def test_a_change_of_the_stack_lets_it_return_at_once() -> None:
    made = fleet(placement={"node": "a"})
    made.carry("shop", "b")
    made.settle()
    made.edit("shop", disruptionGroup="web")
    made.settle()
    only_on(made, "a")


@pytest.mark.parametrize("after", range(7))
def test_deleted_while_it_is_followed_nothing_is_left(after: int) -> None:
    made = fleet()
    carried(made)
    for _ in range(12):
        if len(made.done) >= after:
            break
        made.zone_pass()
        made.reconcile("shop", killed_after=1)
        for name in made.nodes:
            made.agent_pass(name)
    made.delete("shop")
    made.settle()
    assert (made.stacks, made.guests, made.secrets, made.machines) == ({}, {}, {}, {})
