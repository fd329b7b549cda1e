"""`dsecos migrate`: what is known beforehand, what is written, and when it has arrived."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from dsecos_api import Node
from dsecos_api.types import GuestType
from dsecos_cli.commands.migrate import obstacle

from console.tests.conftest import Namespace, Run, Server
from console.tests.objects import api_object, condition, stack_object

READY = condition("Ready", "True", "Serving")
CAN = ["container/Migrate", "vm/Migrate"]


def node(name: str, capabilities: list[str] = CAN, cluster: str | None = "pve", **spec: Any) -> Node:
    status = {"capabilities": capabilities, **({"engineCluster": cluster} if cluster else {})}
    raw = api_object("Node", name, {"engine": {"type": "lxc"}, **spec})
    return Node.parse({**raw, "status": status})


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (node("a"), node("b"), ""),
        (node("a"), node("b", maintenance=True), "node b is in maintenance"),
        (node("a", ["vm/Migrate"]), node("b"), "the engine of node a (lxc) does not offer container/Migrate"),
        (node("a"), node("b", []), "the engine of node b (lxc) does not offer container/Migrate"),
        (node("a"), node("b", cluster="other"), "not in the same cluster of their engine (pve and other)"),
        (node("a", cluster=None), node("b", cluster=None), "not in the same cluster of their engine"),
        (None, node("b"), "the node that it is on is not known"),
    ],
)
def test_what_forbids_a_move_is_named(source: Node | None, target: Node, why: str) -> None:
    found = obstacle(GuestType.CONTAINER, source, target)
    assert why in found
    assert bool(why) == bool(found)


@pytest.fixture
def servers(make_server: Callable[[], Server]) -> tuple[Server, Server]:
    """Two nodes of one cluster that can move guests."""
    pair = (make_server(), make_server())
    for server in pair:
        server.set_status(engineCluster="pve", capabilities=CAN)
    return pair


@pytest.fixture
def shop(namespace: Namespace, servers: tuple[Server, Server]) -> Namespace:
    """A Stack that runs on the first node."""
    namespace.apply(stack_object(placement={"nodeSelector": {"disk": "ssd"}}))
    serve(namespace, servers[0])
    return namespace


def serve(namespace: Namespace, server: Server, *conditions: dict[str, Any], state: str = "Running") -> None:
    generation = namespace.get("stack", "shop")["metadata"]["generation"]
    namespace.set_status(
        "stack",
        "shop",
        observedGeneration=generation,
        node=server.name,
        guest="shop-12345678",
        state=state,
        conditions=list(conditions or [READY]),
    )


def migrate_while(dsecos: Run, shop: Namespace, to: Server, play: Callable[[], None]) -> Any:
    """Give the order and wait, while something plays the operator once it was written."""

    def operate() -> None:
        path = f"--for=jsonpath={{.spec.placement.node}}={to.name}"
        shop.kubectl("wait", path, "stack/shop", "--timeout=60s")
        play()

    operator = Thread(target=operate)
    operator.start()
    result = dsecos("migrate", "shop", "--to", to.name, "-n", shop.name, "--timeout", "60s")
    operator.join()
    return result


def test_it_changes_the_node_and_nothing_else_and_follows_the_guest(
    dsecos: Run, shop: Namespace, servers: tuple[Server, Server]
) -> None:
    def play() -> None:
        serve(shop, servers[0], condition("Ready", "False", "Migrating", "on its way"), state="Migrating")
        serve(shop, servers[1])

    before = shop.get("stack", "shop")["spec"]
    result = migrate_while(dsecos, shop, servers[1], play)
    assert result.exit_code == 0, result.stderr
    placement = {"nodeSelector": {"disk": "ssd"}, "node": servers[1].name}
    assert shop.get("stack", "shop")["spec"] == {**before, "placement": placement}


def failed(shop: Namespace, to: Server, message: str, time: str) -> None:
    """What the operator writes of a move that failed with the present spec."""
    generation = shop.get("stack", "shop")["metadata"]["generation"]
    failure = {"node": to.name, "generation": generation, "time": time, "message": message}
    shop.set_status("stack", "shop", failedMove=failure)


def test_a_move_that_fails_is_told_and_an_older_failure_is_not(
    dsecos: Run, shop: Namespace, servers: tuple[Server, Server]
) -> None:
    failed(shop, servers[1], "an older one", "2026-11-20T10:00:00Z")

    def play() -> None:
        failed(shop, servers[1], "local disks cannot be moved", "2026-11-20T11:00:00Z")

    result = migrate_while(dsecos, shop, servers[1], play)
    assert result.exit_code == 1
    assert "error: stack shop was not moved: local disks cannot be moved" in result.stderr
    assert "spec.placement.node" in result.stderr


def test_a_move_that_waits_after_a_failure_is_told_at_once_and_can_be_taken_back(
    dsecos: Run, shop: Namespace, servers: tuple[Server, Server]
) -> None:
    words = ("migrate", "shop", "-n", shop.name, "--no-wait", "--to")
    assert dsecos(*words, servers[1].name).exit_code == 0
    failed(shop, servers[1], "local disks cannot be moved", "2026-11-20T11:00:00Z")
    again = dsecos(*words, servers[1].name)
    assert again.exit_code == 1
    assert "after ten minutes" in again.stderr
    assert dsecos(*words, servers[0].name).exit_code == 0
    assert shop.get("stack", "shop")["spec"]["placement"]["node"] == servers[0].name
    assert dsecos(*words, servers[1].name).exit_code == 0


@pytest.mark.parametrize(
    ("state", "to", "code", "said"),
    [
        ("Running", "nowhere", 6, "there is no node nowhere"),
        ("Running", "No_Name", 2, "is not a name"),
        ("Suspended", "nowhere", 1, "dsecos resume shop"),
        ("Stopping", "nowhere", 1, "it is Stopping"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    dsecos: Run, shop: Namespace, servers: tuple[Server, Server], state: str, to: str, code: int, said: str
) -> None:
    serve(shop, servers[0], state=state)
    result = dsecos("migrate", "shop", "--to", to, "-n", shop.name)
    assert result.exit_code == code
    assert said in result.stderr
    assert "node" not in shop.get("stack", "shop")["spec"]["placement"]


def test_a_node_that_cannot_take_it_is_refused_with_the_reason(
    dsecos: Run, shop: Namespace, servers: tuple[Server, Server]
) -> None:
    servers[1].patch(maintenance=True)
    result = dsecos("migrate", "shop", "--to", servers[1].name, "-n", shop.name)
    assert result.exit_code == 1
    assert f"cannot move to {servers[1].name}: node {servers[1].name} is in maintenance" in result.stderr
    assert "node" not in shop.get("stack", "shop")["spec"]["placement"]


def test_where_it_is_already_nothing_is_written(
    dsecos: Run, shop: Namespace, servers: tuple[Server, Server]
) -> None:
    result = dsecos("migrate", "shop", "--to", servers[0].name, "-n", shop.name)
    assert result.exit_code == 0
    assert "already" in result.stderr
    assert shop.get("stack", "shop")["metadata"]["generation"] == 1


def test_who_may_not_read_nodes_is_told_and_not_kept(
    dsecos: Run, shop: Namespace, servers: tuple[Server, Server], as_tenant: Callable[[], None]
) -> None:
    as_tenant()
    result = dsecos("migrate", "shop", "--to", servers[1].name, "-n", shop.name, "--no-wait")
    assert result.exit_code == 0, result.stderr
    assert "may not read Nodes" in result.stderr
    assert shop.get("stack", "shop")["spec"]["placement"]["node"] == servers[1].name
