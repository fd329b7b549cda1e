"""`dsecos guests`: all for administrators, what the Stacks tell for tenants."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from dsecos_api import Guest, Stack
from dsecos_cli.lives import lives

from console.tests.conftest import Namespace, Run, Server
from console.tests.objects import condition, guest_object, lifecycle, stack_object

SERVICES = [
    {"name": "web", "state": "running", "health": "healthy"},
    {"name": "db", "state": "running"},
    {"name": "job", "state": "running", "health": "unhealthy"},
]


@pytest.fixture
def shop(namespace: Namespace, server: Server) -> Namespace:
    """A Stack that runs, one that waits for a place, and a guest of another tenant on the same node."""
    namespace.apply(stack_object(), stack_object("waiting"))
    namespace.set_status(
        "stack",
        "shop",
        observedGeneration=1,
        node=server.name,
        guest="shop-12345678",
        state="Running",
        address="10.20.0.2",
        services=SERVICES,
        conditions=[condition("Ready", "False", "Unhealthy", "2 of 3 services healthy")],
    )
    server.apply_guest(
        guest_object("shop-12345678", server.name, namespace.name),
        lifecycle=lifecycle(
            "Running",
            "RestartRequested",
            ("Starting", "Running", "RestartRequested"),
            ("Stopped", "Starting", "RestartRequested"),
            (None, "Creating", "Created"),
        ),
        engineId="20000",
        services=SERVICES,
        drift=["memory"],
        conditions=[condition("Ready", "False", "Unhealthy", "2 of 3 services healthy")],
    )
    server.apply_guest(guest_object("foreign-12345678", server.name, "another-tenant", "foreign"))
    return namespace


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_an_administrator_sees_state_since_cause_place_id_address_and_health(
    dsecos: Run, shop: Namespace, server: Server
) -> None:
    result = dsecos("guests", "-n", shop.name)
    assert result.exit_code == 0, result.stderr
    found = rows(result.stdout)
    name, state, since, *rest = found["shop"]
    assert (name, state) == ("shop", "Running")
    assert since[-1] in "smhd"
    assert rest == ["RestartRequested", server.name, "20000", "10.20.0.2", "2/3"]
    assert found["waiting"] == ["waiting", "Unknown"]
    assert "foreign" not in result.stdout


def test_wide_shows_the_last_transitions_and_why_it_is_not_ready(dsecos: Run, shop: Namespace) -> None:
    text = dsecos("guests", "shop", "-n", shop.name, "-o", "wide").stdout
    for part in ("container", "Running", "< Starting", "< Creating", "memory", "2 of 3 services healthy"):
        assert part in text
    assert "waiting" not in text


def test_the_history_has_time_and_cause_of_each_transition(dsecos: Run, shop: Namespace) -> None:
    lines = dsecos("guests", "shop", "-n", shop.name, "--transitions").stdout.splitlines()
    assert lines[0].startswith(f"{shop.name}/shop  shop-12345678 on ")
    steps = [line.split()[1:] for line in lines[2:]]
    assert steps[0][1:] == ["Starting", "Running", "RestartRequested", "RestartRequested!"]
    assert steps[-1] == ["2026-11-20T10:00:00Z", "Creating", "Created", "Created!"]


def test_all_namespaces_hold_also_guests_whose_stack_is_gone(dsecos: Run, shop: Namespace) -> None:
    text = dsecos("guests", "-A").stdout
    assert ["another-tenant", "foreign", "Unknown"] in [line.split()[:3] for line in text.splitlines()]
    assert [shop.name, "waiting"] in [line.split()[:2] for line in text.splitlines()]


def test_programs_get_the_objects_themselves(dsecos: Run, shop: Namespace) -> None:
    found = json.loads(dsecos("guests", "shop", "-n", shop.name, "-o", "json").stdout)
    assert [stack["metadata"]["name"] for stack in found["stacks"]] == ["shop"]
    assert [guest["metadata"]["name"] for guest in found["guests"]] == ["shop-12345678"]


def test_a_tenant_sees_what_the_stacks_tell(
    dsecos: Run, shop: Namespace, server: Server, as_tenant: Callable[[], None]
) -> None:
    as_tenant()
    result = dsecos("guests", "-n", shop.name)
    assert result.exit_code == 0, result.stderr
    assert rows(result.stdout)["shop"] == ["shop", "Running", server.name, "10.20.0.2", "2/3"]
    assert result.stderr == ""
    history = dsecos("guests", "shop", "-n", shop.name, "--transitions")
    assert "No history is known" in history.stdout
    assert "may not read Guests" in history.stderr
    assert dsecos("guests", "-A").exit_code == 3


def test_a_stack_that_is_not_there_is_named(dsecos: Run, namespace: Namespace) -> None:
    assert dsecos("guests", "-n", namespace.name).stdout.startswith("No guests.")
    result = dsecos("guests", "shop", "-n", namespace.name)
    assert result.exit_code == 6
    assert f"namespace {namespace.name} has no stack shop" in result.stderr
    assert dsecos("guests", "shop", "-A").exit_code == 2


def test_a_stack_that_moves_has_a_row_for_each_of_its_guests() -> None:
    raw = stack_object()
    raw["metadata"]["namespace"] = "demo"
    guests = [Guest.parse(guest_object("shop-1", node, "demo")) for node in ("b", "a")]
    assert [life.node for life in lives([Stack.parse(raw)], guests)] == ["a", "b"]
