"""A whole DsecOS on this machine, as its user has it: `up`, kubectl, guests, packets.

The instance has a home, ports, link names, tables and addresses of its own, so that a running default
instance, or what a killed test run left, does not disturb it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.patience import until
from tests.reader import Reader

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = Path("/tmp/dsecos-e2e.lock")

Object = dict[str, Any]


@dataclass
class Cloud:
    """One instance. Every method is what a user or an administrator of the machine could do."""

    home: Path = Path("/tmp/dsecos-e2e")
    instance: str = "dsecose2e"
    link_prefix: str = "de"
    port_base: int = 21000
    guest_id_base: int = 300_000_000
    cidr: str = "10.77.0.0/24"
    namespace: str = "shop"
    extra: dict[str, str] = field(default_factory=dict)

    @cached_property
    def reader(self) -> Reader:
        """Of the instance's objects."""
        return Reader(self.home / "admin.kubeconfig")

    @property
    def env(self) -> dict[str, str]:
        """The environment that names this instance."""
        base = self.port_base
        own = {
            "DSECOS_HOME": str(self.home),
            "DSECOS_INSTANCE": self.instance,
            "DSECOS_LINK_PREFIX": self.link_prefix,
            "DSECOS_API_PORT": str(base),
            "DSECOS_ETCD_PORT": str(base + 1),
            "DSECOS_CONTROLLER_MANAGER_PORT": str(base + 3),
            "DSECOS_REGISTRY_PORT": str(base + 4),
            "DSECOS_OPERATOR_METRICS_PORT": str(base + 6),
            "DSECOS_AGENT_METRICS_PORT": str(base + 7),
            "DSECOS_GUEST_ID_BASE": str(self.guest_id_base),
            "DSECOS_NODE_NAME": "node-1",
            "DSECOS_FAULT_FILE": str(self.home / "run" / "fault"),
            "DSECOS_HOST_LXC": str(self.host_lxc),
            **self.extra,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DSECOS_") and k != "KUBECONFIG"}
        shared = {k: v for k, v in os.environ.items() if k == "DSECOS_CACHE"}
        return {**inherited, **shared, **own}

    @property
    def host_lxc(self) -> Path:
        """Where containers that were made by hand are looked for; the machine's own are left alone."""
        return Path(f"/tmp/by-hand-{self.port_base}")

    def dsecos(self, *args: str) -> str:
        """Run the command as the machine's administrator; what it prints is returned."""
        argv = [str(self.home / "bin" / "dsecos"), *args]
        done = subprocess.run(
            argv,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"dsecos {' '.join(args)}: {done.stderr}{done.stdout}"
        return done.stdout

    def launch(self, *args: str, timeout: float = 3600) -> str:
        """Run the launcher behind make up, down, status and clean; its output is returned."""
        argv = [sys.executable, "-m", "dsecos_control_plane", *args]
        done = subprocess.run(
            argv, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(args)} failed\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    # kubectl

    def kubectl(
        self, *args: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        argv = [str(self.home / "bin" / "kubectl"), f"--kubeconfig={self.home}/admin.kubeconfig", *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done

    def apply(self, *objects: Object) -> None:
        """Apply objects with kubectl, server side."""
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects)
        )

    def refused(self, *objects: Object) -> str:
        """Apply objects that the API server must refuse; what it says is returned."""
        done = self.kubectl(
            "apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects), check=False
        )
        assert done.returncode != 0, "the API server took it"
        return done.stderr

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """Read one object."""
        found = self.reader.get(kind, name, namespace)
        assert found is not None, f"there is no {kind} {namespace}/{name}"
        return found

    def find(self, kind: str, namespace: str = "") -> list[Object]:
        """Read all objects of a kind."""
        return self.reader.find(kind, namespace)

    def everything(self) -> list[Object]:
        """All objects of ours."""
        items: list[Object] = json.loads(self.kubectl("get", "dsecos", "-A", "-o", "json").stdout)["items"]
        return items

    def wait_ready(self, stack: str, timeout: int = 180) -> Object:
        """Wait until a Stack is Ready for its present generation; print why not if it does not get there."""

        def ready() -> bool:
            found = self.get("stack", stack, self.namespace)
            status = found.get("status", {})
            condition = conditions(found).get("Ready", {})
            return (
                condition.get("status") == "True"
                and status.get("observedGeneration") == found["metadata"]["generation"]
                and condition.get("observedGeneration", found["metadata"]["generation"])
                == found["metadata"]["generation"]
            )

        try:
            until(ready, timeout, every=0.2)
        except AssertionError as error:
            raise AssertionError(self.story(stack)) from error
        return self.get("stack", stack, self.namespace)

    def wait_condition(self, stack: str, type_: str, reason: str, timeout: int = 60) -> Object:
        """Wait for a condition's reason on a Stack; the condition is returned."""

        def seen() -> Object | None:
            condition = conditions(self.get("stack", stack, self.namespace)).get(type_, {})
            return condition if condition.get("reason") == reason else None

        try:
            return until(seen, timeout, every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{type_} never said {reason}\n{self.story(stack)}") from error

    def story(self, stack: str) -> str:
        """What a person would read to find out what is wrong, the most telling first."""
        told = [
            line
            for obj in (*self.find("stacks", self.namespace), *self.find("guests"))
            for line in unmet(obj)
        ]
        for log in sorted((self.home / "log").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            told += [line for line in lines if re.search('"level": "(warning|error)"', line)][-5:]
        told += [
            self.kubectl("get", "stack", stack, "-n", self.namespace, "-o", "yaml", check=False).stdout,
            self.kubectl("get", "guests", "-A", "-o", "yaml", check=False).stdout,
        ]
        for part in ("operator", "agent"):
            for log in sorted((self.home / "log").glob(f"{part}*.log")):
                told.append(
                    f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:])
                )
        return "\n".join(told)

    def events(self, kind: str, name: str) -> list[Object]:
        """Events about an object, in any namespace."""
        return [
            event
            for event in self.find("events")
            if event["involvedObject"]["kind"] == kind and event["involvedObject"]["name"] == name
        ]

    # the Stack that most tests are about

    def stack(self, name: str, **spec: Any) -> Object:
        """A Stack of the catalog's node-postgres; keyword arguments replace fields of the spec."""
        wanted: Object = {
            "template": {
                "name": "node-postgres",
                "values": {"env": "prod"},
                "secretValues": [
                    {"name": "postgresPassword", "secretKeyRef": {"name": "shop-db", "key": "password"}}
                ],
            },
            "zone": "backend",
            "resources": {"cpu": "2", "memory": "1Gi", "disk": "4Gi"},
            **spec,
        }
        kept = {key: value for key, value in wanted.items() if value is not None}
        return kind("Stack", name, self.namespace, kept)

    def compose_stack(self, name: str, compose: str | Object, **spec: Any) -> Object:
        """A Stack with an inline compose document."""
        text = compose if isinstance(compose, str) else yaml.safe_dump(compose)
        return self.stack(name, template=None, compose={"inline": text}, **spec)

    def delete_stack(self, name: str, timeout: int = 120) -> None:
        """Delete a Stack and wait until it is really gone."""
        argv = ("delete", "stack", name, "-n", self.namespace, "--ignore-not-found", f"--timeout={timeout}s")
        done = self.kubectl(*argv, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{self.story(name)}"

    def guest(self, stack: str) -> Object:
        """The Guest of a Stack."""
        found = [g for g in self.find("guests") if g["spec"]["stackRef"]["name"] == stack]
        assert len(found) == 1, f"{len(found)} guests for {stack}"
        return found[0]

    # the machine

    def containers(self) -> set[str]:
        """Names of the LXC containers of this instance, running or not."""
        folder = self.home / "lxc"
        return (
            {entry.name for entry in folder.iterdir() if (entry / "config").exists()}
            if folder.exists()
            else set()
        )

    def lxc(self, tool: str, name: str, *args: str, check: bool = True) -> str:
        """Run an lxc-* tool on a container."""
        argv = [f"lxc-{tool}", "-P", str(self.home / "lxc"), "-n", name, *args]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stderr}{done.stdout}"
        return done.stdout

    def inside(self, guest: str, *argv: str, check: bool = True) -> str:
        """Run a command as root in a guest."""
        return self.lxc("attach", guest, "--clear-env", "--", *argv, check=check)

    def init_pid(self, guest: str) -> int:
        """Process id of a guest's init on the host; -1 while it does not run."""
        return int(self.lxc("info", guest, "-p", "-H", check=False).strip() or -1)

    def services(self, guest: str) -> dict[str, str]:
        """Docker's id of each service's container in a guest."""
        form = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        lines = self.inside(guest, "docker", "ps", "--no-trunc", "--format", form).splitlines()
        return dict(line.split() for line in lines if len(line.split()) == 2)

    def process(self, name: str) -> int:
        """Process id of one of the instance's services, by its program; 0 while it does not run."""
        wanted = {
            "agent": f"{self.home}/venv/agent/bin/dsecos-agent",
            "operator": f"{self.home}/venv/operator/bin/dsecos-operator",
            "kube-apiserver": f"{self.home}/bin/kube-apiserver",
            "etcd": f"{self.home}/bin/etcd",
        }[name]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if wanted in argv[:2]:
                        return int(entry.name)
        return 0

    def http(
        self, port: int, path: str = "/", data: bytes | None = None, timeout: float = 10
    ) -> tuple[int, str]:
        """Ask a port of this host; (0, reason) when nobody answers."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}{path}", data=data, timeout=timeout
            ) as answer:
                return answer.status, answer.read(1 << 20).decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)

    def nft_tables(self) -> set[str]:
        """Names of the host's nftables tables, with their families."""
        out = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        return {line.removeprefix("table ").strip() for line in out.splitlines()}

    @property
    def fault_file(self) -> Path:
        """Where operator and agent are told at which point to kill themselves."""
        return Path(self.env["DSECOS_FAULT_FILE"])

    @contextlib.contextmanager
    def fault(self, point: str) -> Iterator[Callable[[], bool]]:
        """Have whoever passes `point` next kill itself, or one of several with commas between them; the
        yielded function says whether that happened.
        """
        wish = self.fault_file
        wish.write_text(point)
        wish.chmod(0o666)
        try:
            yield lambda: not wish.read_text()
        finally:
            wish.unlink(missing_ok=True)

    @contextlib.contextmanager
    def passed(self, last: str = "") -> Iterator[list[str]]:
        """The fault points that are passed meanwhile, each once, in their order; filled in at the end.

        `last` is waited for: what a controller did is seen before it says so.
        """
        log = self.fault_file.with_name(f"{self.fault_file.name}.passed")
        log.write_text("")
        log.chmod(0o666)
        points: list[str] = []
        yield points
        until(lambda: not last or last in log.read_text().split(), 60, what=f"{last} is passed")
        points += dict.fromkeys(log.read_text().split())
        log.unlink()


def kind(name_of_kind: str, name: str, namespace: str, spec: Object) -> Object:
    """An object of group dsecos.io."""
    metadata: Object = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": "dsecos.io/v1alpha1", "kind": name_of_kind, "metadata": metadata, "spec": spec}


def secret(name: str, namespace: str, **values: str) -> Object:
    """A Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def namespace(name: str) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def unmet(obj: Object) -> list[str]:
    """The conditions of an object that are not as a healthy one's, a line each."""
    healthy = {"Reconciling": "False", "Stalled": "False"}
    return [
        f"{obj['kind']} {obj['metadata']['name']}: {entry['type']}={entry['status']} {entry['reason']}"
        f" since {entry['lastTransitionTime']}: {entry['message']}"
        for entry in conditions(obj).values()
        if entry["status"] != healthy.get(entry["type"], "True")
    ]


def conditions(obj: Object) -> dict[str, Object]:
    """Conditions of an object by their type."""
    return {entry["type"]: entry for entry in obj.get("status", {}).get("conditions", [])}


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """One such instance at a time on a machine."""
    with LOCK.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remove(cloud: Cloud) -> None:
    """Take the instance away, also one that a killed run left half-made."""
    if cloud.home.exists():
        cloud.launch("clean")
    shutil.rmtree(cloud.home, ignore_errors=True)
