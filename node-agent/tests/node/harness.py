"""A real agent beside a real API server, with real guests: LXC, btrfs, nftables, Docker.

Its names, ports, id range and addresses are its own, so that it runs beside an instance of the host's.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from dsecos_agent.engines.lxc.engine import LxcEngine
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import ObservedGuest
from dsecos_agent.settings import AgentSettings
from dsecos_agent.zones.naming import bridge_name, port_name
from dsecos_control_plane.testing import ControlPlane

from tests.patience import until
from tests.reader import Reader

Object = dict[str, Any]

CRDS = Path(__file__).resolve().parents[3] / "crds" / "yaml"
ZONE_UID = "5e0f6b8e-0000-4000-8000-0000000000aa"

SERVER = (
    "require('http').createServer((q, s) => s.end(process.env.GREETING || 'hello')).listen(3000)"
    ".on('listening', () => console.log('up'))"
)


def document(*, greeting: str = "hello", image: str = "node:20", **services: Any) -> str:
    """A normalised compose document: one web service, and others as given."""
    web = {
        "image": image,
        "command": ["node", "-e", SERVER],
        "environment": {"GREETING": greeting},
        "restart": "unless-stopped",
        "init": True,
        "stop_grace_period": "2s",
        "ports": [{"mode": "ingress", "target": 3000, "published": "3000", "protocol": "tcp"}],
        "healthcheck": {
            "test": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:3000/"],
            "interval": "10s",
            "timeout": "3s",
            "retries": 3,
            "start_period": "30s",
            "start_interval": "250ms",
        },
    }
    return json.dumps({"name": "app", "services": {"web": web, **services}})


BY_EVENT = 5.0
"""Seconds for what an event brings about: long before the agent's next look by the clock, after 30 s."""


def eventually(look: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first value of `look` that is true."""
    return until(look, seconds, what=what)


def know_kinds(plane: ControlPlane) -> None:
    """Install our kinds, and wait until the API server serves them."""
    plane.kubectl("apply", "--server-side", "-f", str(CRDS))
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all")


class Node:
    """One node with its agent."""

    def __init__(
        self,
        plane: ControlPlane,
        images: Path,
        *,
        registry: bool = True,
        name: str = "",
        home: Path | None = None,
    ) -> None:
        """Nothing runs before `start`, but for the node's registry. Unless they are given, `name` of the Node
        and `home`, as seen from here, are those of the control plane.
        """
        self.plane = plane
        settings = plane.settings
        self.settings = AgentSettings(
            home=home or settings.home,
            instance=settings.instance,
            link_prefix=settings.link_prefix,
            node_name=name or settings.node_name,
            registry_port=settings.registry_port,
            agent_metrics_port=settings.agent_metrics_port,
            guest_id_base=settings.guest_id_base,
        )
        if not self.settings.images.exists():
            self.settings.images.symlink_to(images)
        self.net = f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(250)}"
        self.engine = LxcEngine(
            self.settings.lxc,
            self.settings.run,
            IdRange(self.settings.guest_id_base, self.settings.guest_id_count),
        )
        self.reader = Reader(plane.kubeconfig)
        self.process: subprocess.Popen[bytes] | None = None
        self.argv: tuple[str, ...] = (sys.executable, "-c", "from dsecos_agent.main import main; main()")
        self.registry: subprocess.Popen[bytes] | None = None
        if registry:
            self.registry = subprocess.Popen(
                ["docker-registry", "serve", str(self.settings.home / "etc/registry-read.yaml")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.log = self.settings.home / "agent.log"
        self.environment = {"DSECOS_NODE_NAME": self.settings.node_name}
        self._next = 2

    # The agent

    def start(self, *, fault_point: str = "", **environment: str) -> None:
        """Start the agent; with `fault_point` it kills itself there."""
        env = {**os.environ, **self.plane.settings.environment(), "KUBECONFIG": str(self.plane.kubeconfig)}
        env |= {"DSECOS_FAULT_POINT": fault_point, "DSECOS_BOOT_PATIENCE": "1"}
        env |= {**self.environment, **environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                env=env,
                stderr=log,
                stdout=log,
            )

    def kill(self) -> None:
        """SIGKILL the agent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM the agent; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def restart(self, **environment: str) -> int:
        """Start the agent and wait for its controllers; where its log begins."""
        begun = self.log.stat().st_size
        self.start(**environment)
        eventually(lambda: "controllers run" in self.log_since(begun), "the agent is up")
        return begun

    def log_since(self, position: int) -> str:
        """What the agent logged from there on."""
        return self.log.read_text(errors="replace")[position:]

    def close(self) -> None:
        """End what was started here."""
        self.kill()
        if self.registry is not None:
            self.registry.kill()
            self.registry.wait()

    def died(self) -> bool:
        """Whether the agent has ended."""
        return self.process is not None and self.process.poll() is not None

    # Objects

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """As the administrator, in the node's namespace."""
        return self.plane.kubectl("-n", self.settings.namespace, *args, stdin=stdin)

    def apply(self, obj: Object) -> None:
        """Server-side apply, as the operator does."""
        self.kubectl(
            "apply",
            "--server-side",
            "--field-manager=operator",
            "--force-conflicts",
            "-f",
            "-",
            stdin=json.dumps(obj),
        )

    def get(self, kind: str, name: str) -> Object | None:
        """One object; None when there is none."""
        return self.reader.get(kind, name, self.settings.namespace)

    def condition(self, name: str, kind: str = "Ready", *, of: str = "guest") -> Object:
        """One condition of the present generation; empty when it is not there."""
        found = self.get(of, name) or {}
        generation = found.get("metadata", {}).get("generation")
        conditions = found.get("status", {}).get("conditions", [])
        fits = [each for each in conditions if each.get("observedGeneration") == generation]
        return next((each for each in fits if each["type"] == kind), {})

    def attachment(self, name: str = "backend", **spec: Any) -> Object:
        """A zone of this node."""
        return {
            "apiVersion": "dsecos.io/v1alpha1",
            "kind": "ZoneAttachment",
            "metadata": {"name": name, "namespace": self.settings.namespace},
            "spec": {
                "zoneRef": {"namespace": "acme", "name": name, "uid": ZONE_UID},
                "cidrs": [f"{self.net}.0/24"],
                "gateway": f"{self.net}.1",
                "prefixLength": 24,
                "encapsulation": {"type": "local"},
                "mtu": 1500,
                "egress": {"mode": "Deny"},
                **spec,
            },
        }

    def guest(self, name: str, number: int, **spec: Any) -> Object:
        """A guest; `number` gives its address and its ids."""
        stack = name.rsplit("-", 1)[0]
        network = {
            "attachment": "backend",
            "address": f"{self.net}.{number}",
            "prefixLength": 24,
            "gateway": f"{self.net}.1",
            "mac": f"02:00:00:00:00:{number:02x}",
            "ports": [{"port": 3000, "protocol": "TCP", "from": ["0.0.0.0/0"]}],
        }
        wanted = {
            "stackRef": {"namespace": "acme", "name": stack, "uid": f"5e0f6b8e-0000-4000-8000-{number:012x}"},
            "type": "container",
            "hostname": stack,
            "epoch": 1,
            "image": "debian-13-docker",
            "resources": {"cpu": "2", "memory": "1Gi", "disk": "4Gi"},
            "idMap": {"base": self.settings.guest_id_base + number * 65536, "count": 65536},
            "network": network,
            "volumes": [],
            "compose": {"document": document(), "digest": "d1"},
            "runPolicy": "Running",
            "deletionPolicy": "Delete",
            **spec,
        }
        return {
            "apiVersion": "dsecos.io/v1alpha1",
            "kind": "Guest",
            "metadata": {"name": name, "namespace": self.settings.namespace},
            "spec": wanted,
        }

    def wait_ready(self, name: str, seconds: float = 120.0) -> Object:
        """The guest, once it is ready."""
        self.wait_condition(name, "Ready", "True", seconds=seconds)
        found = self.get("guest", name)
        assert found is not None
        return found

    def wait_condition(
        self,
        name: str,
        kind: str,
        status: str,
        reason: str = "",
        *,
        of: str = "guest",
        seconds: float = 120.0,
    ) -> Object:
        """A condition that is so."""

        def look() -> Object | None:
            assert not self.died(), "the agent has ended"
            found = self.condition(name, kind, of=of)
            fits = found.get("status") == status and (not reason or found.get("reason") == reason)
            return found if fits else None

        def told() -> str:
            return json.dumps((self.get(of, name) or {}).get("status"), indent=1)

        try:
            found: Object = eventually(look, f"{kind}={status} {reason} of {name}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{told()}\n{self.log_tail()}") from None
        return found

    def delete(self, name: str, kind: str = "guest") -> None:
        """Delete and wait until it is gone."""
        self.kubectl("delete", kind, name, "--wait=false", "--ignore-not-found")
        try:
            eventually(lambda: self.get(kind, name) is None, f"{kind} {name} gone", 90)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    # The host

    def observe(self, name: str) -> ObservedGuest | None:
        """The container."""
        return asyncio.run(self.engine.get(name))

    def pid(self, name: str) -> int | None:
        """The container's init."""
        found = self.observe(name)
        return found.init_pid if found else None

    def run(self, name: str, *argv: str) -> str:
        """A command in the guest."""
        found = subprocess.run(
            ["lxc-attach", "-P", self.settings.lxc, "-n", name, "--clear-env", "--", *argv],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return found.stdout + found.stderr

    def http(self, number: int, seconds: float = 30.0) -> str:
        """What the guest's web service answers from the host."""

        def look() -> str | None:
            try:
                with urlopen(f"http://{self.net}.{number}:3000/", timeout=2) as answer:
                    return str(answer.read().decode())
            except OSError:
                return None

        return str(eventually(look, f"HTTP from {self.net}.{number}", seconds))

    def rules(self) -> str:
        """The rules of our tables as the kernel has them."""
        found = [
            subprocess.run(
                ["nft", "list", "table", family, self.settings.instance],
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            for family in ("inet", "bridge")
        ]
        return "".join(found)

    @property
    def bridge(self) -> str:
        """The zone's bridge."""
        return bridge_name(self.settings.link_prefix, ZONE_UID)

    def port(self, name: str) -> str:
        """A guest's port."""
        return port_name(self.settings.link_prefix, name)

    def metric(self, name: str) -> float:
        """Sum of the agent's samples that begin with `name`."""
        url = f"http://127.0.0.1:{self.settings.agent_metrics_port}/metrics"
        with urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def log_tail(self, size: int = 6000) -> str:
        """The end of the agent's log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    async def clean(self) -> None:
        """Take everything from the host that guests left there."""
        for guest in await self.engine.list_guests():
            if guest.owner_uid is not None:
                await self.engine.destroy(guest.name, guest.owner_uid)
        await self.engine.release_host()
