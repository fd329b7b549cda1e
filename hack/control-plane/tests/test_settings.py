"""Settings come from the environment, and two instances never share a name or a port."""

from pathlib import Path

import pytest
from dsecos_control_plane.settings import Settings
from pydantic import ValidationError


def test_defaults_are_those_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    settings = Settings()
    assert settings.admin_kubeconfig == settings.home / "admin.kubeconfig"
    assert settings.kubeconfig == settings.admin_kubeconfig
    assert settings.registry_read_port == settings.registry_port + 1


def test_environment_round_trips(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_kubeconfig_of_the_user_is_another_cluster(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/config:/elsewhere")
    assert settings.external_kubeconfig == tmp_path / "config"
    assert settings.kubeconfig == tmp_path / "config"


def test_our_own_kubeconfig_is_not_another_cluster(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(settings.admin_kubeconfig))
    assert settings.external_kubeconfig is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"link_prefix": "dsx"},
        {"link_prefix": "-a"},
        {"instance": "two words"},
        {"api_port": 0},
        {"node_name": "Node_1"},
        {"guest_id_base": 1000},
    ],
)
def test_what_could_not_be_a_name_or_port_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)
