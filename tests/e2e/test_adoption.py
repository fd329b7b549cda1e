"""A container that an administrator made with plain LXC becomes a Stack, lives as one, and is given back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.byhand import ByHand
from tests.e2e.cloud import Cloud, conditions


@pytest.fixture
def by_hand(cloud: Cloud) -> Iterator[ByHand]:
    """It runs; also what a dead run left is taken away."""
    container = ByHand(cloud)
    container.remove()
    container.make()
    container.start()
    yield container
    cloud.delete_stack("wiki")
    container.remove()


def test_it_is_taken_over_lives_as_a_stack_and_is_given_back_as_it_was(cloud: Cloud, by_hand: ByHand) -> None:
    before, init = by_hand.config.read_bytes(), by_hand.init
    by_hand.adopt(cloud, "wiki")
    assert by_hand.init == init, "it was not interrupted"
    stack = cloud.get("stack", "wiki", cloud.namespace)
    assert conditions(stack)["Ready"]["reason"] == "Adopted"
    assert conditions(stack)["NetworkReady"]["reason"] == "Adopted"
    assert cloud.guest("wiki")["status"]["lifecycle"]["cause"] == "Adopted"

    said = cloud.dsecos("exec", "wiki", "-n", cloud.namespace, "--", "hostname")
    assert said.strip() == "by-hand"
    cloud.dsecos("stop", "wiki", "-n", cloud.namespace)
    assert by_hand.init == -1
    cloud.dsecos("start", "wiki", "-n", cloud.namespace)
    again = by_hand.init
    assert again not in (-1, init)

    cloud.delete_stack("wiki")
    assert by_hand.init == again, "it goes on"
    assert by_hand.config.read_bytes() == before


def test_who_was_removed_by_hand_is_told_and_not_looked_for_again(cloud: Cloud, by_hand: ByHand) -> None:
    by_hand.adopt(cloud, "wiki")
    by_hand.remove()
    told = cloud.wait_condition("wiki", "GuestReady", "Drifted")
    assert told["status"] == "False"
    by_hand.make()
    by_hand.start()
    cloud.kubectl("annotate", "stack", "wiki", "-n", cloud.namespace, "note=look-again")
    cloud.wait_condition("wiki", "GuestReady", "Drifted")
    assert "dsecos.io" not in by_hand.config.read_text(), "one of the same name is somebody else"
