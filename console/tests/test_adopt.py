"""`dsecos adopt`: exactly the Stack that takes over what is there, and what is refused beforehand."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest
import yaml

from console.tests.conftest import Namespace, Run, Server
from console.tests.objects import condition, stack_object

SIZE = ("--cpu", "2", "--memory", "4Gi", "--disk", "32Gi")
SPEC = {
    "adopt": {"node": "pve1", "id": "105"},
    "type": "vm",
    "resources": {"cpu": "2", "memory": "4Gi", "disk": "32Gi"},
    "runPolicy": "Running",
    "deletionPolicy": "Orphan",
}


@pytest.fixture
def willing(server: Server) -> Server:
    """A Node whose engine can take over VMs and no containers."""
    server.set_status(capabilities=["vm/Adopt"])
    return server


def test_a_dry_run_needs_no_cluster(dsecos: Run) -> None:
    words = ("adopt", "wiki", "--node", "pve1", "--id", "105", "--type", "vm", *SIZE, "-n", "demo")
    result = dsecos(*words, "--dry-run")
    assert result.exit_code == 0, result.stderr
    stack = yaml.safe_load(result.stdout)
    assert stack["metadata"] == {"name": "wiki", "namespace": "demo"}
    assert stack["spec"] == SPEC
    stopped = yaml.safe_load(dsecos(*words, "--stopped", "--dry-run").stdout)
    assert stopped["spec"] == {**SPEC, "runPolicy": "Stopped"}


@pytest.mark.parametrize(
    ("words", "said", "way_out"),
    [
        (["wiki", "--id", "../etc"], "--id '../etc' is no id of an engine", "105"),
        (["No_Name", "--id", "105"], "No_Name", "lower-case letters"),
        (["wiki", "--id", "105", "--cpu", "two"], "--cpu", "500m"),
        (["wiki"], "--id", ""),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_sent(
    dsecos: Run, words: list[str], said: str, way_out: str
) -> None:
    result = dsecos("adopt", words[0], "--node", "pve1", *SIZE, *words[1:])
    assert result.exit_code == 2
    assert said in result.stderr
    assert way_out in result.stderr


def test_it_makes_the_stack_and_follows_it(dsecos: Run, namespace: Namespace, willing: Server) -> None:
    def operate() -> None:
        namespace.kubectl("wait", "--for=create", "stack/wiki", "--timeout=60s")
        ready = {**condition("Ready", "True", "Adopted"), "observedGeneration": 1}
        namespace.set_status("stack", "wiki", observedGeneration=1, conditions=[ready], state="Running")

    operator = Thread(target=operate)
    operator.start()
    words = ("adopt", "wiki", "--node", willing.name, "--id", "105", "--type", "vm", *SIZE)
    result = dsecos(*words, "-n", namespace.name, "--timeout", "60s")
    operator.join()
    assert result.exit_code == 0, result.stderr
    assert f"takes over vm 105 of node {willing.name}" in result.stderr
    assert namespace.get("stack", "wiki")["spec"] == {**SPEC, "adopt": {"node": willing.name, "id": "105"}}
    assert (
        f"105 of node {willing.name}, taken over as it was"
        in dsecos("status", "wiki", "-n", namespace.name).stdout
    )

    again = dsecos(*words, "-n", namespace.name)
    assert again.exit_code == 1
    assert "already" in again.stderr


def test_a_node_that_is_not_there_or_cannot_is_named(
    dsecos: Run, namespace: Namespace, willing: Server
) -> None:
    words = ("adopt", "wiki", "--id", "105", *SIZE, "-n", namespace.name, "--node")
    nowhere = dsecos(*words, "nowhere")
    assert (nowhere.exit_code, "there is no node nowhere" in nowhere.stderr) == (6, True)
    cannot = dsecos(*words, willing.name)
    assert cannot.exit_code == 1
    assert f"the engine of node {willing.name} (lxc) does not offer container/Adopt" in cannot.stderr
    assert "wiki" not in namespace.kubectl("get", "stacks")


def test_who_may_not_read_nodes_tries(
    dsecos: Run, namespace: Namespace, as_tenant: Callable[[], None]
) -> None:
    as_tenant()
    result = dsecos(
        "adopt", "wiki", "--node", "pve1", "--id", "105", *SIZE, "-n", namespace.name, "--no-wait"
    )
    assert "may not read Nodes" in result.stderr
    assert result.exit_code == 3, "a tenant of this test may not create Stacks at all"


def test_guests_without_a_network_are_shown(dsecos: Run, namespace: Namespace, server: Server) -> None:
    namespace.apply(stack_object("wiki"))
    adopted = {
        "apiVersion": "dsecos.io/v1alpha1",
        "kind": "Guest",
        "metadata": {"name": "wiki-1", "namespace": server.namespace},
        "spec": {
            "stackRef": {"namespace": namespace.name, "name": "wiki", "uid": "1"},
            "type": "vm",
            "hostname": "wiki",
            "epoch": 1,
            "adopt": "105",
            "resources": {"cpu": "2", "memory": "4Gi", "disk": "32Gi"},
            "runPolicy": "Running",
            "deletionPolicy": "Orphan",
        },
    }
    server.apply_guest(adopted, engineId="105")
    result = dsecos("guests", "-n", namespace.name)
    assert result.exit_code == 0, result.stderr
    assert "105" in result.stdout
