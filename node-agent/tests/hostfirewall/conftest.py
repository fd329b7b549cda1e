"""Everything here happens in network namespaces of the tests' own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dsecos_agent.hostfirewall.keeper import Keeper
from dsecos_agent.hostfirewall.probe import HostProbe
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_proxmox_simulator.certificates import make_certificate
from dsecos_runtime import Credentials

from ..links.netns import ip, own_network  # noqa: TID252 - tests have no package to name
from .agent import keeper
from .change import PORT, SERVICE, nft, undoes
from .lan import Neighbour

INSTANCE, PREFIX = "dthf", "dt"


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def admin(network: None) -> Iterator[Neighbour]:
    """In the management network."""
    yield from _neighbour(1)


@pytest.fixture
def peer(network: None) -> Iterator[Neighbour]:
    """Another node of the cluster."""
    yield from _neighbour(2)


@pytest.fixture
def stranger(network: None) -> Iterator[Neighbour]:
    yield from _neighbour(3)


@pytest.fixture
def api(network: None) -> Iterator[Neighbour]:
    """Where the API server is."""
    yield from _neighbour(4)


@pytest.fixture
def table(network: None, tmp_path: Path) -> HostTable:
    return HostTable(INSTANCE, tmp_path / "applied.json")


def _neighbour(number: int) -> Iterator[Neighbour]:
    neighbour = Neighbour(number)
    yield neighbour
    neighbour.close()


@pytest.fixture
def kubeconfig(api: Neighbour, tmp_path: Path) -> Path:
    """Of an API server with TLS in another namespace, behind a translated address."""
    certificate = make_certificate(SERVICE, ["kubernetes"])
    pem = tmp_path / "api.pem"
    pem.write_text(certificate.pem + certificate.key_pem)
    api.serve(PORT, certificate=pem)
    ip(f"route add default via {api.four}")
    nft("add table ip service; add chain ip service out { type nat hook output priority -100; }")
    nft(f"add rule ip service out ip daddr {SERVICE} tcp dport {PORT} dnat to {api.four}:{PORT}")
    authority = tmp_path / "ca.pem"
    authority.write_text(certificate.pem)
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {
                            "server": f"https://{SERVICE}:{PORT}",
                            "certificate-authority": str(authority),
                        },
                    }
                ],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "users": [{"name": "test", "user": {"token": "of-no-matter"}}],
            }
        )
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "state"
    path.mkdir()
    yield path
    for process in undoes(path):
        process.kill()


@pytest.fixture
def probe(kubeconfig: Path) -> HostProbe:
    return HostProbe(Credentials(kubeconfig))


@pytest.fixture
def agent(folder: Path, network: None) -> Keeper:
    """An agent in this process."""
    return keeper(folder)
