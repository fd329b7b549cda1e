"""Keys on disk: made once, readable by the one service that needs them, renewed before they end."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from dsecos_control_plane import pki
from dsecos_control_plane.identity import identity
from dsecos_control_plane.settings import Settings


def modes(folder: Path, pattern: str) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.glob(pattern)}


def test_keys_are_for_their_owner_alone(settings: Settings) -> None:
    pki.ensure(settings)
    assert modes(settings.pki, "*.key") == {0o600}
    assert modes(settings.pki, "*.crt") == {0o644}
    assert stat.S_IMODE(settings.admin_kubeconfig.stat().st_mode) == 0o600
    assert stat.S_IMODE((settings.pki / "encryption.yaml").stat().st_mode) == 0o600


def test_each_service_owns_its_own_key_and_no_other(settings: Settings) -> None:
    pki.ensure(settings)
    for leaf in pki.leaves(settings.node_name, []):
        user = identity(settings, leaf.owner) if leaf.owner else None
        assert (settings.pki / f"{leaf.name}.key").stat().st_uid == (user.uid if user else 0)


def test_a_second_time_changes_nothing(settings: Settings) -> None:
    made = pki.ensure(settings)
    before = {path: path.read_bytes() for path in settings.pki.iterdir()}
    assert "ca" in made
    assert pki.ensure(settings) == []
    assert {path: path.read_bytes() for path in settings.pki.iterdir()} == before


def test_what_ends_soon_is_renewed_by_the_same_authority(settings: Settings) -> None:
    pki.ensure(settings)
    authority = (settings.pki / "ca.crt").read_bytes()
    kubeconfig = settings.admin_kubeconfig.read_text()
    renewed = pki.ensure(settings, now=datetime.now(UTC) + timedelta(days=300))
    assert set(renewed) == {leaf.name for leaf in pki.leaves(settings.node_name, [])}
    assert (settings.pki / "ca.crt").read_bytes() == authority
    assert settings.admin_kubeconfig.read_text() != kubeconfig


def test_a_damaged_key_is_replaced(settings: Settings) -> None:
    pki.ensure(settings)
    (settings.pki / "etcd.key").write_text("half a k")
    assert pki.ensure(settings) == ["etcd"]


def test_no_user_of_the_api_is_a_client_of_etcd(settings: Settings) -> None:
    leaves = pki.leaves(settings.node_name, [])
    clients_of_etcd = {leaf.name for leaf in leaves if leaf.authority == "etcd-ca" and leaf.request.client}
    assert clients_of_etcd == {"etcd", "etcd-client"}


@pytest.mark.parametrize("address", ["10.0.0.5", "2001:db8::5"])
def test_the_api_server_answers_at_the_nodes_address(address: str) -> None:
    leaves = {leaf.name: leaf for leaf in pki.leaves("rack1-a", [address])}
    hosts = leaves["kube-apiserver"].request.hosts
    assert {address, "rack1-a", "127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"} <= set(
        hosts
    )
    assert len(hosts) == len(set(hosts))


def test_the_administrators_kubeconfig_is_self_contained(settings: Settings) -> None:
    pki.ensure(settings)
    document = yaml.safe_load(settings.admin_kubeconfig.read_text())
    assert set(document["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert document["clusters"][0]["cluster"]["server"] == settings.api_server
