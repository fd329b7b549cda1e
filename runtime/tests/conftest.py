"""A real API server for the tests of the runtime, with the kinds of dsecos.io installed."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dsecos_api
import pytest
import yaml
from dsecos_control_plane.testing import ControlPlane
from dsecos_runtime import (
    NAMESPACE,
    SECRET,
    SERVICE_ACCOUNT,
    Cluster,
    Controller,
    Object,
    Runtime,
    RuntimeSettings,
    logs,
)
from dsecos_runtime.testing import Gateway, Run

CRDS = Path(dsecos_api.__file__).parents[1] / "yaml"


@pytest.fixture(scope="session", autouse=True)
def logging_as_in_a_part() -> None:
    """Log as a part does: JSON lines on standard error."""
    logs.configure("test")


@pytest.fixture(scope="package")
def control_plane() -> Iterator[ControlPlane]:
    """A running control plane that serves dsecos.io."""
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", str(CRDS))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        yield plane


@pytest.fixture
async def cluster(control_plane: ControlPlane) -> AsyncIterator[Cluster]:
    """A client with the administrator's rights."""
    found = Cluster.connect(control_plane.kubeconfig, field_manager="test")
    yield found
    await found.close()


@pytest.fixture
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    name = f"test-{secrets.token_hex(4)}"
    await cluster.create(NAMESPACE, {"metadata": {"name": name}})
    yield name
    await cluster.delete(NAMESPACE, name)


@pytest.fixture
def config_map(namespace: str) -> Callable[..., Object]:
    """Makes a ConfigMap in the test's namespace."""

    def make(name: str = "cm", **data: str) -> Object:
        return {"metadata": {"name": name, "namespace": namespace}, "data": data}

    return make


@pytest.fixture
def zone(namespace: str) -> Callable[..., dsecos_api.NetworkZone]:
    """Makes a NetworkZone in the test's namespace."""

    def make(name: str = "zone", **spec: Any) -> dsecos_api.NetworkZone:
        return dsecos_api.NetworkZone.parse(
            {"metadata": {"name": name, "namespace": namespace}, "spec": {"cidrs": ["10.20.0.0/24"], **spec}}
        )

    return make


@pytest.fixture
def kubeconfig_of(
    control_plane: ControlPlane, cluster: Cluster, namespace: str, tmp_path: Path
) -> Callable[..., Any]:
    """Makes a service account in the test's namespace, and a kubeconfig with a token bound to a Secret."""

    async def make(name: str, life: timedelta = timedelta(hours=1), admin: bool = False) -> Path:
        await cluster.create(SERVICE_ACCOUNT, {"metadata": {"name": name, "namespace": namespace}})
        secret = await cluster.create(SECRET, {"metadata": {"name": name, "namespace": namespace}})
        if admin:
            control_plane.kubectl(
                "create", "clusterrolebinding", f"{namespace}-{name}", "--clusterrole=cluster-admin",
                f"--serviceaccount={namespace}:{name}",
            )  # fmt: skip
        token = await cluster.request_token(namespace, name, expiration=life, bound_secret=secret)
        document = yaml.safe_load(control_plane.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token.token}
        path = tmp_path / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    return make


@pytest.fixture
async def gateway(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A way to the API server that can be cut."""
    async with Gateway(control_plane.kubeconfig, tmp_path) as found:
        yield found


Start = Callable[..., Run]


@pytest.fixture
async def start(namespace: str, control_plane: ControlPlane) -> AsyncIterator[Start]:
    """Starts controller processes, and stops them in the end. By default they watch the test's namespace."""
    runs: list[Run] = []

    def begin(controllers: Callable[[Runtime], list[Controller]], **settings: Any) -> Run:
        settings = {
            "name": "test",
            "namespaces": [namespace],
            "kubeconfig": control_plane.kubeconfig,
            "lease_namespace": namespace,
            "stop_grace": 2.0,
            **settings,
        }

        async def build(runtime: Runtime) -> list[Controller]:
            return controllers(runtime)

        runs.append(Run(RuntimeSettings(**settings), build))
        return runs[-1]

    yield begin
    for run in runs:
        await run.end()
