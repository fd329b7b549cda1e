"""What the doctor finds at the Proxmox VE behind a Node, and the command that mends it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from dsecos_api import Node, proxmox
from dsecos_api.names import node_namespace
from dsecos_api.proxmox import Scope
from dsecos_cli.doctor.judge_proxmox import judge_proxmox
from dsecos_cli.doctor.model import Check, Level, ProxmoxFacts, StorageFacts
from dsecos_cli.doctor.proxmox import look_at
from dsecos_cli.errors import NotFoundError
from dsecos_proxmox_simulator import Simulator, World

from console.tests.conftest import Namespace, Run
from console.tests.objects import Object, api_object

GIB = 2**30
TOKEN = "dsecos@pve!pve1"


class Secrets:
    """An API server that knows one Secret."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def get(self, resource: object, name: str, namespace: str) -> Object:
        """As Cluster.get."""
        assert (name, namespace) == ("proxmox-token", "dsecos-node-alpha")
        if self._token is None:
            raise NotFoundError('secrets "proxmox-token" not found')
        return {"data": {"token": base64.b64encode(self._token.encode()).decode()}}


class Lab:
    """A simulated Proxmox VE with a token, and the Node that points to it."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.engine: dict[str, Any] = {
            "url": simulator.url,
            "node": "pve1",
            "tokenSecretRef": {"name": "proxmox-token", "key": "token"},
            "fingerprint": simulator.fingerprint,
        }
        self.secret = ""

    def grant(self, *without: str, major: int = 8) -> None:
        """A token with exactly what it needs, except for some privileges."""
        scope = Scope("pve1", "local-lvm", "local")
        rights: dict[str, list[str]] = {}
        for privilege in proxmox.wanted(major):
            if privilege.name not in without:
                rights.setdefault(scope.path(privilege.place), []).append(privilege.name)
        self.secret = self.simulator.add_token("dsecos@pve", "pve1", rights)

    def spec(self) -> Object:
        return {"engine": {"type": "proxmox", "proxmox": self.engine}}

    def look(self, token: str | None = "") -> ProxmoxFacts:
        """What is seen with this token; empty: the one that was granted."""
        node = Node.parse(api_object("Node", "alpha", self.spec()))
        wanted = f"{TOKEN}={self.secret}" if token == "" else token
        cluster: Any = Secrets(wanted)
        facts = look_at(cluster, node)
        assert facts is not None
        return facts

    def complaints(self) -> list[Check]:
        return [check for check in judge_proxmox(self.look()) if check.level is not Level.OK]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Simulator(World()) as simulator:
        yield Lab(simulator)


def test_a_node_that_is_prepared_as_the_documentation_says_has_no_finding(lab: Lab) -> None:
    lab.grant()
    checks = judge_proxmox(lab.look())
    assert {check.level for check in checks} == {Level.OK}, checks
    assert [check.name for check in checks] == [
        "API",
        "version",
        "rights",
        "storage local-lvm",
        "storage local",
        "ids",
        "bridges",
    ]


def test_a_node_of_another_engine_is_not_looked_at() -> None:
    node = Node.parse(api_object("Node", "alpha", {"engine": {"type": "lxc"}}))
    cluster: Any = None
    assert look_at(cluster, node) is None


@pytest.mark.parametrize(
    ("privilege", "level", "path"),
    [
        ("VM.Allocate", Level.FAIL, "/vms"),
        ("VM.Config.Network", Level.FAIL, "/vms"),
        ("VM.Snapshot", Level.WARN, "/vms"),
        ("Datastore.AllocateTemplate", Level.FAIL, "/storage/local"),
        ("Sys.Audit", Level.WARN, "/nodes/pve1"),
        ("SDN.Use", Level.FAIL, "/sdn/zones/localnetwork"),
    ],
)
def test_a_missing_privilege_is_named_with_the_command_that_mends_it(
    lab: Lab, privilege: str, level: Level, path: str
) -> None:
    lab.grant(privilege)
    [check] = lab.complaints()
    assert (check.name, check.level) == (f"rights to {path}", level)
    assert f"missing: {privilege} (" in check.reason
    assert f"pveum acl modify {path} --roles DsecOS" in check.fix
    assert f"--users dsecos@pve --tokens '{TOKEN}'" in check.fix
    assert privilege in check.fix


def test_a_changed_certificate_is_a_failure_and_the_token_is_not_sent(lab: Lab) -> None:
    lab.grant()
    lab.simulator.renew_certificate()
    [check] = lab.complaints()
    assert (check.name, check.level) == ("certificate", Level.FAIL)
    assert lab.simulator.fingerprint in check.fix
    assert len(lab.simulator.calls) == 0


def test_a_certificate_that_nobody_has_signed_has_to_be_pinned(lab: Lab) -> None:
    lab.grant()
    del lab.engine["fingerprint"]
    [check] = lab.complaints()
    assert check.name == "certificate"
    assert f"spec.engine.proxmox.fingerprint: {lab.simulator.fingerprint}" in check.fix


def test_a_refused_token_is_named_without_its_secret(lab: Lab) -> None:
    lab.grant()
    facts = lab.look(f"{TOKEN}=00000000-0000-0000-0000-000000000000")
    [check] = [check for check in judge_proxmox(facts) if check.level is not Level.OK]
    assert check.name == "token"
    assert check.reason == f"{TOKEN} is refused"
    assert "00000000" not in repr(facts)


def test_a_missing_secret_is_told_with_the_command_that_makes_it(lab: Lab) -> None:
    [check] = judge_proxmox(lab.look(None))
    assert "kubectl -n dsecos-node-alpha create secret generic proxmox-token" in check.fix


def test_nobody_at_the_address_is_told(lab: Lab) -> None:
    lab.grant()
    lab.engine["url"] = "https://127.0.0.1:1"
    [check] = lab.complaints()
    assert (check.name, check.level) == ("API", Level.FAIL)


def test_a_node_that_the_cluster_does_not_have_is_told(lab: Lab) -> None:
    lab.grant()
    lab.engine["node"] = "pve9"
    checks = {check.name: check for check in lab.complaints()}
    assert "seen: pve1" in checks["node"].reason


def test_storages_are_looked_at(lab: Lab) -> None:
    lab.grant()
    lab.simulator.world.fill("local-lvm", leave=GIB)
    [check] = lab.complaints()
    assert (check.name, check.level) == ("storage local-lvm", Level.FAIL)
    assert "1.0 GiB free" in check.reason


def test_ids_of_others_in_our_range_are_told(lab: Lab) -> None:
    lab.grant()
    lab.simulator.world.take_vmid(20007)
    lab.simulator.world.add_guest(20008, tags="dsecos;dsecos-guest-web;dsecos-uid-1")
    [check] = lab.complaints()
    assert (check.name, check.level) == ("ids", Level.WARN)
    assert check.reason == "guests of others have 20007 of 20000-29999"


GOOD = ProxmoxFacts(
    "alpha",
    Node.parse(
        api_object(
            "Node",
            "alpha",
            {
                "engine": {
                    "type": "proxmox",
                    "proxmox": {
                        "url": "https://pve1:8006",
                        "node": "pve1",
                        "tokenSecretRef": {"name": "proxmox-token", "key": "token"},
                        "vmids": "300-301",
                    },
                }
            },
        )
    ).spec.engine.proxmox,  # type: ignore[arg-type]  # it is there
    token=TOKEN,
    version="9.1.2",
    permissions={"/": {privilege.name: 1 for privilege in proxmox.PRIVILEGES}},
    nodes=("pve1",),
    storages={
        "local-lvm": StorageFacts("lvmthin", frozenset({"rootdir", "images"}), True, 100 * GIB),
        "local": StorageFacts("dir", frozenset({"vztmpl", "iso"}), True, GIB),
    },
    bridges=("vmbr0",),
)


@pytest.mark.parametrize(
    ("change", "name", "level", "fix"),
    [
        ({"version": "7.4-3"}, "version", Level.FAIL, "Upgrade"),
        ({"version": "10.0.1"}, "version", Level.WARN, "Upgrade"),
        ({"bridges": ()}, "bridges", Level.WARN, "--roles DsecOSBridges"),
        ({"our_ids": 2}, "ids", Level.FAIL, "vmids"),
        (
            {"storages": {**GOOD.storages, "local": StorageFacts("dir", frozenset({"iso"}), True, GIB)}},
            "storage local",
            Level.FAIL,
            "pvesm set local --content iso,vztmpl",
        ),
        (
            {
                "storages": {
                    **GOOD.storages,
                    "local-lvm": StorageFacts("lvmthin", frozenset({"rootdir"}), True, 30 * GIB),
                }
            },
            "storage local-lvm",
            Level.WARN,
            "--content images,rootdir",
        ),
        (
            {"storages": {**GOOD.storages, "local": replace(GOOD.storages["local"], active=False)}},
            "storage local",
            Level.FAIL,
            "pvesm",
        ),
        ({"storages": {"local": GOOD.storages["local"]}}, "storage local-lvm", Level.FAIL, "pvesm status"),
    ],
)
def test_each_lack_has_its_remedy(change: dict[str, Any], name: str, level: Level, fix: str) -> None:
    [check] = [check for check in judge_proxmox(replace(GOOD, **change)) if check.level is not Level.OK]
    assert (check.name, check.level) == (name, level)
    assert fix in check.fix


def test_the_doctor_finds_the_token_in_the_nodes_namespace(
    lab: Lab, dsecos: Run, namespace: Namespace
) -> None:
    lab.grant("VM.Migrate")
    server = f"alpha-{namespace.name.rpartition('-')[2]}"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "proxmox-token", "namespace": node_namespace(server)},
        "stringData": {"token": f"{TOKEN}={lab.secret}"},
    }
    namespace.plane.kubectl("create", "namespace", node_namespace(server))
    try:
        objects = [api_object("Node", server, lab.spec()), secret]
        namespace.plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))
        result = dsecos("doctor", "--no-machine", "-o", "json")
    finally:
        namespace.plane.kubectl("delete", "nodes.dsecos.io", server)
    found = {
        check["name"]: check for check in json.loads(result.stdout) if check["area"] == f"proxmox {server}"
    }
    assert found["API"]["level"] == "ok"
    assert "VM.Migrate" in found["rights to /vms"]["reason"]
    assert lab.secret not in result.stdout
