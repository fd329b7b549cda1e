"""One control plane and one agent for all tests of this folder; each test takes its own guests away."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_control_plane.testing import ControlPlane

from .harness import Node, know_kinds


@pytest.fixture(scope="package")
def images() -> Iterator[Path]:
    """The guest template, built once for all from the same cache as `make up`."""
    with tempfile.TemporaryDirectory(prefix="dsecos-images-") as folder:
        subprocess.run(
            [Path(sys.executable).with_name("dsecos-images"), "build", "--output", folder],
            check=True,
            timeout=3000,
        )
        yield Path(folder)


@pytest.fixture(scope="package")
def plane() -> Iterator[ControlPlane]:
    """A real API server that knows our kinds."""
    with ControlPlane() as plane:
        know_kinds(plane)
        yield plane


@pytest.fixture(scope="package")
def installed(plane: ControlPlane, images: Path) -> Iterator[Node]:
    """A node that is registered and whose agent runs."""
    node = Node(plane, images)
    try:
        plane.kubectl("create", "namespace", node.settings.namespace)
        document = (
            "apiVersion: dsecos.io/v1alpha1\nkind: Node\n"
            f"metadata: {{name: {node.settings.node_name}}}\nspec: {{engine: {{type: lxc}}}}\n"
        )
        plane.kubectl("apply", "--server-side", "-f", "-", stdin=document)
        node.start()
        node.wait_condition(node.settings.node_name, "StorageReady", "True", of="node", seconds=240)
        yield node
    finally:
        node.close()


@pytest.fixture
def node(installed: Node) -> Iterator[Node]:
    """The node, with its zone and a running agent; guests go when the test ends."""
    if installed.died():
        installed.start()
    installed.apply(installed.attachment())
    yield installed
    if installed.died():
        installed.start()
    names = installed.kubectl("get", "guests", "-o", "jsonpath={.items[*].metadata.name}").split()
    for name in names:
        patch = '{"spec": {"deletionPolicy": "Delete", "paused": false}}'
        installed.kubectl("patch", "guest", name, "--type=merge", "-p", patch)
        installed.delete(name)
