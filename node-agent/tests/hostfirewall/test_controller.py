"""A HostPolicy in a real API server becomes the node's firewall and uplinks, or says why not."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsecos_control_plane.testing import ControlPlane

from tests.patience import until
from tests.reader import Reader

from ..links.netns import enter, ip  # noqa: TID252 - tests have no package to name
from .agent import INSTANCE
from .lan import Neighbour, Try
from .tunnel import Tunnel

PART = Path(__file__).with_name("part.py")
CRDS = Path(__file__).resolve().parents[3] / "crds" / "yaml"
SERVICE, PORT = "10.96.0.1", 6443
"""The kubeconfig's address of the API server: as with kube-proxy, another table of the node translates it."""
SPACE = "dsecos-node-walled"

FIRST: dict[str, Any] = {"managementNetworks": ["10.9.1.0/24"]}
LOCKS_OUT: dict[str, Any] = {**FIRST, "egress": [{"cidr": f"{SERVICE}/32"}]}
"""Passes what is checked beforehand: the address that the kubeconfig names may be spoken to."""
OBVIOUS: dict[str, Any] = {**FIRST, "egress": [{"cidr": "10.9.0.0/16", "ports": [{"port": PORT}]}]}


@pytest.fixture(scope="module")
def tunnel() -> Iterator[Tunnel]:
    """Of a real API server that knows our kinds. Begun before any test enters its namespace."""
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", str(CRDS))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        plane.kubectl("create", "namespace", SPACE)
        tunnel = Tunnel(plane)
        yield tunnel
        tunnel.close()


class Node:
    """A node with the part of its agent that is about its own firewall."""

    def __init__(self, tunnel: Tunnel, kubeconfig: Path, folder: Path) -> None:
        self._tunnel = tunnel
        self._reader = Reader(tunnel.plane.kubeconfig)
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self.folder = folder
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            argv = [sys.executable, str(PART), str(self.folder), SPACE]
            self._process = subprocess.Popen(argv, env={**self._env, **env}, stdout=log, stderr=log)
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._outside("delete", "hostpolicies,events", "--all", "-n", SPACE)

    def order(self, firewall: dict[str, Any] | None, **spec: Any) -> None:
        """As the operator does."""
        policy = {
            "apiVersion": "dsecos.io/v1alpha1",
            "kind": "HostPolicy",
            "metadata": {"name": "host", "namespace": SPACE},
            "spec": {"nodes": ["10.9.2.2"], **({} if firewall is None else {"firewall": firewall}), **spec},
        }
        self._outside("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(policy))

    def says(self, reason: str) -> dict[str, Any]:
        """The policy, once Ready has a reason for the present generation."""

        def look() -> dict[str, Any] | None:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()
            found = self._policy()
            current = found["status"].get("observedGeneration") == found["metadata"]["generation"]
            return found if current and ready(found)["reason"] == reason else None

        try:
            return until(look, 40) or {}
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {self._policy().get('status')}\n{self.log.read_text()}"
            ) from error

    def events(self) -> list[str]:
        return [each["reason"] for each in self._tunnel.outside(lambda: self._reader.find("events", SPACE))]

    def _policy(self) -> dict[str, Any]:
        found = self._tunnel.outside(lambda: self._reader.get("hostpolicy", "host", SPACE)) or {}
        return {"status": {}, "metadata": {"generation": 0}, **found}

    def _outside(self, *args: str, stdin: str | None = None) -> str:
        return str(self._tunnel.outside(lambda: self._tunnel.plane.kubectl(*args, stdin=stdin)))


@pytest.fixture
def node(tunnel: Tunnel, api: Neighbour, tmp_path: Path) -> Iterator[Node]:
    """The API server is in another namespace, behind a translated address."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{api.namespace.pid}/ns/net", os.O_RDONLY)
    enter(there)
    listening = socket.create_server(("0.0.0.0", PORT))
    enter(here)
    os.close(here)
    os.close(there)
    end = tunnel.listen(listening)
    ip(f"route add default via {api.four}")
    nft("add table ip service")
    nft("add chain ip service out { type nat hook output priority -100; }")
    nft(f"add rule ip service out ip daddr {SERVICE} tcp dport {PORT} dnat to {api.four}:{PORT}")
    kubeconfig = tunnel.kubeconfig(f"https://{SERVICE}:{PORT}", tmp_path / "kubeconfig")
    folder = tmp_path / "state"
    folder.mkdir()
    node = Node(tunnel, kubeconfig, folder)
    yield node
    node.close()
    end()


def ready(policy: dict[str, Any]) -> dict[str, Any]:
    conditions = policy["status"].get("conditions", [])
    return next((each for each in conditions if each["type"] == "Ready"), {"reason": ""})


def nft(command: str) -> None:
    subprocess.run(["nft", command], check=True)


def rules() -> str:
    return subprocess.run(
        ["nft", "--stateless", "list", "table", "inet", f"{INSTANCE}_host"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_from_none_to_one_and_back_again(node: Node, admin: Neighbour, stranger: Neighbour) -> None:
    ssh = Try("tcp", 22)
    node.order(None)
    node.start()
    assert ready(node.says("NotConfigured"))["status"] == "True"
    assert rules() == ""
    node.order(FIRST)
    policy = node.says("InForce")
    assert policy["status"]["enforced"] == FIRST
    assert f"API server {SERVICE}:{PORT}" in ready(policy)["message"]
    assert admin.reaches(ssh) == ["Connection refused"]
    assert stranger.reaches(ssh) == ["silence"]
    node.order(FIRST, nodes=["10.9.2.2", "10.9.9.9"])
    until(lambda: "10.9.9.9" in rules(), what="a new node's tunnel is let in")
    node.order(None)
    assert "enforced" not in node.says("NotConfigured")["status"]
    assert rules() == ""


@pytest.mark.parametrize(
    ("firewall", "spec", "reason", "told"),
    [
        (OBVIOUS, {}, "LocksOutApiServer", ["spec.firewall.egress", f"{SERVICE}, port {PORT}/TCP", "add"]),
        ({"allow": [{"port": 80}]}, {}, "LocksOutAdministrators", ["managementNetworks is empty", "22/TCP"]),
        (FIRST, {"nodes": ["node-1"]}, "CidrInvalid", ["spec.nodes", "'node-1'", "IPv4 or IPv6 address"]),
    ],
)
def test_what_is_refused_is_named_and_nothing_is_touched(
    node: Node, firewall: dict[str, Any], spec: dict[str, Any], reason: str, told: list[str]
) -> None:
    node.start()
    node.order(FIRST)
    node.says("InForce")
    before = rules()
    node.order(firewall, **spec)
    policy = node.says(reason)
    assert all(part in ready(policy)["message"] for part in told), ready(policy)["message"]
    assert "The former one is in force" in ready(policy)["message"]
    assert {each["type"] for each in policy["status"]["conditions"]} == {"Ready", "Stalled"}
    assert policy["status"]["enforced"] == FIRST
    assert rules() == before


def test_a_lock_out_is_undone_told_and_not_tried_again(node: Node) -> None:
    node.start()
    node.order(FIRST)
    node.says("InForce")
    before = rules()
    node.order(LOCKS_OUT)
    policy = node.says("RolledBack")
    assert "cannot be reached" in ready(policy)["message"]
    assert policy["status"]["enforced"] == FIRST
    assert rules() == before
    until(lambda: "RolledBack" in node.events(), what="an event")
    node.order(LOCKS_OUT, nodes=["10.9.2.2", "10.9.9.9"])
    policy = node.says("RolledBack")
    until(lambda: "10.9.9.9" in rules(), what="the former firewall has the nodes of now")
    node.order({**FIRST, "allow": [{"port": 80}]})
    node.says("InForce")


def test_an_agent_that_is_killed_in_the_middle_comes_back_and_tells(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    process = node.start(DSECOS_FAULT_POINT="host-firewall-apply:2")
    node.order(FIRST)
    node.says("InForce")
    before = rules()
    node.order(LOCKS_OUT)
    process.wait(60)
    began = time.monotonic()
    until(lambda: rules() == before, what="the former rules are back")
    with capsys.disabled():
        print(f"\nagent killed -9 by its own firewall: undone after {time.monotonic() - began:.3f} s")
    node.start()
    policy = node.says("RolledBack")
    assert "the agent ended" in ready(policy)["message"]
    assert rules() == before


def test_what_somebody_else_does_to_the_table_is_put_back(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node.start()
    node.order(FIRST)
    node.says("InForce")
    before = rules()
    times = []
    for number in range(6):
        nft(
            [f"delete table inet {INSTANCE}_host", f"insert rule inet {INSTANCE}_host input accept"][
                number % 2
            ]
        )
        began = time.monotonic()
        until(lambda: rules() == before, every=0.01, what="it is put back")
        times.append(time.monotonic() - began)
    with capsys.disabled():
        print(f"\nhost firewall put back: median {sorted(times)[3]:.3f} s, worst {max(times):.3f} s")
    until(lambda: "Repaired" in node.events(), what="an event")


def test_a_paused_policy_is_left_alone(node: Node) -> None:
    node.start()
    node.order(FIRST, paused=True)
    node.says("Paused")
    assert rules() == ""


def uplink(**spec: Any) -> dict[str, Any]:
    return {"uplinks": [{"interface": "lan4", **spec}]}


def links() -> str:
    return ip("-o addr show dev lan4 scope global") + ip("route")


def addresses() -> set[str]:
    return {line.split()[3] for line in ip("-o -4 addr show dev lan4").splitlines()}


GOOD = uplink(mtu=1400, addresses=["10.9.4.1/24", "10.9.4.8/24"], gateway="10.9.4.2")
LOST = uplink(addresses=["10.9.5.1/24"], gateway="10.9.5.2")


def test_uplinks_are_put_in_force_kept_so_and_let_go(
    node: Node, api: Neighbour, capsys: pytest.CaptureFixture[str]
) -> None:
    # Or what the watch is sent in larger packets is lost for a while.
    api.namespace.ip("link set eth0 mtu 1400")
    times: list[float] = []
    settled = {"10.9.4.1/24", "10.9.4.8/24"}

    def as_wanted() -> bool:
        route = "default via 10.9.4.2 dev lan4" in ip("route")
        return addresses() == settled and route and "mtu 1400" in ip("link show lan4")

    node.start()
    node.order(None, **GOOD)
    policy = node.says("InForce")
    assert policy["status"]["uplinks"] == GOOD["uplinks"]
    assert "gateway 10.9.4.2 on lan4" in ready(policy)["message"]
    assert as_wanted()
    for tampering in (
        "addr del 10.9.4.8/24 dev lan4",
        "route del default",
        "link set lan4 mtu 1500",
        "addr add 10.9.4.66/24 dev lan4",
    ):
        ip(tampering)
        began = time.monotonic()
        until(as_wanted, every=0.01, what=f"put back: {tampering}")
        times.append(time.monotonic() - began)
    with capsys.disabled():
        print(f"\nuplinks put back: median {sorted(times)[2]:.3f} s, worst {max(times):.3f} s")
    until(lambda: "Repaired" in node.events(), what="an event")
    node.order(None)
    assert "uplinks" not in node.says("NotConfigured")["status"]
    assert as_wanted(), "they stay as they are"


@pytest.mark.parametrize(
    ("spec", "reason", "told"),
    [
        (uplink(addresses=["10.9.5.1/24"]), "UplinkInvalid", "name gateway"),
        ({"uplinks": [{"interface": "lan9", "mtu": 1400}]}, "UplinkInvalid", "lan9 does not exist"),
        (uplink(mtu=1300, gateway="10.9.5.2"), "UplinkInvalid", "10.9.5.2 is in no network"),
        (
            {**uplink(addresses=["10.9.4.7/24"]), "nodes": ["10.9.2.2", "10.9.4.1"]},
            "LocksOutNodes",
            "by 10.9.4.1",
        ),
    ],
    ids=["default route", "interface", "gateway", "address of the node"],
)
def test_uplinks_that_are_refused_are_named_and_nothing_is_touched(
    node: Node, spec: dict[str, Any], reason: str, told: str
) -> None:
    before = links()
    node.start()
    node.order(FIRST, **spec)
    policy = node.says(reason)
    assert told in ready(policy)["message"]
    assert {each["type"] for each in policy["status"]["conditions"]} == {"Ready", "Stalled"}
    assert (links(), rules()) == (before, ""), "neither half"


def test_an_agent_that_is_killed_by_its_uplinks_comes_back_and_tells(node: Node) -> None:
    before = links()
    process = node.start(DSECOS_FAULT_POINT="host-uplinks-apply:1")
    node.order(FIRST, **LOST)
    process.wait(60)
    until(lambda: links() == before, what="the links are as they were")
    node.start()
    assert "the agent ended" in ready(node.says("RolledBack"))["message"]
    assert rules() == ""
    node.order(FIRST)
    node.says("InForce")
    assert links() == before


def test_what_was_undone_is_tried_again_once_something_else_was_wanted(node: Node) -> None:
    memory = node.folder / "host-firewall.json"
    node.start()
    node.order(FIRST)
    node.says("InForce")
    for _ in range(2):
        node.order(FIRST, **LOST)
        node.says("RolledBack")
        node.order(FIRST, nodes=["10.9.2.2", "10.9.9.9"], **LOST)
        node.says("RolledBack")
        until(lambda: "10.9.9.9" in rules(), what="the former firewall has the nodes of now")
        assert json.loads(memory.read_text())["failed"], "it is remembered beside that"
        node.order(FIRST)
        node.says("InForce")
        until(lambda: not json.loads(memory.read_text())["failed"], what="it is forgotten")
