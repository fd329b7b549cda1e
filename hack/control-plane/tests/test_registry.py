"""The registry: written to with a password from this host, read by the zones, reached from nowhere else."""

import ssl
from collections.abc import Iterator

import httpx
import pytest
from dsecos_control_plane import configs, home, host, lifecycle, pki, processes, testing
from dsecos_control_plane.command import run, succeeds
from dsecos_control_plane.settings import Settings


@pytest.fixture(scope="module")
def node() -> Iterator[Settings]:
    """Both sides of a registry."""
    settings = testing.scratch_settings()
    try:
        home.prepare(settings)
        pki.ensure(settings)
        configs.write_all(settings)
        lifecycle.start(lifecycle.choose_backend(settings), processes.registries(settings))
        yield settings
    finally:
        testing.remove(settings)


def client(settings: Settings, port: int, password: str | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(settings.pki / "registry-ca.crt"))
    auth = (configs.REGISTRY_USER, password) if password else None
    return httpx.Client(base_url=f"https://127.0.0.1:{port}/v2/", verify=context, auth=auth, trust_env=False)


def upload(side: httpx.Client) -> int:
    """Ask to upload a layer and return the answer's status."""
    return side.post("some/image/blobs/uploads/").status_code


def test_the_write_side_wants_the_password(node: Settings) -> None:
    password = node.registry_password.read_text()
    assert upload(client(node, node.registry_port)) == httpx.codes.UNAUTHORIZED
    assert upload(client(node, node.registry_port, "guessed")) == httpx.codes.UNAUTHORIZED
    assert upload(client(node, node.registry_port, password)) == httpx.codes.ACCEPTED


def test_the_password_is_for_root_alone(node: Settings) -> None:
    assert node.registry_password.stat().st_mode & 0o077 == 0
    assert node.registry_password.stat().st_uid == 0


def test_the_read_side_takes_no_upload(node: Settings) -> None:
    side = client(node, node.registry_read_port)
    assert side.get("").status_code == httpx.codes.OK
    assert upload(side) == httpx.codes.METHOD_NOT_ALLOWED


@pytest.fixture
def stranger(node: Settings) -> Iterator[tuple[str, str]]:
    """A network namespace and the name of a bridge of this host that it is attached to."""
    namespace, port, bridge = f"{node.link_prefix}-stranger", f"{node.link_prefix}p00000001", "br-reg-test"
    run(["ip", "netns", "add", namespace])
    run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace])
    run(["ip", "link", "set", port, "master", bridge, "up"])
    run(["ip", "link", "set", bridge, "up"])
    run(["ip", "address", "add", "198.18.77.1/24", "dev", bridge])
    run(["ip", "-n", namespace, "address", "add", "198.18.77.2/24", "dev", "eth0"])
    run(["ip", "-n", namespace, "link", "set", "eth0", "up"])
    yield namespace, bridge
    run(["ip", "netns", "delete", namespace])
    for link in (bridge, f"{node.link_prefix}z00000001"):
        succeeds(["ip", "link", "delete", link])


def reaches(namespace: str, url: str) -> bool:
    command = [
        "ip",
        "netns",
        "exec",
        namespace,
        "curl",
        "--insecure",
        "--silent",
        "--connect-timeout",
        "2",
        url,
    ]
    return succeeds(command)


def test_only_zones_reach_the_read_side(node: Settings, stranger: tuple[str, str]) -> None:
    namespace, bridge = stranger
    url = f"https://198.18.77.1:{node.registry_read_port}/v2/"
    assert not reaches(namespace, url)
    zone = f"{node.link_prefix}z00000001"
    run(["ip", "link", "set", bridge, "down"])
    run(["ip", "link", "set", bridge, "name", zone])
    run(["ip", "link", "set", zone, "up"])
    assert reaches(namespace, url)
    assert not reaches(namespace, f"https://198.18.77.1:{node.registry_port}/v2/")


def test_the_table_is_replaced_not_doubled(node: Settings) -> None:
    for _ in range(2):
        run(["nft", "-f", node.etc / "registry-read.nft"])
    assert host.tables(node) == [f"inet {configs.firewall_table(node)}"]
    listed = run(["nft", "list", "table", "inet", configs.firewall_table(node)])
    assert listed.count("tcp dport") == 1
