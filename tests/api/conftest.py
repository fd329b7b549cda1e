"""One control plane with our kinds for all tests of this folder; each test makes objects of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dsecos_api.generate import CHECKOUT
from dsecos_control_plane.testing import ControlPlane

from tests.api.client import Api
from tests.api.objects import EXAMPLES


@pytest.fixture(scope="package")
def plane() -> Iterator[ControlPlane]:
    """A running control plane with the kinds of dsecos.io."""
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", str(CHECKOUT / "crds" / "yaml"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        yield plane


@pytest.fixture(scope="package")
def api(plane: ControlPlane) -> Api:
    """The API server as its administrator sees it, with the namespaces of the example objects."""
    api = Api(plane.kubeconfig)
    for name in {each["metadata"].get("namespace") for each in EXAMPLES} - {None}:
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return api
