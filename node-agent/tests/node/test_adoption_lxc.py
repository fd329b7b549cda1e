"""A container of the host's own, by the whole agent on real LXC: taken over, driven and given back."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsecos_control_plane.testing import ControlPlane

from ..engines.foreign import Foreign  # noqa: TID252
from .harness import Node, Object, eventually, know_kinds

NAME, NUMBER = "old-00000090", 60
OWN = ("image", "idMap", "network", "volumes", "compose")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node without a guest template, whose host has containers of its own. It shares no API server with the
    node of other tests: both have the same name.
    """
    with ControlPlane() as plane:
        know_kinds(plane)
        node = Node(plane, tmp_path_factory.mktemp("images"), registry=False)
        node.kubectl("create", "namespace", node.settings.namespace)
        metadata = {"name": node.settings.node_name}
        spec = {"engine": {"type": "lxc"}}
        node.apply({"apiVersion": "dsecos.io/v1alpha1", "kind": "Node", "metadata": metadata, "spec": spec})
        start(node)
        try:
            node.wait_condition(node.settings.node_name, "EngineReady", "True", of="node")
            yield node
        finally:
            node.close()


def start(node: Node) -> None:
    node.start(DSECOS_HOST_LXC=str(lxcpath(node)))


def lxcpath(node: Node) -> Path:
    return node.settings.home / "host"


@pytest.fixture
def theirs(host: Node) -> Iterator[Foreign]:
    """One that runs."""
    found = Foreign(lxcpath(host))
    asyncio.run(found.start())
    try:
        yield found
        host.delete(NAME)
    finally:
        asyncio.run(found.raze())


def adopting(host: Node, theirs: Foreign, **spec: Any) -> Object:
    found = host.guest(NAME, NUMBER, deletionPolicy="Orphan")
    kept = {key: value for key, value in found["spec"].items() if key not in OWN}
    return {**found, "spec": {**kept, "adopt": theirs.name, **spec}}


def told(host: Node, count: int) -> list[tuple[str, str]]:
    steps = (host.get("guest", NAME) or {})["status"]["lifecycle"]["transitions"][:count]
    return [(each["to"], each["cause"]) for each in reversed(steps)]


def test_it_goes_on_running_and_is_driven_and_given_back_byte_for_byte(host: Node, theirs: Foreign) -> None:
    before, init = theirs.config.read_bytes(), theirs.init()
    host.apply(adopting(host, theirs))
    status = host.wait_ready(NAME)["status"]
    assert (status["engineId"], told(host, 2)) == (
        theirs.name,
        [("Creating", "Adopted"), ("Running", "Adopted")],
    )
    assert theirs.init() == init, "nobody in it noticed"
    assert NAME not in json.dumps(host.rules())
    asyncio.run(theirs.stop())
    eventually(lambda: told(host, 3)[-1] == ("Running", "Died"), "it is started again", 30)
    assert told(host, 3) == [("Stopped", "Died"), ("Starting", "Died"), ("Running", "Died")]
    host.apply(adopting(host, theirs, runPolicy="Suspended"))
    host.wait_condition(NAME, "Ready", "True", "Suspended")
    host.apply(adopting(host, theirs, runPolicy="Stopped"))
    host.wait_condition(NAME, "Ready", "True", "Stopped")
    host.apply(adopting(host, theirs))
    host.wait_ready(NAME)
    init = theirs.init()
    host.delete(NAME)
    assert (theirs.config.read_bytes(), theirs.init()) == (before, init)


def test_limits_change_while_it_runs(host: Node, theirs: Foreign) -> None:
    init = theirs.init()
    host.apply(adopting(host, theirs))
    host.wait_ready(NAME)
    host.apply(adopting(host, theirs, resources={"cpu": "500m", "memory": "256Mi", "disk": "4Gi"}))
    eventually(lambda: "limit_in_bytes = 268435456" in theirs.config.read_text("latin-1"), "written", 30)
    host.wait_ready(NAME)
    assert theirs.init() == init


def test_killed_while_it_is_taken_over_and_while_it_is_given_back(host: Node, theirs: Foreign) -> None:
    before, init = theirs.config.read_bytes(), theirs.init()
    for point, change in (
        ("guest-adopt", lambda: host.apply(adopting(host, theirs))),
        ("guest-release", lambda: host.kubectl("delete", "guest", NAME, "--wait=false")),
    ):
        host.stop()
        host.start(fault_point=point, DSECOS_HOST_LXC=str(lxcpath(host)))
        change()
        eventually(host.died, f"killed at {point}", 60)
        start(host)
        if point == "guest-adopt":
            host.wait_ready(NAME)
    eventually(lambda: host.get("guest", NAME) is None, "it is gone", 60)
    assert (theirs.config.read_bytes(), theirs.init()) == (before, init)


def test_what_others_made_in_its_place_is_left_alone(host: Node, theirs: Foreign) -> None:
    before = theirs.config.read_bytes()
    host.apply(adopting(host, theirs))
    host.wait_ready(NAME)
    theirs.config.write_bytes(before)
    host.apply(adopting(host, theirs, driftPolicy="Repair"))
    found = host.wait_condition(NAME, "Stalled", "True", "Drifted")
    assert "or our marks on it" in found["message"]
    assert theirs.config.read_bytes() == before
