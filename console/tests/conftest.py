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
from dsecos_cli.main import app
from dsecos_control_plane.testing import ControlPlane
from typer.testing import CliRunner, Result

from console.tests.objects import CHECKOUT, Object

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


@pytest.fixture(scope="session")
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
