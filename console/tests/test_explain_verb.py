"""`dsecos explain` as its users run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import yaml

from console.tests.conftest import Namespace, Run, Server
from console.tests.objects import stack_object, zone_object


@pytest.fixture
def shop(namespace: Namespace, server: Server) -> Iterator[Namespace]:
    """Two Stacks of one zone on one node; port 5432 is open between them."""
    zone = zone_object()
    me = {"namespace": namespace.name, "zone": "backend", "ports": [{"port": 5432, "protocol": "TCP"}]}
    zone["spec"]["peers"] = [me]
    namespace.apply(zone, stack_object("front"), stack_object("pg"))
    namespace.set_status("networkzone", "backend", observedGeneration=1, gateway="10.20.0.1")
    for number, name in enumerate(("front", "pg"), start=2):
        namespace.set_status("stack", name, node=server.name, address=f"10.20.0.{number}", state="Running")
    server.set_status(addresses={"management": "192.0.2.1", "tunnel": "192.0.2.1"})
    yield namespace
    # An address is in one zone of a cluster.
    namespace.kubectl("delete", "stacks,networkzones", "--all", "--wait=false")


def test_the_first_line_has_the_answer_and_the_rule(dsecos: Run, shop: Namespace, server: Server) -> None:
    result = dsecos("explain", "front", f"{shop.name}/pg", "5432", "-n", shop.name)
    assert result.exit_code == 0, result.stderr
    rule = f"NetworkZone {shop.name}/backend spec.peers[0] names itself with TCP 5432"
    lines = result.stdout.splitlines()
    assert lines[0] == f"Allowed: {rule}"
    assert [line.split()[0] for line in lines[3:]] == ["+"] * 4
    assert f"Stack {shop.name}/front" in lines[3]
    assert f"has 10.20.0.2 in NetworkZone {shop.name}/backend, on node {server.name}" in lines[3]


def test_a_denial_has_a_code_of_its_own_and_the_line_to_add(dsecos: Run, shop: Namespace) -> None:
    result = dsecos("explain", "10.20.0.2", "pg", "icmp", "-n", shop.name)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"Denied: NetworkZone {shop.name}/backend spec.peers[0] names itself")
    assert "To let it pass:" in result.stdout
    assert f"set spec.peers[0]\n    {{namespace: {shop.name}, zone: backend}}" in result.stdout


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_data(
    dsecos: Run, shop: Namespace, output: str, load: Callable[[str], dict[str, object]]
) -> None:
    result = dsecos("explain", "front", "pg", "22", "-n", shop.name, "-o", output)
    assert result.exit_code == 1
    found = load(result.stdout)
    assert (found["from"], found["to"], found["port"]) == ("front", "pg", "TCP 22")
    assert found["allowed"] is False
    [family] = found["families"]  # type: ignore[misc]  # data from a program
    assert family["family"] == "IPv4"
    assert family["changes"][0]["field"] == "spec.peers[0].ports"


def test_a_stack_that_is_not_there_is_told_with_its_like(dsecos: Run, shop: Namespace) -> None:
    result = dsecos("explain", "fornt", "pg", "22", "-n", shop.name)
    assert result.exit_code == 6
    assert f"Did you mean {shop.name}/front?" in result.stderr
    assert dsecos("explain", "front", "pg", "seventy", "-n", shop.name).exit_code == 2
    assert dsecos("explain", "192.0.2.7", "198.51.100.1", "22", "-n", shop.name).exit_code == 2


def test_a_tenant_gets_an_answer_from_what_they_may_read(
    dsecos: Run, shop: Namespace, as_tenant: Callable[[], None]
) -> None:
    as_tenant()
    result = dsecos("explain", "front", "pg", "5432", "-n", shop.name)
    assert result.exit_code == 0, result.stderr
    assert f"zones and Stacks of {shop.name} only" in result.stderr
    assert dsecos("explain", "front", "another/pg", "5432", "-n", shop.name).exit_code == 3
