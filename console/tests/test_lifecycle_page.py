"""docs/lifecycle.md: what it tells to type is what the API takes, and its facts are those of the API."""

from __future__ import annotations

import re
import shlex

import pytest
from dsecos_api.lifecycle import TRANSITIONS, Cause, LifecycleState, Order, refusal
from dsecos_api.types import DriftPolicy

from console.tests.conftest import Namespace, Run
from console.tests.objects import CHECKOUT, condition, stack_object

PAGE = (CHECKOUT / "docs" / "lifecycle.md").read_text()
WRITES = re.findall(r"`(kubectl (?:patch|annotate) [^`]*)`", PAGE)
READS = re.findall(r"^(kubectl (?:get|wait) .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)


def words(line: str, namespace: Namespace) -> list[str]:
    """The arguments of kubectl, in the test's namespace."""
    _, *rest = shlex.split(line)
    return [namespace.name if word == "demo" else word for word in rest]


@pytest.fixture
def shop(namespace: Namespace) -> Namespace:
    """The Stack of the page, stopped as it is to be."""
    namespace.apply(stack_object())
    ready = condition("Ready", "True", "Stopped")
    namespace.set_status("stack", "shop", observedGeneration=1, state="Stopped", conditions=[ready])
    return namespace


def test_there_is_a_line_for_each_order() -> None:
    assert len(WRITES) == len(set(Order) - {Order.DESTROY})
    assert len(READS) >= 5


@pytest.mark.parametrize("line", WRITES)
def test_each_order_by_kubectl_is_taken_by_the_api_server(shop: Namespace, line: str) -> None:
    before = shop.get("stack", "shop")
    shop.plane.kubectl(*words(line, shop))
    after = shop.get("stack", "shop")
    assert (after["spec"], after["metadata"].get("annotations")) != (before["spec"], None)


@pytest.mark.parametrize("line", READS)
def test_each_question_by_kubectl_is_answered(shop: Namespace, line: str) -> None:
    shop.plane.kubectl(*words(line, shop))


def test_each_order_by_dsecos_exists(dsecos: Run) -> None:
    named = set(re.findall(r"`dsecos ([a-z]+)", PAGE)) | set(
        re.findall(r"^dsecos ([a-z]+)", PAGE, re.MULTILINE)
    )
    assert {"start", "stop", "suspend", "resume", "restart", "migrate", "exec", "console"} <= named
    assert [verb for verb in sorted(named) if dsecos(verb, "--help").exit_code != 0] == []


def test_every_cause_and_drift_policy_is_explained() -> None:
    assert [cause for cause in Cause if f"| `{cause.value}` |" not in PAGE] == []
    assert [policy for policy in DriftPolicy if f"| `{policy.value}`" not in PAGE] == []


def test_the_picture_has_the_transitions_of_the_api() -> None:
    states = {state.value for state in LifecycleState}
    drawn = {
        (before, after)
        for before, after in re.findall(r"^ +(\S+) --> (\w+)", PAGE, re.MULTILINE)
        if after in states
    }
    # Suspended is drawn inside of Running: its ways out are those of the box.
    drawn = {("Running" if before == "Active" else before, after) for before, after in drawn}
    legal = {
        (before.value if before else "[*]", after.value)
        for before, all_ in TRANSITIONS.items()
        for after in all_
    }
    inside = {("Suspended", "Running"), ("Suspended", "Stopping"), ("Suspended", "Stopped")}
    assert drawn == legal - inside


@pytest.mark.parametrize("order", [order for order in Order if order is not Order.DESTROY])
def test_the_table_of_refusals_is_the_one_of_the_api(order: Order) -> None:
    [row] = re.findall(rf"^\| {order.value.lower()} \| ([A-Z][^|]*) \|", PAGE, re.MULTILINE)
    assert set(row.split(", ")) == {s.value for s in LifecycleState if refusal(s, order) is None}
