"""What a node's agent may write: its finalizer and its status, never the orders that it is given."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from dsecos_api.generate import CHECKOUT
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.testing import ControlPlane

from tests.api.client import Api, Object
from tests.api.objects import EXAMPLES, example
from tests.patience import until

Patch = Callable[..., str]
"""Patches the agent's object as the agent, and gives what the API server answered."""

ORDERS = {
    each["kind"]: each["metadata"]["name"] for each in EXAMPLES if each["kind"] in {"Guest", "ZoneAttachment"}
}


@pytest.fixture(scope="module", params=sorted(ORDERS))
def order(request: pytest.FixtureRequest, plane: ControlPlane, api: Api) -> Object:
    """A Guest or ZoneAttachment in the namespace of an agent that has its rights there."""
    plane.kubectl("apply", "--server-side", "-k", str(CHECKOUT / "manifests" / "install"))
    obj = example(ORDERS[request.param], "ordered")
    space = obj["metadata"]["namespace"]
    binding = ["--clusterrole=dsecos-node-agent", f"--serviceaccount={space}:agent", "-n", space]
    plane.kubectl("create", "rolebinding", f"agent-{request.param.lower()}", *binding)
    return api.create(obj)


@pytest.fixture
def patch(order: Object, plane: ControlPlane) -> Patch:
    space, name = order["metadata"]["namespace"], order["metadata"]["name"]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{space}", "system:authenticated")
    me = [f"--as=system:serviceaccount:{space}:agent", *(f"--as-group={group}" for group in groups)]

    def send(change: Object, *more: str) -> str:
        body = ["--type=merge", "-p", json.dumps(change)]
        return plane.kubectl(*me, "-n", space, "patch", order["kind"].lower(), name, *body, *more)

    return send


def test_finalizers_and_status_are_its_own(patch: Patch) -> None:
    patch({"metadata": {"finalizers": ["dsecos.io/agent"]}})
    patch({"status": {"conditions": []}}, "--subresource=status")
    patch({"metadata": {"finalizers": []}})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"spec": {"paused": True}}, "an agent may not change spec"),
        ({"metadata": {"labels": {"dsecos.io/stack": "of-another"}}}, "no metadata but finalizers"),
        ({"metadata": {"annotations": {"a": "b"}}}, "no metadata but finalizers"),
        (
            {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"}]}},
            "no metadata but finalizers",
        ),
    ],
    ids=["spec", "labels", "annotations", "owners"],
)
def test_its_orders_are_not(patch: Patch, change: Object, told: str) -> None:
    # The API server takes a moment to know of a new policy.
    assert told in until(lambda: refusal(patch, change), 30, every=0.2)


def refusal(patch: Patch, change: Object) -> str:
    """What the API server says against a change; empty if it would take it."""
    try:
        patch(change, "--dry-run=server")
    except CommandError as error:
        return str(error)
    return ""
