"""What the doctor finds, and the command that mends it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from dsecos_cli.doctor.judge import CONTROLLERS, NAMESPACES, TOOLS, judge_machine, version_of
from dsecos_cli.doctor.judge_cluster import judge_cluster
from dsecos_cli.doctor.model import Check, ClusterFacts, ForwardChain, Level, Listener, MachineFacts
from dsecos_cli.doctor.probe import look, parse_forward_drops, parse_subids
from dsecos_cli.settings import Settings

from console.tests.conftest import Namespace, Run
from console.tests.objects import api_object, condition

GOOD = MachineFacts(
    root=True,
    kernel=(6, 12),
    kernel_release="6.12.0",
    os_name="Debian GNU/Linux 13",
    filesystems=frozenset({"overlay", "btrfs"}),
    namespaces=frozenset(NAMESPACES),
    max_user_namespaces=15000,
    cgroup_controllers=frozenset(CONTROLLERS),
    kernel_can={"bridge": True, "veth": True, "nf_tables": True},
    loop_devices=True,
    versions={**dict.fromkeys(TOOLS, "9.9.9"), "mmdebstrap": "1.3", "buildah": "1.28"},
    ip_forward=True,
    security_modules=("capability", "apparmor"),
    memory_bytes=8 * 2**30,
    disk_free_bytes=100 * 2**30,
    cpus=4,
)
SETTINGS = Settings(home=Path("/var/lib/dsecos"))


def found(**facts: Any) -> list[Check]:
    """What is not ok on a good machine with these facts."""
    checks = judge_machine(dataclasses.replace(GOOD, **facts), SETTINGS)
    return [check for check in checks if check.level is not Level.OK]


def test_a_good_machine_has_no_finding() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("facts", "name", "level", "fix"),
    [
        ({"kernel": (5, 10)}, "version", Level.FAIL, "Boot"),
        ({"namespaces": frozenset()}, "namespaces", Level.FAIL, "CONFIG_USER_NS"),
        ({"max_user_namespaces": 0}, "user namespaces", Level.FAIL, "sysctl -w"),
        ({"cgroup_controllers": frozenset({"cpu"})}, "cgroup controllers", Level.FAIL, "cgroup"),
        ({"filesystems": frozenset({"btrfs"})}, "overlay", Level.FAIL, "modprobe overlay"),
        ({"filesystems": frozenset({"overlay"})}, "btrfs", Level.WARN, "modprobe btrfs"),
        ({"kernel_can": {"bridge": False}}, "bridge", Level.FAIL, "modprobe bridge"),
        ({"kernel_can": {"nf_tables": None}}, "nf_tables", Level.WARN, "sudo"),
        ({"security_modules": ("landlock",)}, "access control", Level.WARN, "lsm="),
        ({"security_modules": None}, "access control", Level.WARN, "securityfs"),
        ({"versions": {**GOOD.versions, "nft": None}}, "nft", Level.FAIL, "apt-get install nftables"),
        (
            {"versions": {**GOOD.versions, "lxc-start": "3.0.1"}},
            "lxc-start",
            Level.FAIL,
            "apt-get install lxc",
        ),
        (
            {"versions": {**GOOD.versions, "buildah": None}},
            "image build",
            Level.WARN,
            "apt-get install buildah",
        ),
        ({"ip_forward": False}, "ip_forward", Level.WARN, "sysctl -w net.ipv4.ip_forward=1"),
        (
            {"forward_drops": (ForwardChain("ip", "filter", "FORWARD"),)},
            "forwarding",
            Level.FAIL,
            "iptables -I DOCKER-USER -i dsz+ -j ACCEPT",
        ),
        (
            {"legacy_forward_drop": True},
            "forwarding",
            Level.FAIL,
            "iptables-legacy -I FORWARD -i dsz+ -j ACCEPT",
        ),
        ({"listeners": (Listener(6443, "k3s (pid 7)", False),)}, "port 6443", Level.FAIL, "DSECOS_"),
        ({"memory_bytes": 2**30}, "memory", Level.FAIL, "GiB"),
        ({"disk_free_bytes": 10 * 2**30}, "disk", Level.WARN, "GiB"),
        ({"cpus": 1}, "cpu", Level.WARN, "cores"),
        ({"subid_ranges": {"dev": ((1_000_000, 65_536),)}}, "user ids", Level.FAIL, "DSECOS_GUEST_ID_BASE"),
        ({"root": False}, "root", Level.WARN, "sudo"),
    ],
)
def test_each_lack_has_its_remedy(facts: dict[str, Any], name: str, level: Level, fix: str) -> None:
    [check] = found(**facts)
    assert (check.name, check.level) == (name, level)
    assert fix in check.fix


def test_our_own_processes_may_have_the_ports() -> None:
    assert found(listeners=(Listener(6443, "kube-apiserver", True), Listener(22, "sshd", False))) == []


def test_ids_below_the_guests_and_those_of_root_are_no_matter() -> None:
    assert found(subid_ranges={"dev": ((100_000, 65_536),), "root": ((1_000_000, 6_553_600),)}) == []


def test_subuid_lines() -> None:
    text = "root:1000000:65536\ndev:100000:65536\ndev:200000:1\n# comment\nbad:x:1\n"
    assert parse_subids(text) == {"root": ((1_000_000, 65_536),), "dev": ((100_000, 65_536), (200_000, 1))}


def test_only_foreign_chains_that_drop_forwarded_packets_count() -> None:
    def chain(**fields: str) -> dict[str, Any]:
        base = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}
        return {"chain": {**base, **fields}}

    listing = json.dumps(
        {
            "nftables": [
                {"metainfo": {}},
                chain(),
                chain(policy="accept", table="other"),
                chain(hook="input", name="INPUT"),
                chain(family="inet", table="dsecos", name="forward"),
                chain(family="bridge", table="x"),
            ]
        }
    )
    assert parse_forward_drops(listing, "dsecos") == (ForwardChain("ip", "filter", "FORWARD"),)
    assert parse_forward_drops("", "dsecos") == ()


@pytest.mark.parametrize(
    ("text", "version"),
    [("nftables v1.0.6 (Lester Gooch #5)", (1, 0)), ("ip utility, iproute2-6.1.0", (6, 1)), ("dev", None)],
)
def test_versions_in_what_tools_say(text: str, version: tuple[int, int] | None) -> None:
    assert version_of(text) == version


def test_this_machine_is_looked_at_without_a_trace(environment: Path) -> None:
    facts = look(Settings())
    assert facts.kernel >= (4, 0)
    assert {"net", "user"} <= facts.namespaces
    assert facts.memory_bytes > 0
    assert set(facts.kernel_can) == {"bridge", "veth", "nf_tables"}
    assert not Path("/sys/class/net/probe0").exists()


@pytest.mark.parametrize(
    ("facts", "name", "fix"),
    [
        (ClusterFacts(error="no answer", hint="make up"), "API server", "make up"),
        (ClusterFacts(version="v1", missing_kinds=("Stack",)), "CRDs", "crds/yaml"),
        (ClusterFacts(version="v1", nodes={"a": (True, "AgentReporting")}), "license", "License"),
        (ClusterFacts(version="v1", license_reason="DevelopmentLicense", licensed=True), "nodes", "make up"),
        (
            ClusterFacts(
                version="v1",
                license_reason="DevelopmentLicense",
                licensed=True,
                nodes={"a": (False, "AgentLost"), "b": (True, "AgentReporting")},
            ),
            "node a",
            "agent",
        ),
        (
            ClusterFacts(
                version="v1", license_reason="DevelopmentLicense", licensed=True, nodes={"a": (False, "")}
            ),
            "node a",
            "operator",
        ),
    ],
)
def test_each_lack_of_the_cluster_has_its_remedy(facts: ClusterFacts, name: str, fix: str) -> None:
    [check] = [check for check in judge_cluster(facts) if check.level is not Level.OK]
    assert (check.name, check.level) == (name, Level.FAIL)
    assert fix in check.fix


def test_without_a_cluster_the_command_fails_and_says_so(dsecos: Run) -> None:
    result = dsecos("doctor", "--no-machine", "-o", "json")
    assert result.exit_code == 1
    [check] = json.loads(result.stdout)
    assert check["name"] == "API server"
    assert "make up" in check["fix"]


def test_a_real_cluster_is_looked_at(dsecos: Run, namespace: Namespace) -> None:
    namespace.apply(api_object("License", "dsecos", {"development": True}))
    namespace.set_status("license", "dsecos", conditions=[condition("Ready", "True", "DevelopmentLicense")])
    result = dsecos("doctor", "--no-machine", "-o", "json")
    levels = {check["name"]: check["level"] for check in json.loads(result.stdout)}
    assert levels == {"API server": "ok", "CRDs": "ok", "license": "ok", "nodes": "fail"}
    assert result.exit_code == 1
