"""Who may take over what lies on a node: whoever has the verb `adopt` on it, and nobody else."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

import pytest
from dsecos_api.generate import CHECKOUT
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.testing import ControlPlane

from tests import patience
from tests.api.client import Api, Object
from tests.api.objects import example

Send = Callable[..., str]
"""Sends a Stack as a user who may write Stacks, and gives what the API server says against it."""

DENIED = "may not take over guests of Node rack1-a"


def tenant_of_acme(plane: ControlPlane) -> str:
    """A user who may do anything with the Stacks of namespace acme."""
    name = f"tenant-{secrets.token_hex(4)}"
    plane.kubectl("-n", "acme", "create", "role", name, "--verb=*", "--resource=stacks.dsecos.io")
    plane.kubectl("-n", "acme", "create", "rolebinding", name, f"--role={name}", f"--user={name}")
    return name


@pytest.fixture(scope="module")
def installed(plane: ControlPlane, api: Api) -> None:
    """The policy as an administrator installs it, known to the API server."""
    plane.kubectl("apply", "--server-side", "-k", str(CHECKOUT / "manifests" / "install"))
    probe = tenant_of_acme(plane)
    until(lambda: DENIED in refusal(plane, example("wiki", "early"), f"--as={probe}"))


@pytest.fixture
def tenant(plane: ControlPlane, installed: None) -> str:
    return tenant_of_acme(plane)


@pytest.fixture
def send(plane: ControlPlane, tenant: str) -> Send:
    return lambda stack: refusal(plane, stack, f"--as={tenant}")


def test_a_tenant_may_not(send: Send) -> None:
    assert DENIED in send(example("wiki", "wanted"))
    assert send(example("hello", "own")) == "", "his own applications are his business"


def test_one_with_the_verb_on_that_node_may(plane: ControlPlane, send: Send, tenant: str) -> None:
    elsewhere = example("wiki", "elsewhere")
    elsewhere["spec"]["adopt"]["node"] = "rack1-b"
    role = ["--verb=adopt", "--resource=nodes.dsecos.io", "--resource-name=rack1-a"]
    plane.kubectl("create", "clusterrole", tenant, *role)
    plane.kubectl("create", "clusterrolebinding", tenant, f"--clusterrole={tenant}", f"--user={tenant}")
    until(lambda: send(example("wiki", "wanted")) == "")
    assert "Node rack1-b" in send(elsewhere)


def test_what_an_administrator_has_taken_over_is_the_tenants_to_drive(
    plane: ControlPlane, api: Api, send: Send, tenant: str
) -> None:
    stack = example("wiki", f"given-{secrets.token_hex(4)}")
    api.create(stack)
    for order in ({"runPolicy": "Stopped"}, {"deletionPolicy": "Delete"}):
        words = ("-n", "acme", "patch", "stack", stack["metadata"]["name"], "--type=merge")
        plane.kubectl(f"--as={tenant}", *words, "-p", json.dumps({"spec": order}))


def until(holds: Callable[[], bool]) -> None:
    """The API server takes a moment to know of a new policy or role, and tells nobody when it does."""
    patience.until(holds, 30, every=0.2)


def refusal(plane: ControlPlane, stack: Object, *who: str) -> str:
    try:
        plane.kubectl(*who, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(stack))
    except CommandError as error:
        return str(error)
    return ""
