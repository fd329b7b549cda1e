"""`dsecos drain` and `undrain`: what is written, how far it is, and when it is done."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest
from dsecos_api import Node
from dsecos_cli.commands import drain as command
from dsecos_cli.commands.drain import how, outcome, progress

from console.tests.conftest import Run, Server
from console.tests.objects import api_object, condition

DRAINED = condition("Drained", "True", "Drained")
LEFT = condition("Drained", "False", "Maintenance", "left as they are: demo/shop")


@pytest.fixture
def server(server: Server, environment: object, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A node, and KUBECONFIG for the command."""
    monkeypatch.setenv("KUBECONFIG", str(server.plane.kubeconfig))
    return server


def counts(total: int, stopped: int, moving: int, *waiting: str) -> dict[str, Any]:
    remaining = total - stopped - moving
    return {
        "total": total,
        "stopped": stopped,
        "moving": moving,
        "remaining": remaining,
        "waiting": list(waiting),
    }


def node(*conditions: dict[str, Any], **spec: Any) -> Node:
    raw = api_object("Node", "a", {"engine": {"type": "lxc"}, **spec}, generation=2)
    return Node.parse({**raw, "status": {"conditions": list(conditions)}})


def test_it_writes_maintenance_and_only_the_settings_that_were_given(dsecos: Run, server: Server) -> None:
    assert dsecos("drain", server.name, "--no-wait").exit_code == 0
    assert server.get()["spec"] == {"engine": {"type": "lxc"}, "maintenance": True}
    result = dsecos("drain", server.name, "--policy", "Stop", "--max-unavailable", "3", "--no-wait")
    assert f"node {server.name} is in maintenance: guests are stopped, 3 at a time" in result.stderr
    assert server.get()["spec"]["drain"] == {"policy": "Stop", "maxUnavailable": 3}


def test_it_follows_to_the_end_and_shows_what_is_waited_for(dsecos: Run, server: Server) -> None:
    def operate() -> None:
        at = f"nodes.dsecos.io/{server.name}"
        server.plane.kubectl("wait", "--for=jsonpath={.spec.maintenance}=true", at, "--timeout=60s")
        server.set_status(
            drain=counts(3, 1, 1, "demo/shop: demo/shop-2 of its disruption group is not Ready")
        )
        server.plane.kubectl("wait", "--for=jsonpath={.status.drain.total}=3", at)
        server.set_status(drain=counts(3, 3, 0), conditions=[DRAINED])

    operator = Thread(target=operate)
    operator.start()
    result = dsecos("drain", server.name, "--timeout", "60s")
    operator.join()
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-1].split()[1:] == ["done", server.name, "drained"]


def test_when_the_time_is_over_it_says_how_far_it_is_and_how_to_undo_it(dsecos: Run, server: Server) -> None:
    server.set_status(drain=counts(3, 1, 1, "demo/shop: its group is down"))
    result = dsecos("drain", server.name, "--timeout", "0s")
    assert result.exit_code == 5
    words = "1 of 3 still run, 1 on the way, 1 stopped; waiting: demo/shop: its group is down"
    assert words in result.stderr.splitlines()[-2]
    assert f"`dsecos undrain {server.name}` undoes it" in result.stderr


def test_an_interrupt_ends_the_watching_and_not_the_drain(
    dsecos: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "until", interrupted)
    result = dsecos("drain", server.name)
    assert result.exit_code != 0
    assert f"It goes on: `dsecos drain {server.name}` follows it" in result.stderr
    assert f"`dsecos undrain {server.name}` undoes it" in result.stderr
    assert server.get()["spec"]["maintenance"] is True


def test_undrain_removes_the_maintenance_and_keeps_how_it_is_done(dsecos: Run, server: Server) -> None:
    server.patch(maintenance=True, drain={"policy": "Stop"})
    assert dsecos("undrain", server.name).exit_code == 0
    assert server.get()["spec"] == {"engine": {"type": "lxc"}, "drain": {"policy": "Stop"}}
    generation = server.get()["metadata"]["generation"]
    assert "is not in maintenance" in dsecos("undrain", server.name).stderr
    assert server.get()["metadata"]["generation"] == generation


def test_a_node_that_is_paused_or_not_there_is_named(dsecos: Run, server: Server) -> None:
    server.patch(paused=True)
    paused = dsecos("drain", server.name)
    assert paused.exit_code == 1
    assert "is paused" in paused.stderr
    assert "maintenance" not in server.get()["spec"]
    assert dsecos("drain", "nowhere").exit_code == 6
    assert dsecos("drain", server.name, "--policy", "Kill").exit_code == 2


@pytest.mark.parametrize(
    ("found", "ended"),
    [
        (node(), False),
        (node(condition("Drained", "False", "Draining")), False),
        (node(DRAINED), True),
        (node(LEFT), True),
        (node({**DRAINED, "observedGeneration": 2}), True),
        (node({**DRAINED, "observedGeneration": 1}), False),
    ],
)
def test_it_is_at_an_end_when_the_operator_says_so_of_the_present_spec(found: Node, ended: bool) -> None:
    assert (outcome(found) is not None) is ended


def test_guests_that_are_left_by_policy_are_named_with_the_way_to_stop_them(
    dsecos: Run, server: Server
) -> None:
    server.set_status(drain=counts(1, 0, 0, "demo/shop: its disk cannot move"), conditions=[LEFT])
    result = dsecos("drain", server.name, "--policy", "Move")
    assert result.exit_code == 1
    assert "is in maintenance and not empty: left as they are: demo/shop" in result.stderr
    assert "--policy MoveOrStop" in result.stderr


def test_what_is_to_stay_is_not_waited_for(dsecos: Run, server: Server) -> None:
    result = dsecos("drain", server.name, "--policy", "Stay")
    assert result.exit_code == 0
    assert "guests keep running" in result.stderr


def test_before_the_operator_looked_it_is_awaited() -> None:
    assert progress(node()) == "waits for the operator"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "guests are moved, and stopped where that cannot be, 1 at a time"),
        ({"policy": "Move", "maxUnavailable": 2}, "guests are moved; those that cannot be keep running, 2"),
        ({"policy": "Stay"}, "guests keep running"),
    ],
)
def test_what_becomes_of_the_guests_is_said(settings: dict[str, Any], said: str) -> None:
    assert how(node(drain=settings)).startswith(said)
