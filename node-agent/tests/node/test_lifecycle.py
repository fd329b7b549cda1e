"""The life of a guest on real LXC: every state of the diagram, orders that are refused, what others do."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .harness import Node, eventually

NAME, NUMBER = "life-00000060", 96


@pytest.fixture(scope="module")
def life(installed: Node) -> Iterator[Node]:
    """A guest that serves; the tests of this file take turns with it."""
    installed.apply(installed.attachment())
    installed.apply(installed.guest(NAME, NUMBER))
    installed.wait_ready(NAME)
    yield installed
    installed.delete(NAME)


@pytest.fixture(autouse=True)
def running(life: Node) -> None:
    """Each test begins with a guest that serves, as first wished for."""
    settle(life)


def settle(node: Node) -> int:
    node.apply(node.guest(NAME, NUMBER))
    node.wait_ready(NAME)
    pid = node.pid(NAME)
    assert pid is not None
    return pid


def wish(node: Node, **spec: Any) -> None:
    node.apply(node.guest(NAME, NUMBER, **spec))


def status(node: Node, name: str = NAME) -> dict[str, Any]:
    return dict((node.get("guest", name) or {}).get("status", {}))


def told(node: Node, count: int, name: str = NAME) -> list[tuple[str, str]]:
    """State and cause of the last transitions, the oldest first."""
    steps = status(node, name)["lifecycle"]["transitions"][:count]
    return [(each["to"], each["cause"]) for each in reversed(steps)]


def lxc(node: Node, program: str, *options: str, name: str = NAME) -> None:
    subprocess.run(
        [program, "-P", node.settings.lxc, "-n", name, *options], check=True, timeout=60, capture_output=True
    )


def test_from_nothing_through_every_state_and_back(node: Node) -> None:
    name, number = "whole-00000061", 97

    def order(run: str) -> None:
        node.apply(node.guest(name, number, runPolicy=run, deletionPolicy="Delete"))
        node.wait_condition(name, "Ready", "True", "AllHealthy" if run == "Running" else run)
        assert status(node, name)["lifecycle"]["state"] == run

    order("Running")
    assert told(node, 3, name) == [("Creating", "Created"), ("Starting", "Created"), ("Running", "Created")]
    assert status(node, name)["engineId"] == name
    pid = node.pid(name)
    order("Suspended")
    order("Running")
    assert node.pid(name) == pid, "it went on where it was"
    order("Stopped")
    order("Running")
    assert told(node, 6, name) == [
        ("Suspended", "RunPolicy"),
        ("Running", "RunPolicy"),
        ("Stopping", "RunPolicy"),
        ("Stopped", "RunPolicy"),
        ("Starting", "RunPolicy"),
        ("Running", "RunPolicy"),
    ]
    times = [each["time"] for each in status(node, name)["lifecycle"]["transitions"]]
    assert times == sorted(times, reverse=True)
    begun = node.log.stat().st_size
    node.delete(name)
    stages = [line for line in node.log_since(begun).splitlines() if '"action done"' in line]
    done = [each for each in ("guest-stop", "guest-destroy") if any(f'"{each}"' in line for line in stages)]
    assert done == ["guest-stop", "guest-destroy"]
    assert node.observe(name) is None


def test_a_restart_is_carried_out_once(life: Node) -> None:
    pid = life.pid(NAME)
    before = life.metric('dsecos_api_writes_total{kind="Guest"')
    wish(life, restart="one")
    eventually(lambda: life.pid(NAME) not in (None, pid), "it was restarted")
    life.wait_ready(NAME)
    writes = life.metric('dsecos_api_writes_total{kind="Guest"') - before
    print(f"writes for a restart: {writes:.0f}")
    assert writes <= 3
    again = life.pid(NAME)
    assert told(life, 4) == [
        (state, "RestartRequested") for state in ("Stopping", "Stopped", "Starting", "Running")
    ]
    assert status(life)["restart"] == "one"
    life.kill()
    life.restart()
    wish(life, restart="one", hostname="life")
    life.wait_ready(NAME)
    assert life.pid(NAME) == again


def test_a_restart_of_a_stopped_guest_is_refused_and_told(life: Node) -> None:
    wish(life, runPolicy="Stopped")
    life.wait_condition(NAME, "Ready", "True", "Stopped")
    wish(life, runPolicy="Stopped", restart="two")
    ready = life.wait_condition(NAME, "Ready", "True", "Stopped")
    assert "restart two refused: Restart is for a guest that is Running; it is Stopped" in ready["message"]
    assert life.pid(NAME) is None
    wish(life, restart="two")
    life.wait_ready(NAME)
    assert status(life).get("restart") != "two"


def test_a_stopped_guest_cannot_be_suspended(life: Node) -> None:
    wish(life, runPolicy="Stopped")
    life.wait_condition(NAME, "Ready", "True", "Stopped")
    wish(life, runPolicy="Suspended")
    found = life.wait_condition(NAME, "Stalled", "True", "IllegalTransition")
    assert found["message"].endswith("it is Stopped: set runPolicy: Running first")
    assert life.pid(NAME) is None
    settle(life)
    wish(life, runPolicy="Suspended")
    life.wait_condition(NAME, "Ready", "True", "Suspended")


def test_what_was_killed_is_started_again_and_told(life: Node) -> None:
    pid = life.pid(NAME)
    lxc(life, "lxc-stop", "-k")
    eventually(lambda: life.pid(NAME) not in (None, pid), "it runs again")
    life.wait_ready(NAME)
    assert told(life, 1) == [("Running", "Died")]
    assert ("Stopped", "Died") in told(life, 4)


def test_what_others_suspended_goes_on_and_is_told(life: Node) -> None:
    pid = life.pid(NAME)
    lxc(life, "lxc-freeze")
    wish(life, driftPolicy="Repair")  # a look, as the resync would
    eventually(lambda: (found := life.observe(NAME)) and found.state == "Running", "it goes on")
    life.wait_ready(NAME)
    assert life.pid(NAME) == pid
    assert told(life, 2) == [("Suspended", "Outside"), ("Running", "RunPolicy")]


def tamper(node: Node) -> str:
    """As somebody would who knows nothing of the agent: the host name, in the container's own file."""
    config = node.settings.lxc / NAME / "config"
    text = config.read_text()
    changed = text.replace("lxc.uts.name = life", "lxc.uts.name = theirs")
    assert changed != text
    config.write_text(changed)
    return changed


def test_what_others_changed_is_put_right(life: Node) -> None:
    before = (life.settings.lxc / NAME / "config").read_text()
    tamper(life)
    wish(life, driftPolicy="Repair")
    eventually(lambda: (life.settings.lxc / NAME / "config").read_text() == before, "put right")
    life.wait_ready(NAME)
    assert "drift" not in status(life)
    eventually(lambda: "Drifted" in life.kubectl("get", "events"), "told", 20)


def test_or_left_and_told_where_that_is_asked_for(life: Node) -> None:
    pid = life.pid(NAME)
    wish(life, driftPolicy="Report")
    life.wait_ready(NAME)
    changed = tamper(life)
    wish(life, driftPolicy="Report", startup={"order": 100})
    found = life.wait_condition(NAME, "Ready", "True", "Drifted")
    assert "changed past DsecOS" in found["message"]
    assert status(life)["drift"]
    assert (life.settings.lxc / NAME / "config").read_text() == changed
    assert life.pid(NAME) == pid
    wish(life, driftPolicy="Report", hostname="another")
    life.wait_condition(NAME, "Ready", "True", "AllHealthy")
    assert life.run(NAME, "hostname").strip() == "another"


def test_guests_are_started_by_their_order_without_an_api_server(life: Node) -> None:
    """As after a start of the host, with nobody to ask."""
    first, second = "first-00000062", "second-00000063"
    orders = {first: (1, 98), second: (200, 99)}
    for name, (order, number) in orders.items():
        life.apply(life.guest(name, number, startup={"order": order, "delaySeconds": 1}))
    asleep = "asleep-00000064"
    life.apply(life.guest(asleep, 100, startup={"autostart": False}))
    for name in (*orders, asleep):
        life.wait_ready(name)
    life.stop()
    life.plane.stop()
    try:
        for name in (NAME, asleep, *orders):
            lxc(life, "lxc-stop", "-k", name=name)
        begun = life.log.stat().st_size
        life.start()

        def started() -> list[str]:
            lines = life.log_since(begun).splitlines()
            starts = [line for line in lines if "guest started as last known" in line]
            return [name for line in starts for name in (first, NAME, second) if f'"{name}"' in line]

        eventually(lambda: second in started(), "the last one runs", 60)
        assert started() == [first, NAME, second]
        assert life.pid(asleep) is None, "autostart: false"
    finally:
        life.plane.start()
    for name in (NAME, asleep, *orders):
        life.wait_ready(name)
    assert told(life, 1, first)[0][0] == "Running"
    assert time.strptime(status(life, first)["lifecycle"]["since"], "%Y-%m-%dT%H:%M:%SZ")
    for name in (*orders, asleep):
        life.delete(name)
