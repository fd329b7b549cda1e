"""A control plane with a running operator, as tests use it."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from dsecos_api import Guest, KubeObject, Type
from dsecos_api.guest import GuestCompose, GuestNetwork
from dsecos_control_plane import credentials, objects
from dsecos_control_plane.credentials import Account
from dsecos_control_plane.identity import Identity, identity
from dsecos_control_plane.kubectl import Kubectl
from dsecos_control_plane.testing import ControlPlane
from dsecos_runtime import NODE, STACK, Cluster, NotFound, Object, Resource

from tests.patience import Deadline

T = TypeVar("T")
K = TypeVar("K", bound=KubeObject)
CATALOG = Path(__file__).parents[4] / "manifests" / "catalog"
VERSION = "dsecos.io/v1alpha1"
SHORT_LEASE = {"DSECOS_LEASE_DURATION": "4", "DSECOS_LEASE_RENEW_DEADLINE": "3"}
"""Of a leader that is going to be killed: it is succeeded when its lease has run out."""


async def until(look: Callable[[], Awaitable[T | None]], seconds: float = 20.0, what: str = "") -> T:
    """The first answer of `look` that is true; asked every 50 ms. Raises AssertionError."""
    deadline = Deadline(seconds)
    while True:
        found = await look()
        if found:
            return found
        if deadline.passed():
            raise AssertionError(f"not within {seconds} s: {what or look}")
        await asyncio.sleep(0.05)


def reason(obj: KubeObject, kind: str) -> str:
    """The reason of a condition; empty if the object has none of that type."""
    return next((str(each.reason) for each in conditions(obj) if each.type == kind), "")


def message(obj: KubeObject, kind: str) -> str:
    """The message of a condition."""
    return next((str(each.message) for each in conditions(obj) if each.type == kind), "")


def truth(obj: KubeObject, kind: str) -> str:
    """True, False, Unknown, or empty."""
    return next((str(each.status) for each in conditions(obj) if each.type == kind), "")


def conditions(obj: KubeObject) -> list[Any]:
    """The conditions of any kind."""
    return list(getattr(obj, "status").conditions)  # noqa: B009 - kinds have one, the base has not


class Cloud:
    """The administrator's hands, and the operator's process."""

    def __init__(self, plane: ControlPlane, compose: Path) -> None:
        self.plane = plane
        self.settings = plane.settings
        objects.install(Kubectl(self.settings))
        self._user: Identity | None = identity(self.settings, "operator")
        self.kubeconfig = self.settings.home / "operator" / "kubeconfig"
        credentials.ensure(self.settings, objects.OPERATOR, self.kubeconfig, self._user)
        program = self.settings.bin / "docker-compose"
        shutil.copyfile(compose, program)
        program.chmod(0o755)
        self.admin = Cluster.connect(plane.kubeconfig, field_manager="admin")
        self.log = self.settings.home / "operator.log"
        self._operator: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    @classmethod
    def beside(cls, other: Cloud) -> Cloud:
        """A second operator on the same control plane."""
        beside = copy.copy(other)
        beside.log = other.log.with_name("operator-2.log")
        beside._operator = None
        return beside

    # The operator

    def start(self, **environment: str) -> int:
        """Start the operator and return its process id.

        As in production, one that has given up its leadership is started again: where others use the machine
        too, it may not get to renew its lease. One that is to be killed at a point is not.
        """
        process = self._spawn(environment)
        if "DSECOS_FAULT_POINT" not in environment:
            threading.Thread(target=self._supervise, args=(process, environment), daemon=True).start()
        return process.pid

    def _supervise(self, process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
        while process.wait() == 1 and '"LeadershipLost"' in self.tail(3):
            with self._starting:
                if process is not self._operator:
                    return
                process = self._spawn(environment)

    def _spawn(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        user: dict[str, Any] = {}
        if self._user is not None:
            user = {"user": self._user.uid, "group": self._user.gid, "extra_groups": []}
        with self.log.open("ab") as log:
            self._operator = subprocess.Popen(
                [sys.executable, "-c", "from dsecos_operator.main import main; main()"],
                env={
                    **self.settings.environment(),
                    "PATH": os.environ["PATH"],
                    "KUBECONFIG": str(self.kubeconfig),
                    "DSECOS_CATALOG": str(CATALOG),
                    "DSECOS_LEASE_RETRY": "0.5",
                    **(SHORT_LEASE if "DSECOS_FAULT_POINT" in environment else {}),
                    **environment,
                },
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **user,
            )
        return self._operator

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End the operator and return its exit code."""
        with self._starting:
            process, self._operator = self._operator, None
        assert process is not None
        process.send_signal(how)
        return process.wait(30)

    @property
    def ended(self) -> bool:
        """Whether the operator has ended by itself or by `stop`."""
        return self._operator is None or self._operator.poll() is not None

    def agent_kubeconfig(self, node: str) -> Path:
        """The credential of a node's agent, as `make up` makes it."""
        account = Account(f"dsecos-node-{node}", "agent", "agent-binding")
        path = self.settings.home / f"agent-{node}" / "kubeconfig"
        credentials.ensure(self.settings, account, path, None)
        return path

    # Objects

    async def apply(self, *raws: Object) -> None:
        """As `kubectl apply --server-side`."""
        for raw in raws:
            await self.admin.apply(_resource(raw), raw)

    async def delete(self, resource: Resource[Any], name: str, namespace: str = "") -> None:
        """Without waiting; it may be gone already."""
        try:
            await self.admin.delete(resource, name, namespace)
        except NotFound:
            return

    async def gone(
        self, resource: Resource[Any], name: str, namespace: str = "", seconds: float = 20
    ) -> None:
        """Wait until it does not exist."""

        async def look() -> bool:
            return await self.admin.find(resource, name, namespace) is None

        await until(look, seconds, f"{resource} {name} is gone")

    async def wait(
        self,
        resource: Resource[K],
        name: str,
        namespace: str,
        accept: Callable[[K], bool],
        seconds: float = 20,
    ) -> K:
        """Wait for an object that `accept` likes; tells the last one otherwise."""
        last: list[K | None] = [None]

        async def look() -> K | None:
            last[0] = await self.admin.find(resource, name, namespace)
            return last[0] if last[0] is not None and accept(last[0]) else None

        try:
            return await until(look, seconds)
        except AssertionError as error:
            told = last[0].to_dict() if last[0] is not None else None
            raise AssertionError(
                f"{resource} {namespace}/{name} never was so: {told}\n{self.tail()}"
            ) from error

    async def ready(self, name: str, namespace: str, seconds: float = 20) -> Any:
        """Wait until a Stack is Ready for its present generation."""
        return await self.wait(
            STACK,
            name,
            namespace,
            lambda each: (
                truth(each, Type.READY) == "True"
                and each.status.observed_generation == each.metadata.generation
            ),
            seconds,
        )

    async def says(self, name: str, namespace: str, step: str, why: str, seconds: float = 20) -> Any:
        """Wait until a condition of a Stack has a reason."""
        return await self.wait(STACK, name, namespace, lambda each: reason(each, step) == why, seconds)

    async def registered(self, node: str) -> None:
        """Wait until the operator has registered a node."""
        await self.wait(NODE, node, "", lambda each: truth(each, Type.NODE_REGISTERED) == "True")

    def writes(self, name: str, namespace: str) -> list[str]:
        """Writes of the operator to a Stack or a Guest, from the API server's audit log."""
        found = []
        for path in (self.settings.home / "log").rglob("audit*.log"):
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                ref = entry.get("objectRef") or {}
                if (
                    (ref.get("name"), ref.get("namespace")) == (name, namespace)
                    and entry["stage"] == "ResponseComplete"
                    and entry["verb"] in ("create", "patch", "update", "delete")
                    and ref.get("resource") in ("stacks", "guests")
                    and entry["user"]["username"] == "system:serviceaccount:dsecos-system:dsecos-operator"
                ):
                    found.append(f"{entry['verb']} {ref.get('subresource', '')}")
        return found

    def tail(self, lines: int = 15) -> str:
        """The end of the operator's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _resource(raw: Object) -> Resource[Object]:
    group, _, version = raw["apiVersion"].rpartition("/")
    kind = raw["kind"]
    cluster_scoped = kind in ("Namespace", "Node", "License", "ClusterRole")
    return Resource(group, version, kind.lower() + "s", kind, namespaced=not cluster_scoped)


def network(guest: Guest) -> GuestNetwork:
    """The network of a guest that was not adopted."""
    assert guest.spec.network is not None
    return guest.spec.network


def compose(guest: Guest) -> GuestCompose:
    """The document of a guest that was not adopted."""
    assert guest.spec.compose is not None
    return guest.spec.compose


# What tests apply


def namespace(name: str) -> Object:
    """A tenant."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def license_() -> Object:
    """A development License."""
    return {
        "apiVersion": VERSION,
        "kind": "License",
        "metadata": {"name": "dsecos"},
        "spec": {"development": True},
    }


def node(name: str, **labels: str) -> Object:
    """A server with one pool."""
    return {
        "apiVersion": VERSION,
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "engine": {"type": "lxc"},
            "pools": [{"name": "default", "type": "dir", "path": "/var/lib/dsecos/pools/default"}],
        },
    }


def proxmox(name: str, **labels: str) -> Object:
    """A node of a Proxmox VE cluster, where it is called as here."""
    made = node(name, **labels)
    engine = {"url": "https://pve:8006", "node": name, "tokenSecretRef": {"name": "t", "key": "k"}}
    made["spec"]["engine"] = {"type": "proxmox", "proxmox": engine}
    return made


def zone(name: str, space: str, cidr: str, **spec: Any) -> Object:
    """A zone."""
    return {
        "apiVersion": VERSION,
        "kind": "NetworkZone",
        "metadata": {"name": name, "namespace": space},
        "spec": {"cidrs": [cidr], **spec},
    }


def stack(name: str, space: str, inline: str | None = None, **spec: Any) -> Object:
    """A Stack with one service, in zone `backend`."""
    document = "services: {web: {image: 'node:20', ports: ['3000:3000']}}"
    source: Object = (
        {} if "template" in spec or "compose" in spec else {"compose": {"inline": inline or document}}
    )
    return {
        "apiVersion": VERSION,
        "kind": "Stack",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            **source,
            "zone": "backend",
            "resources": {"cpu": "500m", "memory": "256Mi", "disk": "1Gi"},
            **spec,
        },
    }


def adoption(name: str, space: str, node: str, engine_id: str, **spec: Any) -> Object:
    """A Stack that takes over what is there."""
    resources = {"cpu": "500m", "memory": "256Mi", "disk": "1Gi"}
    return {
        "apiVersion": VERSION,
        "kind": "Stack",
        "metadata": {"name": name, "namespace": space},
        "spec": {"adopt": {"node": node, "id": engine_id}, "resources": resources, **spec},
    }


def secret(name: str, space: str, **data: str) -> Object:
    """A Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": space},
        "stringData": data,
    }
