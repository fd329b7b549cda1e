"""A guest reaches nothing that it was not given, and every refusal can be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.cloud import Cloud, Object, conditions, kind, namespace, until

CONNECT = "exec 3<>/dev/tcp/{}/{}"


@pytest.fixture
def pair(cloud: Cloud, hello: Callable[..., Object]) -> Iterator[tuple[str, Object]]:
    """The guest of a Stack that attacks, and the Guest of another Stack in the same zone."""
    cloud.apply(hello("mallory", 23101), hello("alice", 23102))
    cloud.wait_ready("mallory")
    cloud.wait_ready("alice")
    return cloud.guest("mallory")["metadata"]["name"], cloud.guest("alice")


def reaches(cloud: Cloud, guest: str, address: str, port: int) -> bool:
    """Whether a TCP connection from a guest comes about."""
    said = cloud.inside(
        guest,
        "bash",
        "-c",
        f"timeout 2 bash -c '{CONNECT.format(address, port)}' && echo connected",
        check=False,
    )
    return "connected" in said


def test_the_guest_reaches_neither_the_host_nor_the_api_nor_a_neighbour(
    cloud: Cloud, pair: tuple[str, Object]
) -> None:
    mallory, alice = pair
    gateway = alice["spec"]["network"]["gateway"]
    assert reaches(cloud, mallory, "127.0.0.1", 3000), "the attempt itself works"
    assert not reaches(cloud, mallory, alice["spec"]["network"]["address"], 3000)
    for port in (
        cloud.port_base,  # API server
        cloud.port_base + 1,  # etcd
        cloud.port_base + 4,  # the registry's write side
        cloud.port_base + 6,  # metrics
        23102,  # the neighbour's host port
        22,
    ):
        assert not reaches(cloud, mallory, gateway, port), port


def test_the_registry_can_be_read_but_not_written(cloud: Cloud, pair: tuple[str, Object]) -> None:
    mallory, _ = pair
    url = f"https://registry.dsecos.internal:{cloud.port_base + 5}/v2"
    ca = f"/etc/docker/certs.d/registry.dsecos.internal:{cloud.port_base + 5}/ca.crt"
    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "--cacert", ca)
    assert cloud.inside(mallory, *curl, f"{url}/library/node/manifests/20", check=False) == "200"
    assert (
        cloud.inside(mallory, *curl, "-X", "POST", f"{url}/library/evil/blobs/uploads/", check=False) == "405"
    )


def test_a_guest_cannot_take_another_address(cloud: Cloud, pair: tuple[str, Object]) -> None:
    mallory, alice = pair
    gateway = alice["spec"]["network"]["gateway"]
    url = f"{gateway}/{cloud.port_base + 5}"
    assert reaches(cloud, mallory, *url.split("/")), "with its own address"  # type: ignore[arg-type]
    cloud.inside(mallory, "ip", "address", "add", "10.77.0.200/24", "dev", "eth0")
    said = cloud.inside(
        mallory,
        "curl",
        "-sk",
        "--interface",
        "10.77.0.200",
        "--max-time",
        "2",
        "-w",
        "%{http_code}",
        f"https://{gateway}:{cloud.port_base + 5}/v2/",
        check=False,
    )
    assert said.endswith("000")


def test_a_denied_packet_shows_as_a_counter_and_as_an_event(cloud: Cloud, pair: tuple[str, Object]) -> None:
    mallory, alice = pair
    for _ in range(3):
        reaches(cloud, mallory, alice["spec"]["network"]["address"], 3000)

    def denied() -> float:
        _, text = cloud.http(cloud.port_base + 7, "/metrics")
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith("dsecos_denied_packets_total") and mallory in line
        )

    until(lambda: denied() >= 3, 20)
    seen = until(lambda: [e for e in cloud.events("Guest", mallory) if e["reason"] == "DeniedPackets"], 30)
    assert len(seen) == 1
    reaches(cloud, mallory, alice["spec"]["network"]["address"], 3000)
    again = [e for e in cloud.events("Guest", mallory) if e["reason"] == "DeniedPackets"]
    assert len(again) == 1, "a flood of packets is not a flood of events"


def test_tenants_have_no_way_to_each_other(
    cloud: Cloud, pair: tuple[str, Object], hello: Callable[..., Object]
) -> None:
    mallory, _ = pair
    cloud.apply(namespace("other"), kind("NetworkZone", "backend", "other", {"cidrs": ["10.78.0.0/24"]}))
    victim = hello("victim", 23103)
    victim["metadata"]["namespace"] = "other"
    cloud.apply(victim)
    try:
        until(
            lambda: (
                conditions(cloud.get("stack", "victim", "other")).get("Ready", {}).get("status") == "True"
            ),
            90,
            0.5,
        )
        address = cloud.get("stack", "victim", "other")["status"]["address"]
        assert not reaches(cloud, mallory, address, 3000)
        assert cloud.http(23103)[1] == "hello"
    finally:
        cloud.kubectl("delete", "stack", "victim", "-n", "other", "--timeout=120s")
        cloud.kubectl("delete", "namespace", "other", "--timeout=120s")


def test_the_agent_credential_shows_one_node(cloud: Cloud) -> None:
    kubeconfig = f"--kubeconfig={cloud.home}/agent/kubeconfig"

    def may(*args: str) -> bool:
        return cloud.kubectl(kubeconfig, *args, check=False).returncode == 0

    assert may("get", "guests", "-n", "dsecos-node-node-1")
    assert may("get", "node.dsecos.io", "node-1")
    assert not may("get", "stacks", "-n", cloud.namespace)
    assert not may("get", "secrets", "-n", cloud.namespace)
    assert not may("get", "secrets", "-n", "dsecos-system")
    assert not may("get", "guests", "-A")
    assert not may("delete", "node.dsecos.io", "node-1")
