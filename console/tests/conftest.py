"""The command as its users run it, alone and against a real API server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from dsecos_api.names import node_namespace
from dsecos_cli.main import app
from dsecos_control_plane.testing import ControlPlane
from typer.testing import CliRunner, Result

from console.tests.objects import CHECKOUT, Object, api_object

Run = Callable[..., Result]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any cluster; returns DSECOS_HOME."""
    for name in ("KUBECONFIG", "DSECOS_CATALOG", "DSECOS_NODE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DSECOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def dsecos(environment: Path) -> Run:
    """Run the command with these words; standard output and error are kept apart."""

    def run(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(words), input=stdin)

    return run


@pytest.fixture(scope="package")
def control_plane() -> Iterator[ControlPlane]:
    """A running control plane that serves dsecos.io."""
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", str(CHECKOUT / "crds" / "yaml"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        yield plane


@dataclass(frozen=True)
class Namespace:
    """A namespace of the test's own, as kubectl sees it."""

    name: str
    plane: ControlPlane

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.plane.kubectl("-n", self.name, *words, stdin=stdin)

    def apply(self, *objects: Object, server_side: bool = True) -> None:
        """Apply objects; those without a namespace go into this one."""
        words = ["apply", *(["--server-side"] if server_side else []), "-f", "-"]
        self.kubectl(*words, stdin=yaml.safe_dump_all(objects))

    def get(self, kind: str, name: str) -> Object:
        """Read one object."""
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def set_status(self, kind: str, name: str, **status: Any) -> None:
        """Write a status as the operator does."""
        patch = json.dumps({"status": status})
        self.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


@pytest.fixture
def namespace(control_plane: ControlPlane, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """A namespace, and KUBECONFIG for the command."""
    name = f"test-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "namespace", name)
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    return Namespace(name, control_plane)


@dataclass(frozen=True)
class Server:
    """A Node of the test's own with its namespace, as its agent and the operator see it."""

    name: str
    plane: ControlPlane

    @property
    def namespace(self) -> str:
        """Where its Guests are."""
        return node_namespace(self.name)

    def get(self) -> Object:
        """Read the Node."""
        found: Object = json.loads(self.plane.kubectl("get", "nodes.dsecos.io", self.name, "-o", "json"))
        return found

    def patch(self, **spec: Any) -> None:
        """Change its spec as an administrator does."""
        self._patch(f"nodes.dsecos.io/{self.name}", {"spec": spec})

    def set_status(self, **status: Any) -> None:
        """Write its status."""
        self._patch(f"nodes.dsecos.io/{self.name}", {"status": status}, "--subresource=status")

    def apply_guest(self, guest: Object, **status: Any) -> None:
        """A Guest on it, with its status."""
        self.plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(guest))
        self.set_guest_status(guest["metadata"]["name"], **status)

    def set_guest_status(self, name: str, **status: Any) -> None:
        """Write a Guest's status as the agent does."""
        words = ("-n", self.namespace, "--subresource=status")
        self._patch(f"guest/{name}", {"status": status}, *words)

    def _patch(self, what: str, patch: Object, *words: str) -> None:
        self.plane.kubectl("patch", what, *words, "--type=merge", "-p", json.dumps(patch))


@pytest.fixture
def make_server(control_plane: ControlPlane) -> Iterator[Callable[[], Server]]:
    """Makes Nodes, which are gone after the test."""
    made: list[Server] = []

    def make() -> Server:
        server = Server(f"server-{secrets.token_hex(4)}", control_plane)
        made.append(server)
        control_plane.kubectl("create", "namespace", server.namespace)
        node = api_object("Node", server.name, {"engine": {"type": "lxc"}})
        control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(node))
        return server

    yield make
    for server in made:
        control_plane.kubectl("delete", "nodes.dsecos.io", server.name, "--ignore-not-found")
        control_plane.kubectl("delete", "namespace", server.namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture
def server(make_server: Callable[[], Server]) -> Server:
    """One Node."""
    return make_server()


@pytest.fixture
def as_tenant(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on the command runs as somebody who has rights in the one namespace only."""

    def become() -> None:
        namespace.kubectl("create", "serviceaccount", "tenant")
        resources = "--resource=stacks.dsecos.io,networkzones.dsecos.io"
        namespace.kubectl("create", "role", "tenant", "--verb=get,list,watch,patch", resources)
        account = f"--serviceaccount={namespace.name}:tenant"
        namespace.kubectl("create", "rolebinding", "tenant", "--role=tenant", account)
        config = yaml.safe_load(namespace.plane.kubeconfig.read_text())
        token = namespace.kubectl("create", "token", "tenant").strip()
        for user in config["users"]:
            user["user"] = {"token": token}
        file = tmp_path / "tenant.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(file))

    return become
